"""What topics of a live robot said last, as the arrays of the bags that a policy learned from.

Messages are kept as bytes and are read when a frame is looked at, so that a camera that is faster than the policy costs
nothing; those of joints, of which several publishers may each say some, and of tf are read as they come.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.packed import picture_of
from omp_cli.core.data.readers.rosbag_messages import JOINTS, MessagePart, parts_of
from omp_cli.core.data.readers.rosbag_transforms import Transforms, as_numbers
from omp_cli.core.data.topics import ObservedTopic
from omp_cli.core.deploy.ros.messages import RosMessages

Arrival = tuple[float, Any]
"""When something came (``time.monotonic``), and what."""
_NEWEST = np.iinfo(np.int64).max


class Hearing(ABC):
    """What is heard of one array."""

    @abstractmethod
    def missing(self) -> str:
        """What was not said yet, for people; empty where all is known."""

    @abstractmethod
    def since(self) -> float:
        """When it was said last (``time.monotonic``), of several sources the one that is silent for longest."""

    @abstractmethod
    def array(self) -> NDArray[Any]:
        """What was said last; DataError where it is not as in the recording."""


class TopicHearing:
    """The messages of one topic, as they come from a thread of ROS.

    Args:
        topic: its name in the recording.
        kind: its type.
        messages: types of messages.
    """

    def __init__(self, topic: str, kind: str, messages: RosMessages) -> None:
        self.topic, self.kind, self._messages = topic, kind, messages
        self.last: Arrival | None = None
        self.joints: dict[tuple[str, ...], Arrival] = {}
        self._parts: dict[str, MessagePart] = {}
        self._looked_at: tuple[Any, Any] = (None, None)

    def hear(self, data: bytes) -> None:
        """The next message."""
        now = time.monotonic()
        if self.kind == JOINTS:
            message = self._messages.read(self.topic, self.kind, data)
            self.joints = {**self.joints, tuple(message.name): (now, message)}
        self.last = (now, data)

    def number(self) -> float:
        """What the last message says, of a topic of one number or of true and false; UsageError of others."""
        parts = parts_of(self.topic, self.kind, self._message())
        ones = [name for name, part in parts.items() if part.kind == "numbers" and part.shape in ((), (1,))]
        if not ones:
            raise UsageError(f"{self.topic} is of {self.kind}, and of no number, or of true and false")
        return float(np.asarray(self.take(ones[0])).reshape(()))

    def take(self, name: str) -> Any:
        """What the last message has under a name."""
        message = self._message()
        if name not in self._parts:
            self._parts |= parts_of(self.topic, self.kind, message)
        if name not in self._parts:
            raise DataError(f"{self.topic}: no {name!r} in its message", f"it has: {listed(self._parts)}")
        try:
            return self._parts[name].take(message)
        except DataError as error:
            raise DataError(f"{self.topic}: {error.message}", error.hint) from None

    def _message(self) -> Any:
        """The last message, which is read once."""
        assert self.last is not None
        _, data = self.last
        if self._looked_at[0] is not data:
            self._looked_at = (data, self._messages.read(self.topic, self.kind, data))
        return self._looked_at[1]


class HeardArray(Hearing):
    """Numbers, a picture or a cloud, of a topic's last message."""

    def __init__(self, name: str, topic: TopicHearing) -> None:
        self._name, self._topic = name, topic

    def missing(self) -> str:
        """See the base class."""
        return "" if self._topic.last else self._topic.topic

    def since(self) -> float:
        """See the base class."""
        assert self._topic.last is not None
        return self._topic.last[0]

    def array(self) -> NDArray[Any]:
        """See the base class; of a picture that is packed the pixels."""
        value = self._topic.take(self._name)
        if isinstance(value, bytes):
            return picture_of(value, f"{self._topic.topic}: its last message")
        found = np.asarray(value)
        return found[..., None] if found.ndim == 2 and found.dtype == np.uint8 else found  # grey has its channel


