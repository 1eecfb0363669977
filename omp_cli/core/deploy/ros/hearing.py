"""What topics of a live robot said last, as the arrays of the bags that a policy learned from.

Messages are kept as bytes and are read when a frame is looked at, so that a camera that is faster than the policy costs
nothing; those of joints, of which several publishers may each say some, and of tf are read as they come. They come in a
thread of their own; a frame is made of what was there when it was begun (``look``).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.packed import picture_of
from omp_cli.core.data.readers.rosbag_messages import JOINTS, OF_JOINTS, MessagePart, parts_of
from omp_cli.core.data.readers.rosbag_transforms import Transforms, Way, as_numbers
from omp_cli.core.data.topics import ObservedTopic
from omp_cli.core.deploy.ros.messages import RosMessages

Arrival = tuple[float, Any]
"""When something came (``time.monotonic``), and what."""
_FEW, _AT_ONCE = 5, 0.002
"""Messages by which it is told whether a topic says something steadily; seconds between those that were kept for us."""
_NEWEST = np.iinfo(np.int64).max


class TopicHearing:
    """The messages of one topic.

    Args:
        topic: its name in the recording.
        kind: its type.
        messages: types of messages.

    Attributes:
        times: when the last few messages came (``time.monotonic``).
        last: the last one, at the last look.
        joints: of a topic of joints, what was said last, by what it is (``position``) and the joint's name.
    """

    def __init__(self, topic: str, kind: str, messages: RosMessages) -> None:
        self.topic, self.kind, self._messages = topic, kind, messages
        self.times: deque[float] = deque(maxlen=_FEW)
        self._newest: Arrival | None = None
        self._newest_joints: dict[tuple[str, str], Arrival] = {}
        self.last: Arrival | None = None
        self.joints: dict[tuple[str, str], Arrival] = {}
        self._parts: dict[str, MessagePart] = {}
        self._read: tuple[Any, Any] = (None, None)

    def hear(self, data: bytes) -> None:
        """The next message, from a thread of ROS."""
        now = time.monotonic()
        if self.kind == JOINTS:
            message = self._messages.read(self.topic, self.kind, data)
            for of in OF_JOINTS:
                values = getattr(message, of)
                if len(values) == len(message.name):
                    self._newest_joints.update(
                        {(of, joint): (now, value) for joint, value in zip(message.name, values, strict=True)}
                    )
        self._newest = (now, data)
        self.times.append(now)

    def look(self) -> None:
        """Have what is there now."""
        self.last, self.joints = self._newest, dict(self._newest_joints)

    @property
    def step(self) -> float | None:
        """Seconds between two of the last few messages; None where there are fewer, or they came all at once."""
        times = list(self.times)
        step = (times[-1] - times[0]) / (_FEW - 1) if len(times) == _FEW else 0.0
        return step if step > _AT_ONCE else None

    def number(self, name: str) -> float:
        """One number that the last message has under a name; UsageError where it is no number."""
        part = self._part(name)
        if part is None or not _is_one(part):
            ones = [one for one, other in self._parts.items() if _is_one(other)]
            raise UsageError(
                f"{name}: no number, or true and false, of a message of {self.kind}", f"it has: {listed(ones)}"
            )
        return float(np.asarray(self.take(name)).reshape(()))

    def take(self, name: str) -> Any:
        """What the last message has under a name."""
        part = self._part(name)
        if part is None:
            raise DataError(f"{self.topic}: no {name!r} in its message", f"it has: {listed(self._parts)}")
        try:
            return part.take(self._message())
        except DataError as error:
            raise DataError(f"{self.topic}: {error.message}", error.hint) from None

    def _part(self, name: str) -> MessagePart | None:
        """What messages have under a name; None where not even the last one has it."""
        if name not in self._parts:
            self._parts |= parts_of(self.topic, self.kind, self._message())
        return self._parts.get(name)

    def _message(self) -> Any:
        """The last message, which is read once."""
        assert self.last is not None
        _, data = self.last
        if self._read[0] is not data:
            self._read = (data, self._messages.read(self.topic, self.kind, data))
        return self._read[1]


def _is_one(part: MessagePart) -> bool:
    """Whether a part is one number."""
    return part.kind == "numbers" and part.shape in ((), (1,))


class TransformsHeard:
    """The last words of tf on each frame, of all of its topics.

    Args:
        messages: types of messages.
    """

    def __init__(self, messages: RosMessages) -> None:
        self._messages = messages
        self._newest: dict[tuple[str, str], tuple[float, str, Any]] = {}
        self._known = Transforms()
        self._ways: dict[str, Way] = {}

    def hear(self, topic: str, kind: str, data: bytes) -> None:
        """The next message of a topic, from a thread of ROS."""
        now = time.monotonic()
        for of in self._messages.read(topic, kind, data).transforms:
            self._newest[of.header.frame_id, of.child_frame_id] = (now, topic, of)

    def look(self) -> None:
        """Have what is there now, by times of ``time.monotonic`` in nanoseconds."""
        self._known, self._ways = Transforms(), {}
        for at, topic, of in list(self._newest.values()):
            self._known.add(topic, round(at * 1e9), SimpleNamespace(transforms=[of]), stamped=False)

    def way(self, name: str) -> Way:
        """See ``Transforms.way``; of one look it is found once."""
        if name not in self._ways:
            self._ways[name] = self._known.way(name)
        return self._ways[name]


class Hearing(ABC):
    """What is heard of one array, as it was at the last look."""

    @abstractmethod
    def missing(self) -> str:
        """What was not said yet, for people; empty where all is known."""

    @abstractmethod
    def said(self) -> Mapping[str, float]:
        """When each of its sources said something last (``time.monotonic``), by their names in the recording."""

    @abstractmethod
    def array(self) -> NDArray[Any]:
        """What was said last; DataError where it is not as in the recording."""


class HeardArray(Hearing):
    """Numbers, a picture or a cloud, of a topic's last message.

    Args:
        name: the array.
        topic: its messages.
        dtype: the type that its pixels are to be of, by which depth has its unit; empty for any.
    """

    def __init__(self, name: str, topic: TopicHearing, dtype: str) -> None:
        self._name, self._topic, self._dtype = name, topic, dtype

    def missing(self) -> str:
        """See the base class."""
        return "" if self._topic.last else self._topic.topic

    def said(self) -> Mapping[str, float]:
        """See the base class."""
        assert self._topic.last is not None
        return {self._name: self._topic.last[0]}

    def array(self) -> NDArray[Any]:
        """See the base class; of a picture that is packed the pixels."""
        value = self._topic.take(self._name)
        if isinstance(value, bytes):
            return picture_of(value, f"{self._topic.topic}: its last message")
        found = np.atleast_1d(value)
        if self._dtype not in ("", found.dtype.name):
            raise DataError(f"{self._topic.topic}: its pixels are {found.dtype}, and {self._dtype} in the recording")
        return found[..., None] if found.ndim == 2 and found.dtype == np.uint8 else found  # grey has its channel


class HeardJoints(Hearing):
    """Numbers of joints, in the order of the recording, whoever says them.

    Args:
        part: ``position``, ``velocity`` or ``effort``.
        topic: its messages.
        joints: the joints of the recording.
    """

    def __init__(self, part: str, topic: TopicHearing, joints: tuple[str, ...]) -> None:
        self._part, self._topic, self._joints = part, topic, joints

    def missing(self) -> str:
        """See the base class."""
        lacking = [joint for joint in self._joints if (self._part, joint) not in self._topic.joints]
        return f"{self._topic.topic} ({self._part} of {listed(lacking)})" if lacking else ""

    def said(self) -> Mapping[str, float]:
        """See the base class."""
        return {joint: self._topic.joints[self._part, joint][0] for joint in self._joints}

    def array(self) -> NDArray[np.float64]:
        """See the base class."""
        return np.array([self._topic.joints[self._part, joint][1] for joint in self._joints])


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
            self._transforms.way(self._name)
        except UsageError as error:
            return f"{self._name} ({error.message})"
        return ""

    def said(self) -> Mapping[str, float]:
        """See the base class; nothing of what never moves."""
        return {name: int(of[-1]) / 1e9 for name, of in self._transforms.way(self._name).times.items()}

    def array(self) -> NDArray[np.float64]:
        """See the base class."""
        pose = self._transforms.way(self._name).poses(np.array([_NEWEST]))
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
            found[name] = HeardJoints(name.rpartition("/")[2], topics[of.topic], of.joints)
        else:
            found[name] = HeardArray(name, topics[of.topic], of.dtype)
    return found
