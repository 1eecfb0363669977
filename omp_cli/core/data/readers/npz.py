"""DPPO's and DMPO's npz: ``train.npz`` scaled to [-1, 1], with the limits in ``normalization.npz`` beside it.

``states`` (N, S), ``actions`` (N, A), ``images`` (N, C, H, W) or (N, H, W, C) uint8, ``traj_lengths`` (E,), maybe
``rewards`` and ``terminals`` (N,). They scale by 2 (x - min) / (max - min + 1e-6) - 1; undone here, since a policy
carries its own normalisation and an environment speaks in physical units.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import DataError, data_error
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.foreign import affordable, whole
from omp_cli.core.data.readers.base import (
    FORMATS,
    Contents,
    Reader,
    Recording,
    Subject,
    channels_last,
    first_states,
    left_out,
    spec_of,
    split,
)
from omp_cli.core.data.readers.stored import Stored
from omp_cli.core.data.store import Arrays

FILE, LIMITS = "train.npz", "normalization.npz"
"""What DPPO and DMPO call the files of every data set."""
MARGIN = 1e-6
NEEDED, OPTIONAL = ("states", "actions", "traj_lengths"), ("images", "rewards", "terminals")
BOUNDS = ("obs_min", "obs_max", "action_min", "action_max")


class NpzConfig(Settings):
    """Nothing to choose."""

    name: Literal["npz"] = "npz"


@FORMATS.register("npz")
class NpzReader(Reader):
    """One episode per trajectory length."""

    Config = NpzConfig
    expected = (
        "train.npz with states, actions and traj_lengths (the number of frames of each episode), and normalization.npz "
        "beside it"
    )

    @classmethod
    def contents(cls, path: Path) -> Contents | None:
        """See the base class."""
        if (held := names_in(path, cls.expected)) is None:
            return None
        return Contents(held, tuple(name for name in NEEDED if name not in held))

    @classmethod
    def label(cls, path: Path) -> str:
        """See the base class."""
        return (path.absolute().parent.name if path.name == FILE else "") or super().label(path)

    def files(self, path: Path, limit: int | None) -> tuple[Path, ...]:
        """See the base class."""
        return (path, path.with_name(LIMITS))

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        self.refuse_incomplete(path)
        limits = path.with_name(LIMITS)
        if not limits.is_file():
            raise DataError(f"{limits}: missing, and without it {path.name} has no units", f"expected: {self.expected}")
        progress.start(f"{subject.task}: reading trajectories", 1)
        stored, bounds = stored_in(path, self.expected), arrays_of(limits, lambda name: name in BOUNDS, self.expected)
        ends = _ends(path, stored)
        frames = _Frames(path, stored, int(ends[-1]), int(ends[:limit][-1]))
        arrays: Arrays = {}
        for name, ours, key in (("states", "state", "obs"), ("actions", "action", "action")):
            values = frames.of(name, 2)
            low, high = (_limit(limits, bounds, f"{key}_{end}", values.shape[1]) for end in ("min", "max"))
            arrays[ours] = _physical(path, name, values, low, high)
        said: tuple[str, ...] = ()
        if "images" in stored:
            arrays["img"], layout = channels_last(frames.of("images", 4), f"{path}: images")
            shape, cameras = stored["images"].shape, arrays["img"].shape[3] // 3
            said = (f"images {shape} are taken as {layout}, of {cameras} camera(s)",)
        for name, ours, kind in (("rewards", "reward", np.float32), ("terminals", "terminal", np.bool_)):
            if name in stored:
                arrays[ours] = frames.of(name, 1).astype(kind)
        episodes = split(arrays, ends, limit)
        progress.advance()
        notes: dict[str, Any] = {"trajectories": len(ends), "mean_length": round(float(ends[-1] / len(ends)), 1)}
        notes["limits"] = {name: [float(x) for x in values] for name, values in bounds.items()}
        said += left_out({name: a.shape for name, a in stored.items() if name not in (*NEEDED, *OPTIONAL)})
        return Recording(episodes, spec_of(subject, episodes), notes, first_states(episodes), said=said)


def arrays_of(path: Path, wanted: Callable[[str], object], expected: str) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file whose names are wanted, as plain numbers or text.

    Args:
        path: the file.
        wanted: says of a name whether it is.
        expected: what such a file holds, for the message.

    Raises:
        DataError: damaged, not such a file, or a member declares more than it holds.
    """
    with opened(path, expected) as file:
        names = [name for name in file.files if wanted(name)]
        for name in names:
            _check_size(path, name, _head(path, file.zip, name, expected))
        return {name: file[name] for name in names}


