"""Reading HDF5 files so that every kind of damage is one line about the file, and nothing outside it is read.

HDF5 can keep the numbers of an array in any other file of the machine: behind external links, in external storage and
in virtual datasets. All three are refused, since a file of someone else's would choose what goes into a data set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, data_error, one_line
from omp_cli.core.data.foreign import affordable, count, json_object, listed, refuse, short, whole
from omp_cli.core.data.readers.base import Contents
from omp_cli.core.data.readers.stored import Stored

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"
_FEW = 12
"""Members of a file, of whose groups it is told what is in them; to look into thousands of episodes takes seconds."""
OWN = "copy what it holds into a file of its own: h5repack, or h5copy"


def is_hdf5(path: Path) -> bool:
    """Whether the file begins as HDF5 files do."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, for reading; whatever h5py raises inside becomes a DataError, and so do links to other files."""
    import h5py

    if not is_hdf5(whole(path)):
        raise DataError(f"{path}: not an HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            _no_way_out(path, file)
            yield file
    except KeyError as error:
        if "doesn't exist" not in str(error):  # HDF5's word for a name that the file does not have
            raise data_error(error, str(path), "damaged or cut short", "fetch the file again") from error
        raise DataError(f"{path}: something is not in it ({one_line(error)})", "another --format may fit") from error
    except (OSError, RuntimeError, MemoryError) as error:
        raise data_error(error, str(path), "damaged or cut short", "fetch the file again") from error


def _no_way_out(path: Path, file: h5py.File) -> None:
    """DataError for a link that is neither hard nor soft; a soft one alone cannot leave the file."""
    from h5py import h5l

    def leads_out(name: bytes, info: Any) -> bytes | None:
        return None if info.type in (h5l.TYPE_HARD, h5l.TYPE_SOFT) else name

    found = file.id.links.visit(leads_out, info=True)
    if found is not None:
        name = short(found.decode(errors="replace"))
        raise DataError(f"{path}: {name!r} is a link to another file, which omp does not follow", OWN)


def contents_of(path: Path, lacking: Callable[[h5py.File], Sequence[str]]) -> Contents | None:
    """What an HDF5 file holds, and what it lacks by that function; None for files of other kinds."""
    import h5py

    if not is_hdf5(path):
        return None
    with opened(path) as file:
        held = tuple(file)
        if len(held) <= _FEW:
            held = tuple(f"{n}/ ({listed(file[n], 4)})" if isinstance(file.get(n), h5py.Group) else n for n in held)
        return Contents(held, tuple(lacking(file)))


def member_group(group: h5py.Group, name: str, expected: str) -> h5py.Group:
    """A group inside another one; DataError when it is missing, or something else; arguments as of ``dataset``."""
    import h5py

    found = group.get(name)
    if not isinstance(found, h5py.Group):
        missing = "is missing" if found is None else "is no group"
        raise DataError(f"{_place(group, name)} {missing}", f"expected: {expected}")
    return found


def dataset(group: h5py.Group, name: str, expected: str) -> h5py.Dataset:
    """A data set of a group that holds its numbers itself; DataError when it is missing, or they lie elsewhere.

    Args:
        group: the group that holds it.
        name: name of the data set.
        expected: what such a file holds, for the message.
    """
    import h5py

    place = _place(group, name)
    found = group.get(name)
    if not isinstance(found, h5py.Dataset):
        has = f"is missing; {group.name} holds: {listed(group)}"
        missing = has if found is None else "is a group, expected an array"
        raise DataError(f"{place} {missing}", f"expected: {expected}")
    if found.is_virtual or found.external:
        raise DataError(f"{place} keeps its numbers in other files, which omp does not read", OWN)
    return found


def array(
    group: h5py.Group, name: str, expected: str, dims: int, frames: int | None = None, first: int | None = None
) -> NDArray[Any]:
    """A data set of a group as an array; DataError when it is missing or has another shape.

    Args:
        group: the group that holds it.
        name: name of the data set.
        expected: what such a file holds, for the message.
        dims: number of dimensions; for one, (T, 1) counts as well.
        frames: required length.
        first: frames to read from the start; None reads all.
    """
    return _numbers(group, name, expected, (dims, 2) if dims == 1 else (dims,), frames, dims, first)


def length(group: h5py.Group, name: str, expected: str, dims: int) -> int:
    """How many frames a data set has that ``array`` would read with these arguments; none of its numbers are read."""
    return int(_checked(group, name, expected, (dims, 2) if dims == 1 else (dims,), dims).shape[0])


def columns(group: h5py.Group, name: str, expected: str, frames: int, more: int = 0) -> NDArray[Any]:
    """A number or a vector per frame, (frames, n), without ``more`` frames after these; checked as ``array`` does."""
    return _numbers(group, name, expected, (1, 2), frames + more, 2, frames)


def lengths(group: h5py.Group) -> dict[str, int]:
    """Frames of the arrays below a group, at any depth, by their paths."""
    return {name: shape[0] for name, shape in unread(group, ()).items() if shape}


def _numbers(
    group: h5py.Group,
    name: str,
    expected: str,
    allowed: tuple[int, ...],
    frames: int | None,
    dims: int,
    first: int | None = None,
) -> NDArray[Any]:
    found = _checked(group, name, expected, allowed, dims)
    if frames is not None and found.shape[0] != frames:
        raise DataError(f"{_place(group, name)} has {found.shape[0]} frames, expected {frames}")
    values = np.asarray(found[:first])
    return values.reshape(-1) if dims == 1 else values.reshape(len(values), -1) if dims == 2 else values


def _checked(group: h5py.Group, name: str, expected: str, allowed: tuple[int, ...], dims: int) -> h5py.Dataset:
    """The data set; DataError unless it holds numbers of such a shape, and as many as the file and memory can hold."""
    place, found = _place(group, name), dataset(group, name, expected)
    shape: tuple[int, ...] | None = found.shape
    fits = shape is not None and len(shape) in allowed and found.dtype.kind in "fiub" and 0 not in shape[1:]
    if shape is None or not fits or (dims == 1 and len(shape) == 2 and shape[1] != 1):
        raise DataError(f"{place} has shape {shape} of {found.dtype}, expected {dims} dimensions of numbers")
    affordable(place, found.dtype.itemsize * int(np.prod(shape, dtype=object)), found.id.get_storage_size())
    return found


def unread(group: h5py.Group, taken: Iterable[str]) -> dict[str, tuple[int, ...] | None]:
    """Shapes of the arrays below a group, at any depth, by their paths, but for those of the ``taken`` paths."""
    known = frozenset(taken)
    return {name: found.shape for name, found in arrays_below(group) if name not in known}


def arrays_below(group: h5py.Group, above: tuple[h5py.Group, ...] = ()) -> Iterator[tuple[str, h5py.Dataset]]:
    """The data sets below a group, at any depth and behind links within the file, by their paths.

    Args:
        group: the group.
        above: those that it lies in, into which a link may lead back.
    """
    import h5py

    for name in group:
        found = group.get(name)
        if isinstance(found, h5py.Dataset):
            yield name, found
        elif isinstance(found, h5py.Group) and found not in (group, *above):
            yield from ((f"{name}/{path}", inner) for path, inner in arrays_below(found, (group, *above)))


def stored(found: h5py.Dataset, read: Callable[[int], NDArray[Any]]) -> Stored:
    """A data set that ``read`` reads later."""
    return Stored(found.shape or (), found.dtype, found.id.get_storage_size(), read)


def texts(group: h5py.Group, name: str, expected: str) -> list[str]:
    """A list of texts; DataError when it is none."""
    place, found = _place(group, name), dataset(group, name, expected)
    if found.shape is None or len(found.shape) != 1 or found.dtype.kind not in "OSU":
        raise DataError(f"{place} has shape {found.shape} of {found.dtype}, expected a list of texts")
    affordable(place, found.dtype.itemsize * found.shape[0], found.id.get_storage_size())
    return [_decoded(value, place) for value in found[()]]


def numbered(group: Any, prefix: str) -> list[str]:
    """Names ``<prefix><number>`` in a group, by number; none in what is no group.

    DataError for digits that are no number that counts, and for a number that is there twice ("1" and "01").
    """
    import h5py

    if not isinstance(group, h5py.Group):
        return []
    found: dict[int, str] = {}
    for name in group:
        digits = name.removeprefix(prefix)
        if not name.startswith(prefix) or not digits.isdigit():
            continue
        if not re.fullmatch("[0-9]{1,15}", digits, re.ASCII):
            raise DataError(f"{group.file.filename}: {short(name)!r} in {group.name}, expected {prefix}<number>")
        if int(digits) in found:
            raise DataError(f"{group.file.filename}: both {name} and {found[int(digits)]} are in {group.name}")
        found[int(digits)] = name
    return [found[number] for number in sorted(found)]


def attribute(owner: Any, name: str) -> tuple[str, Any]:
    """Where an attribute is, for messages, and its value as h5py has it; None where there is none."""
    place = f"{owner.file.filename}: the attribute {name!r} of {owner.name}"
    if name not in owner.attrs:
        return place, None
    try:
        return place, owner.attrs[name]
    except (TypeError, ValueError, OSError) as error:
        raise DataError(f"{place} cannot be read ({one_line(error, 80)})") from None


def text_attribute(owner: Any, name: str) -> str | None:
    """An attribute that is text; DataError when it is something else."""
    place, found = attribute(owner, name)
    return None if found is None else _decoded(found, place)


def object_attribute(owner: Any, name: str) -> dict[str, Any] | None:
    """An attribute that is the text of a JSON object; DataError when it is something else."""
    place, found = attribute(owner, name)
    return None if found is None else json_object(_decoded(found, place, "the text of a JSON object"), place)


def count_attribute(owner: Any, name: str) -> int | None:
    """An attribute that counts something; DataError when it is no whole number."""
    place, found = attribute(owner, name)
    return None if found is None else count(found.item() if isinstance(found, np.generic) else found, place)


def _place(group: h5py.Group, name: str) -> str:
    return f"{group.file.filename}: {group.name.rstrip('/')}/{name}"


def _decoded(value: Any, place: str, expected: str = "text") -> str:
    try:
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, str):
            value.encode()  # h5py keeps bytes that are not UTF-8 as lone surrogates
            return str(value)
    except UnicodeError:
        raise DataError(f"{place} is not UTF-8") from None
    return refuse(place, value.tolist() if isinstance(value, np.generic | np.ndarray) else value, expected)
