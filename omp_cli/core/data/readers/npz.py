"""DPPO's and DMPO's npz: ``train.npz`` scaled to [-1, 1], with the limits in ``normalization.npz`` beside it.

``states`` (N, S), ``actions`` (N, A), ``images`` (N, C, H, W) or (N, H, W, C) uint8, ``traj_lengths`` (E,), maybe
``rewards`` and ``terminals`` (N,). They scale by 2 (x - min) / (max - min + 1e-6) - 1; undone here, since a policy
carries its own normalisation and an environment speaks in physical units.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

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
    spec_of,
    split,
)
from omp_cli.core.data.store import Arrays

LIMITS = "normalization.npz"
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

    def files(self, path: Path) -> tuple[Path, ...]:
        """See the base class."""
        return (path, path.with_name(LIMITS))

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        self.refuse_incomplete(path)
        limits = path.with_name(LIMITS)
        if not limits.is_file():
            raise DataError(f"{limits}: missing, and without it {path.name} has no units", f"expected: {self.expected}")
        progress.start(f"{subject.task}: reading trajectories", 1)
        scaled, bounds = _load(path, (*NEEDED, *OPTIONAL)), _load(limits, BOUNDS)
        ends = _ends(path, scaled)
        arrays: Arrays = {}
        for name, ours, key in (("states", "state", "obs"), ("actions", "action", "action")):
            values = _frames(path, scaled, name, 2, int(ends[-1]))
            low, high = (_limit(limits, bounds, f"{key}_{end}", values.shape[1]) for end in ("min", "max"))
            arrays[ours] = _physical(path, name, values, low, high)
        said: tuple[str, ...] = ()
        if "images" in scaled:
            images = _frames(path, scaled, "images", 4, int(ends[-1]))
            arrays["img"], layout = channels_last(images, f"{path}: images")
            said = (f"images {images.shape} are taken as {layout}, of {arrays['img'].shape[3] // 3} camera(s)",)
        for name, ours, kind in (("rewards", "reward", np.float32), ("terminals", "terminal", np.bool_)):
            if name in scaled:
                arrays[ours] = _frames(path, scaled, name, 1, int(ends[-1])).astype(kind)
        episodes = split(arrays, ends, limit)
        progress.advance()
        notes: dict[str, Any] = {"trajectories": len(ends), "mean_length": round(float(ends[-1] / len(ends)), 1)}
        notes["limits"] = {name: [float(x) for x in values] for name, values in bounds.items()}
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
            header(path, file.zip, name, expected)
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


def _load(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Those of the arrays that are there."""
    return arrays_of(path, lambda name: name in names, NpzReader.expected)


def header(
    path: Path, archive: zipfile.ZipFile, name: str, expected: str
) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape and type that the head of a member of the archive declares, and the bytes that the file holds of it.

    DataError unless it is an array of the size that its head declares.
    """
    where = f"{path}: {name}"
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise DataError(f"{where} is no array", f"expected: {expected}") from None
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{where} is encrypted, or compressed in a way that NumPy does not write")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise DataError(f"{where} is in NumPy's format {version}, which plain arrays do not need")
        shape, _, dtype = read(member)
        size = math.prod(shape) * dtype.itemsize
        stored = min(info.compress_size, path.stat().st_size)
        affordable(where, size, stored)
        if size != info.file_size - member.tell() and not dtype.hasobject:  # objects are refused where they are read
            raise DataError(f"{where} declares {shape} {dtype}, and holds {info.file_size - member.tell():,} bytes")
    return shape, dtype, stored


def _frames(path: Path, arrays: dict[str, NDArray[Any]], name: str, dims: int, frames: int) -> NDArray[Any]:
    if name not in arrays:
        raise DataError(f"{path}: no {name} in it", f"expected: {NpzReader.expected}")
    found = arrays[name]
    if dims == 1 and found.shape == (frames, 1):
        found = found[:, 0]
    if found.ndim != dims or len(found) != frames or found.dtype.kind not in "fiub" or 0 in found.shape:
        raise DataError(
            f"{path}: {name} is {found.shape} {found.dtype}, expected {dims} dimensions of numbers, {frames} frames"
        )
    return found


def _ends(path: Path, arrays: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    lengths = arrays.get("traj_lengths")
    if lengths is None or lengths.ndim != 1 or not len(lengths) or lengths.dtype.kind not in "iu" or lengths.min() < 1:
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
