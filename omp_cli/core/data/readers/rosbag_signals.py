"""What a bag says under a name over time: when each message came, and what holds at given moments.

Legend: M messages, T moments, J joints, N points.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.rosbag_file import opened
from omp_cli.core.data.readers.rosbag_messages import MessagePart
from omp_cli.core.data.readers.rosbag_transforms import NAMES, Way, as_numbers
from omp_cli.core.data.readers.stored import Stored

Moments = NDArray[np.int64]
"""Times (T,) or (M,) in nanoseconds, ascending."""


class Signal(ABC):
    """What is said under a name.

    Attributes:
        tracks: when each of its sources said something (M,), by names for messages; none of what never moves.
        shape: of what holds at a moment.
        dtype: of it.
        names: of its numbers, where the messages say them.
    """

    def __init__(self, tracks: Mapping[str, Moments], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.tracks, self.shape, self.dtype = tracks, shape, dtype
        self.names: tuple[str, ...] = ()

    @property
    def sources(self) -> Mapping[str, Moments]:
        """When each of its sources said something, joints by their names."""
        return self.tracks

    @abstractmethod
    def at(self, moments: Moments) -> Iterator[NDArray[Any]]:
        """What was said last at each moment (T, ...), in parts; no moment is before the first word of a source."""

    def stored_at(self, moments: Moments) -> Stored:
        """What holds at moments, as an array that is read when it is asked for."""
        shape = (len(moments), *self.shape)
        return Stored.continued(shape, self.dtype, self.stored, lambda frames: self.at(moments[:frames]))

    @property
    def stored(self) -> int | None:
        """Bytes that the bag has of it; None where that is not known."""
        return None

    def match(self, first: Signal, where: str) -> None:
        """Have the numbers of the first bag, in its order; DataError where they are others."""
        if self.names != first.names:
            raise DataError(
                f"{where}: {listed(self.names)}, and {listed(first.names)} in the first bag",
                "take this bag out of the folder",
            )


def last_of(times: Moments, moments: Moments, silent: bool = False) -> NDArray[np.intp]:
    """Which message (M,) came last at each moment; where ``silent`` moments may be before all of them, -1 there."""
    found = np.searchsorted(times, moments, side="right") - 1
    assert silent or (found >= 0).all(), "a frame is before the first word"
    return found


class Numbers(Signal):
    """Numbers of messages, which are few enough to be kept.

    Args:
        where: bag and name, for messages.
        name: the name alone.
        part: what it is of a message.
        times: when each came (M,).
        messages: as a bag has them, of one topic (M,).
        reader: how one of them is read.
    """

    def __init__(
        self, where: str, name: str, part: MessagePart, times: Moments, messages: Sequence[bytes], reader: Any
    ) -> None:
        super().__init__({name: times}, part.shape, part.dtype)
        self._where, self._part, self.times = where, part, times
        self._messages, self._reader = messages, reader
        self.names = part.names

    @property
    def stored(self) -> int:
        """See the base class."""
        return sum(map(len, self._messages))

    def at(self, moments: Moments) -> Iterator[NDArray[Any]]:
        """See the base class; 0 before the first message. DataError where one has other numbers than the first."""
        chosen, back = np.unique(last_of(self.times, moments, silent=True), return_inverse=True)
        rows = np.zeros((len(chosen), *self.shape), self.dtype)
        for row, place in enumerate(chosen):
            if place < 0:
                continue
            value = np.asarray(_taken(self._part, self._reader(self._messages[place]), self._where, place))
            if value.shape != self.shape:
                has = f"has {value.shape} numbers in message {place}, and {self.shape} at first"
                raise DataError(f"{self._where} {has}")
            rows[row] = value
        yield rows[back]


def _taken(part: MessagePart, message: Any, where: str, number: int) -> Any:
    """What a message has; DataError that says which message it is that contradicts itself or the first one."""
    try:
        return part.take(message)
    except DataError as error:
        raise DataError(f"{where}: message {number}: {error.message}", error.hint) from None


class Joints(Signal):
    """Positions, velocities or efforts of joints, of which several publishers may each say some.

    Args:
        name: what messages call it.
        part: ``position``, ``velocity`` or ``effort``.
        times: when each message came (M,).
        messages: of the type sensor_msgs/JointState (M,).
    """

    def __init__(self, name: str, part: str, times: Moments, messages: Sequence[Any]) -> None:
        told = [(tuple(of.name), getattr(of, part)) for of in messages]
        groups: dict[tuple[str, ...], list[int]] = {}
        for number, (some, values) in enumerate(told):
            if len(some) == len(values) > 0:
                groups.setdefault(some, []).append(number)
        together = sorted(groups) if len(groups) > 1 else list(groups)  # which publisher comes first is chance
        names = tuple(dict.fromkeys(joint for group in together for joint in group))
        place = {joint: at for at, joint in enumerate(names)}
        last, rows = np.zeros(len(names)), np.empty((len(told), len(names)))
        for number, (some, values) in enumerate(told):
            if some in groups and len(values):
                last[[place[joint] for joint in some]] = values
            rows[number] = last
        sources = {f"{name} of {listed(group, 2)}" if len(groups) > 1 else name: at for group, at in groups.items()}
        tracks = {label: times[at] for label, at in sources.items()}
        super().__init__(tracks, (len(names),), np.dtype(np.float64))
        self._times, self._rows, self.names = times, rows, names
        self._sources = {
            joint: times[sorted(at for group, some in groups.items() if joint in group for at in some)]
            for joint in names
        }

    @property
    def sources(self) -> Mapping[str, Moments]:
        """See the base class."""
        return self._sources

    def at(self, moments: Moments) -> Iterator[NDArray[Any]]:
        """See the base class."""
        yield self._rows[last_of(self._times, moments)]

    def match(self, first: Signal, where: str) -> None:
        """See the base class; the same joints in another order are put into the first bag's."""
        if sorted(self.names) == sorted(first.names):
            self._rows = self._rows[:, [self.names.index(name) for name in first.names]]
            self.names = first.names
        super().match(first, where)