def names_in(path: Path, expected: str) -> tuple[str, ...] | None:
    """Names of the arrays of an .npz; None for a file of another kind, DataError for a damaged one."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return None
    with opened(path, expected) as archive:
        return tuple(archive.files)


@contextmanager
def opened(path: Path, expected: str) -> Iterator[Any]:
    """The archive; nothing in it is unpickled, and whatever is wrong with it becomes a DataError."""
    if not zipfile.is_zipfile(whole(path)):
        raise DataError(f"{path}: damaged, or not an npz file", f"expected: {expected}")
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise data_error(error, str(path), "damaged, or not an npz file of plain arrays", "fetch it again") from None


def stored_in(path: Path, expected: str) -> dict[str, Stored]:
    """The arrays of an npz file by name, of which only the heads were read.

    Args:
        path: the file.
        expected: what such a file holds, for the message.

    Raises:
        DataError: damaged, or not such a file; where an array is read, also that it declares more than it holds.
    """
    with opened(path, expected) as file:
        held = frozenset(file.zip.namelist())
        heads = {name: _head(path, file.zip, name, expected) for name in file.files if f"{name}.npy" in held}
    return {n: _stored(path, n, expected, head) for n, head in heads.items()}


def _stored(path: Path, name: str, expected: str, seen: _Head) -> Stored:
    """An array of which some frames from the start are read; what comes after them is not unpacked."""

    def parts(frames: int, at_once: int) -> Iterator[NDArray[Any]]:
        with opened(path, expected) as file:
            head = _head(path, file.zip, name, expected)
            whole = head.dtype.hasobject or not head.shape or (head.by_columns and frames > 0)
            of_frame = math.prod(head.shape[1:]) * head.dtype.itemsize
            _check_size(path, name, head, None if whole else min(at_once, frames) * of_frame)
            if whole:
                yield file[name][:frames]  # NumPy refuses objects; by columns the first frames lie all over it
                return
            with file.zip.open(f"{name}.npy") as member:
                head_of(member, f"{path}: {name}")
                last = min(frames, head.shape[0])
                for start in range(0, max(last, 1), at_once):
                    here = min(at_once, last - start)
                    packed = bytearray(member.read(here * of_frame))
                    yield np.frombuffer(packed, head.dtype).reshape(here, *head.shape[1:])

    return Stored(seen.shape, seen.dtype, seen.stored, lambda frames: next(parts(frames, max(frames, 1))), parts)


def head_of(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """What the head of an array in NumPy's format declares: shape, whether it lies by columns, and type.

    Args:
        file: at the beginning of the array; then after its head.
        where: the file, and what in it, for the message.

    Raises:
        DataError: a version of the format that plain arrays do not need.
        ValueError: the head is damaged.
    """
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise DataError(f"{where} is in NumPy's format {version}, which plain arrays do not need")
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(file)
    return found


@dataclass(frozen=True)
class _Head:
    """What is known of a member of an archive before its numbers are read.

    Attributes:
        shape: as its head declares.
        by_columns: whether the numbers lie by columns.
        dtype: their type.
        stored: bytes that the file holds of it, packed.
        held: bytes that come after the head, as the archive says.
    """

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype[Any]
    stored: int
    held: int


def _head(path: Path, archive: zipfile.ZipFile, name: str, expected: str) -> _Head:
    """The head of a member of the archive; DataError unless it is a plain array."""
    where = f"{path}: {name}"
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise DataError(f"{where} is no array", f"expected: {expected}") from None
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{where} is encrypted, or compressed in a way that NumPy does not write")
    with archive.open(info) as member:
        head = head_of(member, where)
        return _Head(*head, stored=min(info.compress_size, path.stat().st_size), held=info.file_size - member.tell())


def _check_size(path: Path, name: str, head: _Head, kept: int | None = None) -> None:
    """DataError unless the file holds what the head declares, and memory can take ``kept`` bytes of it (None: all)."""
    size = math.prod(head.shape) * head.dtype.itemsize
    affordable(f"{path}: {name}", size, head.stored, kept)
    if size != head.held and not head.dtype.hasobject:  # objects are refused where they are read
        raise DataError(f"{path}: {name} declares {head.shape} {head.dtype}, and holds {head.held:,} bytes")


@dataclass(frozen=True)
class _Frames:
    """The first ``wanted`` of ``total`` frames of arrays."""

    path: Path
    arrays: Mapping[str, Stored]
    total: int
    wanted: int

    def of(self, name: str, dims: int) -> NDArray[Any]:
        """An array of numbers with so many dimensions; for one, (T, 1) counts as well. DataError where it is none."""
        if name not in self.arrays:
            raise DataError(f"{self.path}: no {name} in it", f"expected: {NpzReader.expected}")
        found = self.arrays[name]
        found.read(0)  # refuses what is wrong with the head, of which a wrong shape would only be a consequence
        shape = found.shape[:1] if dims == 1 and found.shape == (self.total, 1) else found.shape
        if len(shape) != dims or shape[0] != self.total or found.dtype.kind not in "fiub" or 0 in shape:
            raise DataError(
                f"{self.path}: {name} is {found.shape} {found.dtype}, expected {dims} dimensions of numbers, "
                f"{self.total} frames"
            )
        return found.read(self.wanted).reshape(self.wanted, *shape[1:])


def _ends(path: Path, arrays: Mapping[str, Stored]) -> NDArray[np.int64]:
    found = arrays.get("traj_lengths")
    lengths = found.read(found.shape[0]) if found is not None and len(found.shape) == 1 else None
    if lengths is None or not len(lengths) or lengths.dtype.kind not in "iu" or lengths.min() < 1:
        raise DataError(f"{path}: traj_lengths is missing or not a list of lengths", f"expected: {NpzReader.expected}")
    total = sum(int(length) for length in lengths)
    if total > np.iinfo(np.int64).max:
        raise DataError(f"{path}: traj_lengths add up to {total} frames")
    return np.cumsum(lengths).astype(np.int64)


def _limit(path: Path, arrays: dict[str, NDArray[Any]], name: str, dim: int) -> NDArray[np.float64]:
    found = arrays.get(name)
    if found is None or found.shape != (dim,):
        shape = None if found is None else found.shape
        raise DataError(f"{path}: {name} is {shape}, expected ({dim},)", "it belongs to another train.npz")
    if found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise DataError(f"{path}: {name} of {found.dtype}, expected finite numbers")
    return found.astype(np.float64)


def _physical(
    path: Path, name: str, values: NDArray[Any], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Undo their scaling, exactly."""
    if np.abs(values).max() > 1.01:
        raise DataError(f"{path}: {name} reach {np.abs(values).max():.3g}, so they are not scaled to [-1, 1]")
    return ((values.astype(np.float64) + 1) / 2 * (high - low + MARGIN) + low).astype(np.float32)
