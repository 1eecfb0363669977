"""What a bag says under a name over time: when each message came, and what holds at given moments.

Legend: M messages, T moments, J joints, N points.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.rosbag_file import opened
from omp_cli.core.data.readers.rosbag_messages import MessagePart
from omp_cli.core.data.readers.rosbag_transforms import NAMES, Transforms, as_numbers
from omp_cli.core.data.readers.stored import Stored

Moments = NDArray[np.int64]
"""Times (T,) or (M,) in nanoseconds, ascending."""


class Signal(ABC):
    """A name's messages.

    Attributes:
        times: when each came (M,), ascending.
        shape: of what one of them says.
        dtype: of it.
        stored: bytes of all of them in the file.
        names: of its numbers, where the messages say them.
    """

    def __init__(self, times: Moments, shape: tuple[int, ...], dtype: np.dtype[Any], stored: int) -> None:
        self.times, self.shape, self.dtype, self.stored = times, shape, dtype, stored
        self.names: tuple[str, ...] = ()

    @abstractmethod
    def at(self, moments: Moments) -> Iterator[NDArray[Any]]:
        """What was said last at each moment (T, ...), in parts; no moment is before the first message."""

    def stored_at(self, moments: Moments) -> Stored:
        """What holds at moments, as an array that is read when it is asked for."""
        return Stored.continued(
            (len(moments), *self.shape), self.dtype, self.stored, lambda frames: self.at(moments[:frames])
        )

    def match(self, first: Signal | None, where: str) -> None:
        """Have the numbers of the first bag, in its order; DataError where they are others."""
        if first is not None and self.names != first.names:
            raise DataError(
                f"{where}: {listed(self.names)}, and {listed(first.names)} in the first bag", "take this bag out"
            )

    def _last(self, moments: Moments) -> NDArray[np.intp]:
        return np.searchsorted(self.times, moments, side="right") - 1


class Numbers(Signal):
    """Numbers of messages, which are few enough to be kept.

    Args:
        name: what messages call it.
        part: what it is of a message.
        times: when each came (M,).
        messages: as a bag has them, of one topic (M,).
        reader: how one of them is read.
    """

    def __init__(self, name: str, part: MessagePart, times: Moments, messages: Sequence[bytes], reader: Any) -> None:
        super().__init__(times, part.shape, part.dtype, sum(map(len, messages)))
        self._name, self._part, self._messages, self._reader = name, part, messages, reader
        self.names = part.names

    def at(self, moments: Moments) -> Iterator[NDArray[Any]]:
        """See the base class; DataError where a message has other numbers than the first."""
        chosen, back = np.unique(self._last(moments), return_inverse=True)
        rows = np.empty((len(chosen), *self.shape), self.dtype)
        for row, place in enumerate(chosen):
            value = np.asarray(_taken(self._part, self._reader(self._messages[place]), self._name, place))
            if value.shape != self.shape:
                raise DataError(f"{self._name} has {value.shape} numbers in message {place}, and {self.shape} at first")
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
        part: ``position``, ``velocity`` or ``effort``.
        times: when each message came (M,).
        messages: of the type sensor_msgs/JointState (M,).
        stored: bytes of them.
    """

    def __init__(self, part: str, times: Moments, messages: Sequence[Any], stored: int) -> None:
        told = [(message.name, getattr(message, part)) for message in messages]
        groups = dict.fromkeys(tuple(names) for names, values in told if len(names) == len(values))
        together = sorted(groups) if len(groups) > 1 else list(groups)  # which publisher comes first is chance
        names = tuple(dict.fromkeys(name for group in together for name in group))
        place = {name: at for at, name in enumerate(names)}
        last, heard = np.zeros(len(names)), np.zeros(len(names), np.bool_)
        rows, whole = np.empty((len(told), len(names))), np.empty(len(told), np.bool_)
        for number, (some, values) in enumerate(told):
            if len(some) == len(values):
                where = [place[name] for name in some]
                last[where], heard[where] = values, True
            rows[number], whole[number] = last, heard.all()
        super().__init__(times[whole], (len(names),), np.dtype(np.float64), stored)
        self._rows, self.names = rows[whole], names

    def match(self, first: Signal | None, where: str) -> None:
        """See the base class; the same joints in another order are put into the first bag's."""
        if first is not None and sorted(self.names) == sorted(first.names):
            self._rows = self._rows[:, [self.names.index(name) for name in first.names]]
            self.names = first.names
        super().match(first, where)

    def at(self, moments: Moments) -> Iterator[NDArray[Any]]:
        """See the base class."""
        yield self._rows[self._last(moments)]


class FramePose(Signal):
    """The pose of a frame in another one.

    Args:
        name: ``tf:base>tool``.
        transforms: of the bag.
        matrix: whether it is a matrix (4, 4) or x, y, z and a quaternion (7,).
    """

    def __init__(self, name: str, transforms: Transforms, matrix: bool) -> None:
        times = np.maximum.accumulate(transforms.times(name))
        super().__init__(times, (4, 4) if matrix else (len(NAMES),), np.dtype(np.float64), 0)
        self._name, self._transforms, self._matrix = name, transforms, matrix
        self.names = () if matrix else NAMES

    def at(self, moments: Moments) -> Iterator[NDArray[Any]]:
        """See the base class."""
        poses = self._transforms.poses(self._name, moments)
        yield poses if self._matrix else as_numbers(poses)

    def stored_at(self, moments: Moments) -> Stored:
        """See the base class; what the bag holds of it is not known."""
        shape = (len(moments), *self.shape)
        return Stored.continued(shape, self.dtype, None, lambda frames: self.at(moments[:frames]))


class Large(Signal):
    """Pictures, packed pictures or clouds, which are read from the bag again when they are asked for.

    Args:
        bag: the file or folder.
        topic: their topic.
        part: what is taken of each.
        times: when each came, by the clock that counts (M,).
        received: when each was received (M,).
        stored: bytes of all of them.
    """

    def __init__(
        self, bag: Path, topic: str, part: MessagePart, times: Moments, received: Moments, stored: int
    ) -> None:
        super().__init__(times, part.shape, part.dtype, stored)
        self._bag, self._topic, self._part, self._received = bag, topic, part, received

    def at(self, moments: Moments) -> Iterator[NDArray[Any]]:
        """See the base class; a frame at a time. DataError where one has another shape than the first."""
        frames = iter(self._last(moments).tolist())
        wanted = next(frames, None)
        begin = self._received[wanted or 0]
        before = int(np.searchsorted(self._received, begin))  # messages that need not be read
        with opened(self._bag) as bag:
            for number, (_, _, data) in enumerate(bag.messages((self._topic,), int(begin)), before):
                if wanted is None:
                    return
                if number != wanted:
                    continue
                where = f"{self._bag}: {self._topic}"
                value = self._one(_taken(self._part, bag.message(self._topic, data), where, number), number)
                while wanted == number:
                    yield value
                    wanted = next(frames, None)

    def _one(self, value: Any, number: int) -> NDArray[Any]:
        """What a message says, (1, ...)."""
        if self._part.kind == "packed":
            found = np.empty(1, object)
            found[0] = value
            return found
        if self._part.kind == "cloud" and len(value) < self.shape[0]:  # clouds of all messages as the largest of them
            rest = np.full((self.shape[0] - len(value), 3), np.nan, np.float32)
            value = np.concatenate([value, rest])
        if value.shape != self.shape or value.dtype != self.dtype:
            was = f"{self.shape} {self.dtype}"
            raise DataError(
                f"{self._bag}: {self._topic}: message {number} is {value.shape} {value.dtype}, the first {was}"
            )
        return value[None]
