"""Arrays that are in a file and were not read yet, of whatever format.

Legend: T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.data.large import AT_ONCE, gathered


@dataclass(frozen=True)
class Stored:
    """An array that is in a file and was not read yet.

    Attributes:
        shape: (T, ...).
        dtype: type of its numbers.
        stored: bytes that the file holds of it; None where that is not known.
        read: a function that reads a given number of frames from the start.
        parts: a function that reads a given number of frames from the start, so many of them at once; None where all
            are read together.
        chunk: frames that the file has in one piece, which is read as a whole.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: int | None
    read: Callable[[int], NDArray[Any]]
    parts: Callable[[int, int], Iterator[NDArray[Any]]] | None = None
    chunk: int = 1

    @property
    def of_frame(self) -> int:
        """Bytes of a frame."""
        return max(self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=object)), 1)

    @classmethod
    def sliced(
        cls,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        stored: int | None,
        between: Callable[[int, int], NDArray[Any]],
        chunk: int = 1,
    ) -> Stored:
        """An array of a file that reads the frames ``between`` a first one and one after the last on their own."""

        def parts(frames: int, at_once: int) -> Iterator[NDArray[Any]]:
            return (between(start, min(start + at_once, frames)) for start in range(0, max(frames, 1), at_once))

        return cls(shape, dtype, stored, lambda frames: between(0, frames), parts, chunk)

    @classmethod
    def continued(
        cls,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        stored: int | None,
        pieces: Callable[[int], Iterator[NDArray[Any]]],
    ) -> Stored:
        """An array in several files, whose ``pieces`` of the given number of frames are read one after the other."""

        def read(frames: int) -> NDArray[Any]:
            return gathered(pieces(frames), frames, dtype)

        return cls(shape, dtype, stored, read, lambda frames, _: pieces(frames))

    def in_parts(self, frames: int) -> Iterator[NDArray[Any]]:
        """The given number of frames from the start, as many at once as a reader should hold, where the file can."""
        if self.parts is None:
            return iter([self.read(frames)])
        return self.parts(frames, max(AT_ONCE // (self.of_frame * self.chunk), 1) * self.chunk)
