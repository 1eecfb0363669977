"""zarr stores in the layout of diffusion policy and DP3, of formats 2 and 3, as a folder or packed as .zip.

``data/<name>`` (T, ...) are all frames of all episodes one after the other, ``meta/episode_ends`` (E,) the frame after
the last one of each (diffusion_policy, ``common/replay_buffer.py``).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, OmpError, data_error
from omp_cli.core.base.files import size_of
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.codecs import refuse_code
from omp_cli.core.data.foreign import AGAIN, affordable, listed
from omp_cli.core.data.readers.base import FORMATS, Reader, Recording, Subject
from omp_cli.core.data.readers.roles import ENDS, ENDS_ARE, RolesConfig, checked_ends, recording
from omp_cli.core.data.readers.stored import Stored

if TYPE_CHECKING:
    import zarr

HEADS = (".zgroup", "zarr.json")
"""Files that make a folder a zarr group, of format 2 and 3."""
_DEEPEST = 4


class ZarrConfig(RolesConfig):
    """What is taken from a zarr store."""

    name: Literal["zarr"] = "zarr"


@FORMATS.register("zarr")
class ZarrReader(Reader):
    """One episode for each of ``meta/episode_ends``."""

    Config = ZarrConfig
    config: ZarrConfig
    expected = f"a zarr store with data/<name> and meta/{ENDS_ARE}, as diffusion policy and DP3 have it"
    simulated = False
    folders = True

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """See the base class."""
        if path.is_dir():
            return any((path / head).is_file() for head in HEADS)
        return _group_in_zip(path) is not None

    @classmethod
    def label(cls, path: Path) -> str:
        """See the base class."""
        return path.absolute().name.removesuffix(".zip").removesuffix(".zarr")

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        progress.start(f"{subject.task}: reading arrays", 1)
        with _opened(path) as (root, sizes):
            with _one_line(path):
                ends = checked_ends(f"{path}: meta/{ENDS}", _ends(path, root, sizes))
                arrays = {
                    name: _stored(path, f"data/{name}", array, sizes(f"data/{name}"))
                    for name, array in sorted(_arrays(path, root, "data").items())
                }
            found = recording(str(path), arrays, ends, self.config, subject, limit)
        progress.advance()
        return found


def _stored(path: Path, name: str, array: Any, stored: int) -> Stored:
    def between(start: int, stop: int) -> NDArray[Any]:
        refuse_code(f"{path}: {name}", array)
        with _one_line(path):
            return np.asarray(array[start:stop])

    return Stored.sliced(array.shape, array.dtype, stored, between)


def _ends(path: Path, root: zarr.Group, sizes: Any) -> NDArray[Any]:
    found = _arrays(path, root, "meta").get(ENDS)
    if found is None:
        raise _lacks(path, root, f"meta/{ENDS}")
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise DataError(f"{path}: meta/{ENDS} is {found.shape} {found.dtype}, expected a list of whole numbers")
    stored = sizes(f"meta/{ENDS}")
    affordable(f"{path}: meta/{ENDS}", found.nbytes, stored)
    return _stored(path, f"meta/{ENDS}", found, stored).read(found.shape[0])


def _arrays(path: Path, root: zarr.Group, group: str) -> dict[str, Any]:
    """The arrays below a group, by their paths in it."""
    import zarr

    if group not in root or not isinstance(found := root[group], zarr.Group):
        raise _lacks(path, root, f"group {group}")
    return {name: item for name, item in found.members(max_depth=_DEEPEST) if isinstance(item, zarr.Array)}


def _lacks(path: Path, root: zarr.Group, what: str) -> DataError:
    """The error for a store without something that the layout has; it says what there is."""
    held = sorted(name for name, _ in root.members(max_depth=1))
    return DataError(f"{path}: no {what} in it; it holds: {listed(held)}", f"expected: {ZarrReader.expected}")


def _group_in_zip(path: Path) -> str | None:
    """Where the store lies inside a .zip: "" at its root, else a folder; None where it holds none."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            heads = [PurePosixPath(name) for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise data_error(error, str(path), "damaged, or not a .zip", AGAIN) from None
    places = sorted((len(head.parts), str(head.parent)) for head in heads if head.name in HEADS)
    return None if not places else "" if places[0][1] == "." else places[0][1]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zarr.Group, Any]]:
    """The store's root, and a function for the bytes that it holds of an array."""
    with ExitStack() as closed:
        with _one_line(path):
            found = _packed(path, closed) if path.is_file() else _unpacked(path)
        yield found


def _packed(path: Path, closed: ExitStack) -> tuple[zarr.Group, Any]:
    """What ``_opened`` gives of a .zip, which stays open until ``closed`` is left."""
    import zarr
    from zarr.storage import ZipStore

    inside = _group_in_zip(path)
    if inside is None:
        raise DataError(f"{path}: no zarr store in it", f"expected: {ZarrReader.expected}")
    with zipfile.ZipFile(path) as archive:
        held = {info.filename: info.compress_size for info in archive.infolist()}
    start = f"{inside}/" if inside else ""
    store = closed.enter_context(ZipStore(path, mode="r"))
    root = zarr.open_group(store, path=inside, mode="r", use_consolidated=False)
    return root, lambda name: sum(n for file, n in held.items() if file.startswith(f"{start}{name}/"))


def _unpacked(path: Path) -> tuple[zarr.Group, Any]:
    """What ``_opened`` gives of a folder."""
    import zarr

    for file in path.rglob("*"):
        if file.is_symlink():  # a store of someone else's would choose what of this machine goes into a data set
            raise DataError(f"{path}: {file.relative_to(path)} is a link, which omp does not follow", AGAIN)
    return zarr.open_group(str(path), mode="r", use_consolidated=False), lambda name: size_of(path / name)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Whatever zarr raises inside becomes a DataError: it has many kinds for a damaged store, which mean the same.

    Only what asks zarr belongs inside: a fault of omp's own would be called damage of the file.
    """
    try:
        yield
    except OmpError:
        raise
    except Exception as error:
        raise data_error(error, str(path), "damaged, or not a zarr store", AGAIN) from error