class FramePose(Signal):
    """The pose of a frame in another one.

    Args:
        way: the transforms between them.
        matrix: whether it is a matrix (4, 4) or x, y, z and a quaternion (7,).
    """

    def __init__(self, way: Way, matrix: bool) -> None:
        super().__init__(way.times, (4, 4) if matrix else (len(NAMES),), np.dtype(np.float64))
        self._way, self._matrix = way, matrix
        self.names = () if matrix else NAMES

    def at(self, moments: Moments) -> Iterator[NDArray[Any]]:
        """See the base class."""
        poses = self._way.poses(moments)
        yield poses if self._matrix else as_numbers(poses)


class Large(Signal):
    """Pictures, packed pictures or clouds, which are read from the bag again when they are asked for.

    Args:
        bag: the file or folder.
        topic: their topic.
        part: what is taken of each.
        times: when each came, by the clock that counts (M,), ascending.
        order: which message of the bag each of these is (M,).
        received: when each message of the bag was received (M,), ascending.
        stored: bytes of all of them.
    """

    def __init__(
        self,
        bag: Path,
        topic: str,
        part: MessagePart,
        times: Moments,
        order: NDArray[np.intp],
        received: Moments,
        stored: int,
    ) -> None:
        super().__init__({topic: times}, part.shape, part.dtype)
        self._bag, self._topic, self._part, self._stored = bag, topic, part, stored
        self._times, self._order, self._received = times, order, received

    @property
    def stored(self) -> int:
        """See the base class."""
        return self._stored

    @property
    def is_cloud(self) -> bool:
        """Whether its messages are clouds."""
        return self._part.kind == "cloud"

    def with_points(self, points: int) -> None:
        """Give clouds so many points; what is missing of one is not a number."""
        self.shape = (points, 3)

    def at(self, moments: Moments) -> Iterator[NDArray[Any]]:
        """See the base class; a frame at a time. DataError where one has another shape than the first."""
        frames: list[int] = self._order[last_of(self._times, moments)].tolist()
        if not frames:
            return
        uses = {message: frame for frame, message in enumerate(frames)}
        held: dict[int, NDArray[Any]] = {}  # what came before it is wanted, where a clock orders messages otherwise
        begin, place = self._received[min(frames)], 0
        before = int(np.searchsorted(self._received, begin))  # messages that need not be read
        with opened(self._bag) as bag:
            for number, (_, _, data) in enumerate(bag.messages((self._topic,), int(begin)), before):
                if number not in uses:
                    continue
                where = f"{self._bag}: {self._topic}"
                held[number] = self._one(_taken(self._part, bag.message(self._topic, data), where, number), number)
                while place < len(frames) and frames[place] in held:
                    yield held[frames[place]]
                    if uses[frames[place]] == place:
                        del held[frames[place]]
                    place += 1
                if place == len(frames):
                    return

    def _one(self, value: Any, number: int) -> NDArray[Any]:
        """What a message says, (1, ...)."""
        if self._part.kind == "packed":
            found = np.empty(1, object)
            found[0] = value
            return found
        if self._part.kind == "cloud" and len(value) < self.shape[0]:
            rest = np.full((self.shape[0] - len(value), 3), np.nan, np.float32)
            value = np.concatenate([value, rest])
        if value.shape != self.shape or value.dtype != self.dtype:
            first = f"{self.shape} {self.dtype}"
            raise DataError(
                f"{self._bag}: {self._topic}: message {number} is {value.shape} {value.dtype}, the first {first}"
            )
        return value[None]