class HeardJoints(Hearing):
    """Numbers of joints, in the order of the recording, whoever says them.

    Args:
        name: the array: a topic and ``position``, ``velocity`` or ``effort``.
        topic: its messages.
        joints: the joints of the recording.
    """

    def __init__(self, name: str, topic: TopicHearing, joints: tuple[str, ...]) -> None:
        self._part, self._topic, self._joints = name.rpartition("/")[2], topic, joints

    def missing(self) -> str:
        """See the base class."""
        heard = self._heard()
        lacking = [joint for joint in self._joints if joint not in heard]
        return f"{self._topic.topic} ({self._part} of {listed(lacking)})" if lacking else ""

    def since(self) -> float:
        """See the base class."""
        heard = self._heard()
        return min(heard[joint][0] for joint in self._joints)

    def array(self) -> NDArray[np.float64]:
        """See the base class."""
        heard = self._heard()
        return np.array([heard[joint][1] for joint in self._joints])

    def _heard(self) -> Mapping[str, Arrival]:
        """By joint what was said last, and when."""
        found: dict[str, Arrival] = {}
        for at, message in sorted(self._topic.joints.values(), key=lambda of: of[0]):
            values = getattr(message, self._part)
            if len(values) == len(message.name):
                found |= {joint: (at, value) for joint, value in zip(message.name, values, strict=True)}
        return found


class TransformsHeard:
    """The last words of tf on each frame, of all of its topics.

    Args:
        messages: types of messages.
    """

    def __init__(self, messages: RosMessages) -> None:
        self._messages = messages
        self._last: dict[tuple[str, str], tuple[float, str, Any]] = {}

    def hear(self, topic: str, kind: str, data: bytes) -> None:
        """The next message of a topic."""
        now = time.monotonic()
        said = self._messages.read(topic, kind, data).transforms
        self._last = {**self._last, **{(of.header.frame_id, of.child_frame_id): (now, topic, of) for of in said}}

    def all(self) -> Transforms:
        """What is known now, by times of ``time.monotonic``."""
        found = Transforms()
        for at, topic, of in self._last.values():
            found.add(topic, round(at * 1e9), SimpleNamespace(transforms=[of]), stamped=False)
        return found


class HeardPose(Hearing):
    """The pose of a frame in another one.

    Args:
        name: ``tf:base>tool``.
        transforms: what tf says.
        matrix: whether it is a matrix (4, 4) or x, y, z and a quaternion (7,).
    """

    def __init__(self, name: str, transforms: TransformsHeard, matrix: bool) -> None:
        self._name, self._transforms, self._matrix = name, transforms, matrix

    def missing(self) -> str:
        """See the base class."""
        try:
            self._transforms.all().way(self._name)
        except UsageError as error:
            return f"{self._name} ({error.message})"
        return ""

    def since(self) -> float:
        """See the base class; now of frames that never move."""
        times = self._transforms.all().way(self._name).times.values()
        return min((int(of[-1]) / 1e9 for of in times), default=time.monotonic())

    def array(self) -> NDArray[np.float64]:
        """See the base class."""
        pose = self._transforms.all().way(self._name).poses(np.array([_NEWEST]))
        return pose[0] if self._matrix else as_numbers(pose)[0]


def hearings_of(
    observed: Mapping[str, ObservedTopic], topics: Mapping[str, TopicHearing], tf: TransformsHeard
) -> dict[str, Hearing]:
    """What is heard of each array of a recording.

    Args:
        observed: where each comes from.
        topics: what is heard of topics, by their names in the recording.
        tf: what is heard of frames.
    """
    found: dict[str, Hearing] = {}
    for name, of in observed.items():
        if not of.topic:
            found[name] = HeardPose(name, tf, of.matrix)
        elif of.joints:
            found[name] = HeardJoints(name, topics[of.topic], of.joints)
        else:
            found[name] = HeardArray(name, topics[of.topic])
    return found
