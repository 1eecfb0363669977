"""Reading HDF5 files so that every kind of damage is one line about the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.errors import DataError, data_error, one_line

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether the file begins as HDF5 files do."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, for reading; whatever h5py raises inside becomes a DataError."""
    import h5py

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if not is_hdf5(path):
        raise DataError(f"{path}: not an HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except KeyError as error:
        if "doesn't exist" not in str(error):  # HDF5's word for a name that the file does not have
            raise data_error(error, str(path), "damaged or cut short", "fetch the file again") from error
        raise DataError(f"{path}: something is not in it ({one_line(error)})", "another --format may fit") from error
    except (OSError, RuntimeError, MemoryError) as error:
        raise data_error(error, str(path), "damaged or cut short", "fetch the file again") from error


def array(group: h5py.Group, name: str, expected: str, dims: int, frames: int | None = None) -> NDArray[Any]:
    """A data set of a group as an array; DataError when it is missing or has another shape.

    Args:
        group: where it is.
        name: its name.
        expected: what such a file holds, for the message.
        dims: number of dimensions.
        frames: required length.
    """
    import h5py

    place = f"{group.file.filename}: {group.name.rstrip('/')}/{name}"
    found = group.get(name)
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{place} is missing", f"expected: {expected}")
    if found.ndim != dims or found.dtype.kind not in "fiub":
        raise DataError(f"{place} has shape {found.shape} of {found.dtype}, expected {dims} dimensions of numbers")
    if frames is not None and len(found) != frames:
        raise DataError(f"{place} has {len(found)} frames, expected {frames}")
    return np.asarray(found[()])


def numbered(group: Any, prefix: str) -> list[str]:
    """Names ``<prefix><number>`` in a group, by number; none in what is no group."""
    import h5py

    if not isinstance(group, h5py.Group):
        return []
    names = [name for name in group if name.startswith(prefix) and name.removeprefix(prefix).isdigit()]
    return sorted(names, key=lambda name: int(name.removeprefix(prefix)))
