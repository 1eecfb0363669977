"""Frames of named arrays, read and checked against the role that each has.

Legend: T frames, N points, H, W height and width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import affordable, short
from omp_cli.core.data.large import gathered
from omp_cli.core.data.readers.one_more import HINT
from omp_cli.core.data.readers.pictures import kept_bytes, read_pictures, refuse_depth
from omp_cli.core.data.readers.stored import Stored
from omp_cli.core.data.readers.white import Spans, white_of

NUMBERS = "fiub"
"""Kinds of NumPy's types that are numbers."""
_COLOURED = 6


class Frames:
    """The first ``wanted`` of ``total`` frames of arrays, checked against their roles.

    Pictures of floating point numbers are taken where ``spans`` say which frames are which episode's; ``whites`` says
    then what white is in those that were read, by array.
    """

    def __init__(
        self, where: str, arrays: Mapping[str, Stored], total: int, wanted: int, spans: Spans | None = None
    ) -> None:
        self._where, self._arrays, self._total, self._wanted = where, arrays, total, wanted
        self._spans, self.whites = spans, dict[str, int]()

    def width(self, name: str) -> int:
        """Numbers a frame."""
        shape = self._arrays[name].shape
        return shape[1] if len(shape) > 1 else 1

    def vectors(self, names: Iterable[str]) -> NDArray[np.float32]:
        """Arrays (T,) or (T, n) one after the other, (T, sum of n)."""
        parts = [self._read(name, (1, 2), "a number or a vector a frame") for name in names]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1).astype(np.float32)

    def outcome(self, name: str, role: str) -> NDArray[Any]:
        """An array (T,) or (T, 1) of what came of each action, (T,)."""
        array = self._arrays[name]
        if array.shape not in ((self._total,), (self._total, 1)) or array.dtype.kind not in NUMBERS:
            what = f"is {array.shape} {array.dtype}, expected a number for each of {self._total} frames"
            self.refuse_outcome(name, role, what)
        return array.read(self._wanted).reshape(-1)

    def refuse_outcome(self, name: str, role: str, what: str) -> NoReturn:
        """DataError: an array is not what an array of outcomes has to be."""
        raise DataError(f"{self._where}: {name} {what}", f"--set 'format.{role}=[]' leaves it out")

    def depth(self, name: str) -> NDArray[np.float32]:
        """(T, H, W), in the file's units."""
        expected = "depth pictures (T, H, W)"
        shape = self._checked(name, (3, 4), expected).shape
        axis = next((axis for axis in (3, 1) if shape[axis] == 1), None) if len(shape) == 4 else None
        if len(shape) == 4 and axis is None:
            self._refuse(name, expected)
        return self._in_parts(name, lambda part: part if axis is None else np.squeeze(part, axis))

    def poses(self, name: str) -> NDArray[np.float64]:
        """(T, 4, 4); whether they are rotations and translations is seen where they are used."""
        found = self._read(name, (2, 3), "poses (T, 4, 4)").astype(np.float64)
        if found.shape[1:] not in ((4, 4), (16,)):
            self._refuse(name, "poses (T, 4, 4), or (T, 16) by rows")
        return found.reshape(-1, 4, 4)

    def clouds(self, name: str, said: list[str]) -> NDArray[np.float32]:
        """(T, N, 3)."""
        expected = "clouds (T, N, 3), or (T, N, k) with more numbers than x, y, z"
        array = self._checked(name, (3,), f"{expected}, of floating point numbers")
        _, points, numbers = array.shape
        if array.dtype.kind != "f" or not 3 <= numbers <= max(points - 1, _COLOURED):  # (T, 3, N) is another layout
            self._refuse(name, f"{expected}, of floating point numbers")
        if numbers > 3:
            cut = "the last 3 of 6 numbers of a point, its colour, are cut"
            if numbers != _COLOURED:
                cut = f"all but the first 3 of {numbers} numbers of a point, x, y, z, are cut"
            said.append(f"{short(name)}: {cut}")
        return self._in_parts(name, lambda part: part[..., :3])

    def pictures(self, name: str, said: list[str], size: int | None, channels: int | None = None) -> NDArray[np.uint8]:
        """(T, H, W, 3 cameras); ``read_pictures`` says what the arguments are."""
        array, where = self._checked(name, (3, 4), "pictures (T, H, W, 3)"), f"{self._where}: {name}"
        self._afford(name, kept_bytes(array.shape, size), on_disk=True)
        refuse_depth(array, where, name)
        if array.dtype.kind == "f" and self._spans is not None:
            self.whites[name] = white_of(array, self._wanted, self._spans, name, said)
        return read_pictures(array, self._wanted, where, name, size, said, channels, self.whites.get(name))

    def _in_parts(self, name: str, of: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[np.float32]:
        """What is made of an array (T, ...), part by part; it may be larger than memory."""
        array = self._arrays[name]
        frames, floats = self._wanted, np.dtype(np.float32)
        self._afford(name, frames * floats.itemsize * math.prod(array.shape[1:]), on_disk=True)
        return gathered((of(part) for part in array.in_parts(frames)), frames, floats)

    def _read(self, name: str, dims: tuple[int, ...], expected: str) -> NDArray[Any]:
        array = self._checked(name, dims, expected)
        self._afford(name)
        return array.read(self._wanted)

    def _checked(self, name: str, dims: tuple[int, ...], expected: str) -> Stored:
        """The array; DataError where it does not fit its role or the episodes."""
        array = self._arrays[name]
        if len(array.shape) not in dims or array.dtype.kind not in NUMBERS or 0 in array.shape[1:]:
            self._refuse(name, expected)
        if array.shape[0] != self._total:
            raise DataError(
                f"{self._where}: {name} has {array.shape[0]} frames, the episodes end at frame {self._total}",
                f"all arrays have to be as long as the last of episode_ends: {HINT}",
            )
        return array

    def _afford(self, name: str, kept: int | None = None, on_disk: bool = False) -> None:
        """DataError where file or memory cannot hold the array, of which ``kept`` bytes (None: all) are kept."""
        array = self._arrays[name]
        affordable(f"{self._where}: {name}", array.of_frame * array.shape[0], array.stored, kept, on_disk)
        if on_disk:
            together = array.of_frame * min(array.chunk, array.shape[0])
            affordable(f"{self._where}: a chunk of {name}, which is read as a whole,", together)

    def _refuse(self, name: str, expected: str) -> NoReturn:
        array = self._arrays[name]
        raise DataError(f"{self._where}: {name} is {array.shape} {array.dtype}, expected {expected}")
