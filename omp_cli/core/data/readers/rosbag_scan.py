"""One pass over a bag: what its topics have, and the messages of those that are taken."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.data.foreign import listed
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
from omp_cli.core.data.readers.rosbag_transforms import PREFIX, Transforms

_FIRST = 200
"""Messages of tf from which its frames are listed, and of joints from which their parts are."""


@dataclass(frozen=True)
class BagContents:
    """What a bag has, by the first messages of its topics.

    Attributes:
        parts: all that omp can read, by name.
        topics: in which topic each of these is.
        other: why omp reads nothing of a topic, by its name.
        intrinsics: of cameras, by the topics that say them.
        version: of ROS, 1 or 2.
        types: of topics, those of tf among them, by name.
        first: the first message of each topic of numbers, by its name.
        definitions: of those of the types that do not come with ROS, by topic.
    """

    parts: Mapping[str, MessagePart]
    topics: Mapping[str, str]
    other: Mapping[str, str]
    intrinsics: Mapping[str, tuple[float, ...]]
    version: Literal[1, 2]
    types: Mapping[str, str]
    first: Mapping[str, Any]
    definitions: Mapping[str, str]

    def camera(self, depth: str) -> dict[str, Any]:
        """What is known of the camera of a topic's depth pictures, as ``Recording.camera``."""
        if (part := self.parts.get(depth)) is None or part.kind != "picture":
            return {}
        beside = depth.removesuffix("/compressedDepth").rpartition("/")[0]
        found = self.intrinsics.get(f"{beside}/camera_info")
        scale = 0.001 if part.encoding in MILLIMETRES else 1.0
        return {"depth_scale": scale, **({"intrinsics": found} if found else {})}


def contents_of(bag: Bag) -> BagContents:
    """What a bag has; DataError where none of what its metadata announce is there."""
    parts, topics, other = dict[str, MessagePart](), dict[str, str](), dict[str, str]()
    cameras, said_first, definitions = dict[str, tuple[float, ...]](), dict[str, Any](), dict[str, str]()
    for topic, kind in bag.topics.items():
        if bag.known(topic) and (text := bag.definition(topic)) is not None:
            definitions[topic] = text
        if kind in TRANSFORMS:
            continue
        if not bag.known(topic):
            other[topic] = f"{kind}, which nothing defines"
            continue
        found: dict[str, MessagePart] = {}
        first = list(itertools.islice(bag.messages((topic,)), _FIRST if kind == JOINTS else 1))
        try:
            for _, _, data in first:
                message = bag.message(topic, data)
                if kind == CAMERA:
                    cameras |= {topic: seen} if (seen := intrinsics(message)) is not None else {}
                else:
                    found = {**parts_of(topic, kind, message), **found}
                    other |= {} if found else {topic: unread(kind, message)}
        except DataError as error:
            other[topic] = error.message.removeprefix(f"{bag.path}: ").removeprefix(f"{topic}: ")
        parts |= found
        topics |= dict.fromkeys(found, topic)
        if found and not any(part.large for part in found.values()):
            said_first[topic] = bag.message(topic, first[0][2])
    if bag.topics and not parts and not other and not any(kind in TRANSFORMS for kind in bag.topics.values()):
        raise DataError(f"{bag.path}: none of the messages that it announces is there", "ros2 bag reindex")
    other = {topic: why for topic, why in other.items() if topic not in topics.values()}
    return BagContents(parts, topics, other, cameras, bag.version, bag.topics, said_first, definitions)


def frames_of(bag: Bag) -> tuple[str, ...]:
    """The poses that the first messages of tf say, as they are named."""
    found = Transforms()
    for topic, time, data in itertools.islice(bag.messages(_of_tf(bag)), _FIRST):
        found.add(topic, time, bag.message(topic, data), False)
    return found.names


def signals_of(
    bag: Bag, contents: BagContents, names: Collection[str], matrices: Collection[str], stamped: bool
) -> dict[str, Signal]:
    """What a bag says under names, of pictures and clouds only when.

    Args:
        bag: the bag.
        contents: what it has.
        names: of what is taken.
        matrices: those poses of tf that are to be matrices.
        stamped: whether the time that a message says counts, and not when it was received.

    Raises:
        DataError: a message is damaged, or contradicts itself.
        UsageError: a name is not there.
    """
    poses = [name for name in names if name.startswith(PREFIX)]
    for name in names:
        if name not in contents.topics and name not in poses:
            why = f": {contents.other[name]}, which omp does not read" if name in contents.other else " in it"
            raise UsageError(
                f"{bag.path}: no {name!r}{why}",
                did_you_mean(name, contents.parts) or f"it has: {listed(contents.parts)}",
            )
    taken = {contents.topics[name]: contents.parts[name].large for name in names if name in contents.topics}
    transforms, heard = Transforms(), {topic: _Heard(bag.topics[topic], large) for topic, large in taken.items()}
    for topic, time, data in bag.messages({*taken, *(_of_tf(bag) if poses else ())}):
        if topic in heard:
            heard[topic].add(bag, topic, time, data, stamped)
        else:
            transforms.add(topic, time, bag.message(topic, data), stamped)
    signals: dict[str, Signal] = {}
    for name in names:
        if name in poses:
            with _about(bag, name):
                signals[name] = FramePose(transforms.way(name), name in matrices)
        else:
            topic = contents.topics[name]
            signals[name] = heard[topic].signal(bag, topic, name, contents.parts[name])
    return signals


def _of_tf(bag: Bag) -> list[str]:
    """The topics of tf, also those of a robot of several."""
    return [topic for topic, kind in bag.topics.items() if kind in TRANSFORMS]


@dataclass
class _Heard:
    """The messages of a topic as they come.

    Attributes:
        kind: the topic's type.
        large: whether its messages are pictures or clouds.
        times: when each came, by the clock that counts.
        received: when each was received.
        stored: bytes of all of them.
        kept: the messages themselves and their bytes, the former of joints alone, and nothing of what is large.
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
            self.kept.append((message if self.kind == JOINTS else None, data))

    def signal(self, bag: Bag, topic: str, name: str, part: MessagePart) -> Signal:
        """What the messages say under a name, in the order of the clock that counts."""
        order = np.argsort(np.array(self.times, np.int64), kind="stable")
        times = np.array(self.times, np.int64)[order]
        if part.large:
            part = replace(part, shape=(self.points, 3)) if self.kind == CLOUD else part
            received = np.array(self.received, np.int64)
            return Large(bag.path, topic, part, times, order, received, self.stored)
        kept = [self.kept[place] for place in order]
        if part.kind == "joints":
            return Joints(name, name.removeprefix(f"{topic}/"), times, [message for message, _ in kept])
        read, messages = functools.partial(bag.message, topic), [data for _, data in kept]
        return Numbers(f"{bag.path}: {name}", name, part, times, messages, read)


@contextmanager
def _about(bag: Bag, what: str) -> Iterator[None]:
    """Errors inside are told with the bag, and what in it."""
    try:
        yield
    except (DataError, UsageError) as error:
        raise type(error)(f"{bag.path}: {what}: {error.message}", error.hint) from None
