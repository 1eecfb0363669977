"""One pass over a bag: what its topics have, and the messages of those that are taken."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.readers.rosbag_file import Bag
from omp_cli.core.data.readers.rosbag_messages import (
    CAMERA,
    CLOUD,
    JOINTS,
    MILLIMETRES,
    TRANSFORMS,
    MessagePart,
    intrinsics,
    parts_of,
    stamp,
    unread,
)
from omp_cli.core.data.readers.rosbag_signals import FramePose, Joints, Large, Numbers, Signal
from omp_cli.core.data.readers.rosbag_transforms import PREFIX, TOPICS, Transforms

_FIRST = 200
"""Messages of tf from which its frames are listed."""


@dataclass(frozen=True)
class Scanned:
    """What a bag has.

    Attributes:
        parts: all that omp can read, by name.
        signals: of these, and of tf, what is taken.
        other: kinds of the topics of which omp reads nothing, by their names.
        intrinsics: of cameras, by the topics that say them.
        frames: pairs of frames of which tf says the pose, as they are named.
    """

    parts: Mapping[str, MessagePart]
    signals: Mapping[str, Signal]
    other: Mapping[str, str]
    intrinsics: Mapping[str, tuple[float, ...]]
    frames: tuple[str, ...]

    def camera(self, depth: str) -> dict[str, Any]:
        """What is known of the camera of a topic's depth pictures, as ``Recording.camera``."""
        if (part := self.parts.get(depth)) is None or part.kind != "picture":
            return {}
        beside = depth.removesuffix("/compressedDepth").rpartition("/")[0]
        found = self.intrinsics.get(f"{beside}/camera_info")
        scale = 0.001 if part.encoding in MILLIMETRES else 1.0
        return {"depth_scale": scale, **({"intrinsics": found} if found else {})}

    def kind(self, name: str) -> str:
        """What a name is: numbers, picture, packed or cloud."""
        return self.parts[name].kind if name in self.parts else "numbers"


def scanned(bag: Bag, names: Collection[str], matrices: Collection[str], stamped: bool) -> Scanned:
    """What a bag has, with the messages of what is named; of pictures and clouds only when they came.

    Args:
        bag: the bag.
        names: of what is taken; one that the bag does not have is passed over.
        matrices: those poses of tf that are to be matrices.
        stamped: whether the time that a message says counts, and not when it was received.

    Raises:
        DataError: a message is damaged, or contradicts itself.
        UsageError: tf has no such frames.
    """
    parts, of_topic, other, cameras = _parts(bag)
    taken = {of_topic[name] for name in names if name in of_topic}
    poses = [name for name in names if name.startswith(PREFIX)]
    large = {of_topic[name] for name, part in parts.items() if part.kind != "numbers"}
    transforms, heard = Transforms(), {topic: _Heard(bag.topics[topic], topic in large) for topic in taken}
    for topic, time, data in bag.messages({*taken, *(TOPICS if poses else ())}):
        with _about(bag, topic):
            if topic in heard:
                heard[topic].add(bag, topic, time, data, stamped)
            else:
                transforms.add(topic, time, bag.message(topic, data), stamped)
    signals: dict[str, Signal] = {}
    for name in names:
        if name in of_topic:
            topic = of_topic[name]
            signals[name] = heard[topic].signal(bag, topic, name, parts[name])
        elif name in poses:
            with _about(bag, name):
                signals[name] = FramePose(name, transforms, name in matrices)
    return Scanned(parts, signals, other, cameras, _frames(bag))


@dataclass
class _Heard:
    """The messages of a topic as they come: when, of how many bytes, and those that are not large themselves.

    Attributes:
        kind: the topic's type.
        large: whether its messages are pictures or clouds.
        times: when each came, by the clock that counts.
        received: when each was received.
        stored: bytes of all of them.
        kept: the messages of joints, the bytes of other numbers, nothing of what is large.
        points: of the largest cloud.
    """

    kind: str
    large: bool
    times: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    stored: int = 0
    kept: list[Any] = field(default_factory=list)
    points: int = 0

    def add(self, bag: Bag, topic: str, time: int, data: bytes, stamped: bool) -> None:
        """The next message."""
        message = bag.message(topic, data) if stamped or self.kind in (CLOUD, JOINTS) else None
        self.times.append((stamp(message) if stamped else None) or time)
        self.received.append(time)
        self.stored += len(data)
        if self.kind == CLOUD:
            assert message is not None
            self.points = max(self.points, message.width * message.height)
        if not self.large:
            self.kept.append(message if self.kind == JOINTS else data)

    def signal(self, bag: Bag, topic: str, name: str, part: MessagePart) -> Signal:
        """What the messages say under a name."""
        times = np.maximum.accumulate(np.array(self.times, np.int64))  # one may say an earlier time than the last
        if self.large:
            part = replace(part, shape=(self.points, 3)) if self.kind == CLOUD else part
            return Large(bag.path, topic, part, times, np.array(self.received, np.int64), self.stored)
        if self.kind == JOINTS:
            return Joints(name.removeprefix(f"{topic}/"), times, self.kept, self.stored)
        return Numbers(f"{bag.path}: {name}", part, times, self.kept, functools.partial(bag.message, topic))


def _parts(bag: Bag) -> tuple[dict[str, MessagePart], dict[str, str], dict[str, str], dict[str, tuple[float, ...]]]:
    """What the first messages have, by name; their topics; the kinds of all other topics; and cameras' intrinsics."""
    parts, of_topic, other = dict[str, MessagePart](), dict[str, str](), dict[str, str]()
    cameras = dict[str, tuple[float, ...]]()
    for topic, kind in bag.topics.items():
        if kind in TRANSFORMS:
            continue
        if not bag.known(topic):
            other[topic] = f"{kind}, which nothing defines"
            continue
        _, _, data = next(bag.messages((topic,)))
        message = bag.message(topic, data)
        with _about(bag, topic):
            if kind == CAMERA:
                cameras |= {topic: seen} if (seen := intrinsics(message)) is not None else {}
                continue
            found = parts_of(topic, kind, message)
        parts |= found
        of_topic |= dict.fromkeys(found, topic)
        other |= {} if found else {topic: unread(kind, message)}
    return parts, of_topic, other, cameras


def _frames(bag: Bag) -> tuple[str, ...]:
    """The poses that the first messages of tf say."""
    found = Transforms()
    for topic, time, data in itertools.islice(bag.messages(TOPICS), _FIRST):
        with _about(bag, topic):
            found.add(topic, time, bag.message(topic, data), False)
    return found.names


@contextmanager
def _about(bag: Bag, what: str) -> Iterator[None]:
    """Errors inside are told with the bag, and what in it."""
    try:
        yield
    except (DataError, UsageError) as error:
        if str(bag.path) in error.message:
            raise
        raise type(error)(f"{bag.path}: {what}: {error.message}", error.hint) from None
