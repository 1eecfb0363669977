"""Arrays that need not be in memory: files that are mapped, of which memory has what is used and as much as it allows.

Legend: T frames.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from omp_cli.core.base.errors import RunFailed
from omp_cli.core.base.memory import memory

AT_ONCE = 128 << 20
"""Bytes of an array that are in memory at once where it is gone through in parts."""
_SMALL = 1 << 20
_LEFT_FREE = 4
"""Which part of the machine's memory is left to all else: a quarter."""
_SLAB = 1 << 30
_FIRST_SLAB = 1 << 26


class Selected:
    """Some frames of a mapped array, which are read when they are asked for.

    Args:
        array: (T, ...), mapped.
        rows: which of its frames these are, in their order.
    """

    def __init__(self, array: NDArray[Any], rows: NDArray[np.int64]) -> None:
        self.array, self.rows = array, rows
        self.shape, self.dtype, self.ndim = (len(rows), *array.shape[1:]), array.dtype, array.ndim
        self.nbytes = math.prod(self.shape) * array.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """As of an array; an index of several axes begins with that of the frames."""
        frames, *inner = index if isinstance(index, tuple) else (index,)
        found: NDArray[Any] = self.array[(self.rows[frames], *inner)]
        return found

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """All frames, where ``room`` has a place for them."""
        kind = self.dtype if dtype is None else np.dtype(dtype)
        parts = (self[part] for part in parts_of(self.shape, self.dtype))
        return gathered(parts, len(self), kind) if len(self) else np.empty(self.shape, kind)


Frames = NDArray[Any] | Selected
"""An array of a data set (T, ...), in memory or mapped."""


class ReadAhead:
    """Has the machine read frames of a mapped array before they are asked for, while others are worked on.

    A fault for each frame waits for the disk once a frame: 256 pictures of 49 kB took 300 ms of a cold file where they
    were not asked for ahead, and 20 ms where they were.
    """

    def __init__(self, array: Frames) -> None:
        self._rows = array.rows if isinstance(array, Selected) else None
        whole = array.array if isinstance(array, Selected) else array
        self._file: mmap.mmap | None = getattr(whole, "_mmap", None) if hasattr(mmap, "MADV_WILLNEED") else None
        self._of_frame = whole.strides[0]
        if self._file is not None:
            self._start = whole.ctypes.data - np.frombuffer(self._file, np.uint8).ctypes.data

    @property
    def reads(self) -> bool:
        """Whether the array is mapped, on a system that can be asked."""
        return self._file is not None

    def __call__(self, frames: NDArray[np.int64]) -> None:
        """Begin to read these; of an array in memory nothing is done."""
        if self._file is None or not frames.size:
            return
        rows = np.unique(frames if self._rows is None else self._rows[frames])
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
            begin = self._start + int(run[0]) * self._of_frame
            before = begin % mmap.PAGESIZE
            self._file.madvise(mmap.MADV_WILLNEED, begin - before, before + len(run) * self._of_frame)


def selected(array: Frames, rows: NDArray[np.int64]) -> Frames:
    """Frames of an array, of a mapped one without reading them; side by side they are a part of it."""
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return array[rows[0] : rows[0] + len(rows)]
    if isinstance(array, Selected):
        return Selected(array.array, array.rows[rows])
    return Selected(array, rows) if isinstance(array, np.memmap) else array[rows]


class Slabs:
    """Files without a name in a folder, mapped, from which arrays are cut; gone with the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._left, self._next = np.empty(0, np.uint8), min(_FIRST_SLAB, _SLAB)

    def cut(self, size: int) -> NDArray[np.uint8]:
        """So many bytes of a file; RunFailed where the disk has none left."""
        pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if pages > len(self._left):
            try:
                self._left = self._mapped(max(pages, self._next))
            except RunFailed:
                self._left = self._mapped(pages)
            self._next = min(2 * self._next, _SLAB)
        found, self._left = self._left[:size], self._left[pages:]
        return found

    def _mapped(self, size: int) -> NDArray[np.uint8]:
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                if hasattr(os, "posix_fallocate"):  # a full disk is told now, and not by a signal later
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                return np.memmap(file, np.uint8, "r+", shape=(size,))
        except OSError as error:
            raise RunFailed(
                f"{self.folder}: {size / 1e9:.3g} GB more of the frames fit neither into memory nor here "
                f"({os.strerror(error.errno or 0).lower()})",
                "free some space, or take fewer or smaller ones; where this is a folder for temporary files, TMPDIR "
                "names another",
            ) from error


_SLABS: ContextVar[Slabs | None] = ContextVar("slabs", default=None)


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Arrays of ``room`` that memory has no place for lie in this folder, and not in that for temporary files."""
    before = _SLABS.set(Slabs(folder))
    try:
        yield
    finally:
        _SLABS.reset(before)


def room(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """An array to be filled: in memory while a quarter of the machine's stays free, else in a file that is mapped.

    Where the disk has no place for it, all of memory counts.

    Raises:
        RunFailed: there is no place for it.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if _in_memory(size):
        return np.empty(shape, kind)
    try:
        return _slabs().cut(size).view(kind).reshape(shape)
    except RunFailed:
        if size > memory().available:
            raise
        return np.empty(shape, kind)


def spare_folder() -> Path:
    """Where that lies which memory has no place for."""
    return _slabs().folder


def _slabs() -> Slabs:
    if (found := _SLABS.get()) is None:
        _SLABS.set(found := Slabs(Path(tempfile.gettempdir())))
    return found


def _in_memory(size: int) -> bool:
    if size < _SMALL:
        return True
    free = memory()
    return size <= free.available - free.total // _LEFT_FREE


def held(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, or where memory is scarce one that is mapped in its place."""
    if isinstance(array, np.memmap) or array.nbytes < _SMALL or _in_memory(_SMALL):
        return array
    found = room(array.shape, array.dtype)
    found[:] = array
    return found


def gathered(parts: Iterable[NDArray[Any]], frames: int, dtype: DTypeLike) -> NDArray[Any]:
    """Parts (t, ...) one after the other, which have so many frames together; they take their place once, not twice."""
    each = iter(parts)
    first = next(each)
    if len(first) == frames and first.dtype == dtype:
        return held(first)
    found, place = room((frames, *first.shape[1:]), dtype), 0
    for part in chain([first], each):
        found[place : place + len(part)] = part
        place += len(part)
    return found


def parts_of(shape: Sequence[int], dtype: np.dtype[Any], chunk: int = 1) -> Iterator[slice]:
    """The frames of an array (T, ...) from first to last, as many at once as memory should have, whole chunks each."""
    of_frame = max(dtype.itemsize * math.prod(shape[1:]), 1)
    step = max(AT_ONCE // (of_frame * chunk), 1) * chunk
    return (slice(at, min(at + step, shape[0])) for at in range(0, shape[0], step))
