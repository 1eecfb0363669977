"""zarr stores in the layout of diffusion policy and DP3, of formats 2 and 3, as a folder or packed as .zip.

``data/<name>`` (T, ...) are all frames of all episodes one after the other, ``meta/episode_ends`` (E,) the frame after
the last one of each (diffusion_policy, ``common/replay_buffer.py``).
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, OmpError, data_error
from omp_cli.core.base.manifest import FILE_NAME as MANIFEST
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.codecs import refuse_code, refuse_codecs
from omp_cli.core.data.foreign import AGAIN, affordable, listed
from omp_cli.core.data.readers.base import FORMATS, Reader, Recording, Subject
from omp_cli.core.data.readers.prepared import as_prepared
from omp_cli.core.data.readers.roles import ENDS, ENDS_ARE, RolesConfig, checked_ends, recording
from omp_cli.core.data.readers.stored import Stored
from omp_cli.core.data.store import STORE, mapped

if TYPE_CHECKING:
    import zarr

HEADS = (".zgroup", "zarr.json")
"""Files that make a folder a zarr group, of format 2 and 3."""
ARRAY_HEADS = {2: ".zarray", 3: "zarr.json"}
"""Files that make a folder a zarr array, by format."""
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
        whole = path.absolute()
        by_folder = whole.name == STORE and (whole.parent / MANIFEST).is_file()  # all stores of omp's have one name
        return (whole.parent if by_folder else whole).name.removesuffix(".zip").removesuffix(".zarr")

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        progress.start(f"{subject.task}: reading arrays", 1)
        with _opened(path) as store:
            with _one_line(path):
                ends = checked_ends(f"{path}: meta/{ENDS}", _ends(store))
                arrays, attributes = _arrays(store, "data"), dict(store.root.attrs)
            found = recording(str(path), arrays, ends, self.config, subject, limit)
            found = as_prepared(str(path), attributes, found, len(ends))
        progress.advance()
        return found


@dataclass(frozen=True)
class _Store:
    """An opened store.

    Attributes:
        path: the folder or .zip.
        root: its root group.
        held: bytes of each file of the store, by its name below the root.
        content: a function that reads such a file.
    """

    path: Path
    root: zarr.Group
    held: Mapping[str, int]
    content: Callable[[str], bytes]

    def stored(self, name: str) -> int:
        """Bytes that it holds of an array."""
        return sum(size for file, size in self.held.items() if file.startswith(f"{name}/"))

    def heads(self, group: str) -> dict[str, Any]:
        """What the store says of each array below a group, by their paths in it; no array is opened for that."""
        ending, found = f"/{ARRAY_HEADS[self.root.metadata.zarr_format]}", {}
        for file in sorted(name for name in self.held if name.startswith(f"{group}/") and name.endswith(ending)):
            inside = file.removeprefix(f"{group}/").split("/")[:-1]
            if 0 < len(inside) <= _DEEPEST + 1:
                head = json.loads(self.content(file))
                if head.get("node_type", "array") == "array":
                    found["/".join(inside)] = head
        return found

    def lacks(self, what: str) -> DataError:
        """The error for a store without something that the layout has; it says what there is."""
        places = {PurePosixPath(name).parent for name in self.held if name.endswith((".zarray", *HEADS))}
        held = sorted(str(place) for place in places if 0 < len(place.parts) <= 2)
        return DataError(f"{self.path}: no {what} in it; it holds: {listed(held)}", f"expected: {ZarrReader.expected}")


def _arrays(store: _Store, group: str) -> dict[str, Stored]:
    """The arrays below a group, by their paths in it, each of which is opened where it is read.

    An array that nobody reads may be of anything, and packed with codecs that are not here.
    """
    import zarr

    if group not in store.root or not isinstance(store.root[group], zarr.Group):
        raise store.lacks(f"group {group}")
    return {
        name: Stored.sliced(
            tuple(int(size) for size in head["shape"]),
            _type_of(head),
            store.stored(f"{group}/{name}"),
            _between(store, f"{group}/{name}", head),
            _chunk_of(head, store.path.is_dir()),
        )
        for name, head in store.heads(group).items()
    }


def _chunk_of(head: Mapping[str, Any], in_folder: bool) -> int:
    """Frames that are read as a whole: those of a chunk, or 1 where its file can be mapped (``store.mapped``)."""
    grid = head.get("chunks") or head.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape")
    plain = head.get("zarr_format") == 2 and not head.get("compressor") and not head.get("filters")
    if (in_folder and plain and grid == head["shape"]) or not isinstance(grid, list) or not grid:
        return 1
    return max(int(grid[0]), 1)


def _type_of(head: Mapping[str, Any]) -> np.dtype[Any]:
    """The type of an array's numbers; that of Python's objects for all that NumPy has no name for."""
    named = head["dtype"] if "dtype" in head else head["data_type"]
    try:
        return np.dtype(named if isinstance(named, str) else object)
    except (TypeError, ValueError):
        return np.dtype(object)


def _between(store: _Store, name: str, head: Mapping[str, Any]) -> Callable[[int, int], NDArray[Any]]:
    """A function that reads frames of an array; DataError where a codec of it is not plain."""

    def between(start: int, stop: int) -> NDArray[Any]:
        import zarr

        where = f"{store.path}: {name}"
        refuse_codecs(where, head)
        with _one_line(store.path):
            array = store.root[name]
            assert isinstance(array, zarr.Array)  # heads of arrays lead to arrays
            refuse_code(where, array)  # as zarr itself understands it
            whole = mapped(array) if store.path.is_dir() else None
            return np.asarray(array[start:stop]) if whole is None else whole[start:stop]

    return between


def _ends(store: _Store) -> NDArray[Any]:
    found = _arrays(store, "meta").get(ENDS)
    if found is None:
        raise store.lacks(f"meta/{ENDS}")
    where = f"{store.path}: meta/{ENDS}"
    if len(found.shape) != 1 or found.dtype.kind not in "iu":
        raise DataError(f"{where} is {found.shape} {found.dtype}, expected a list of whole numbers")
    affordable(where, found.dtype.itemsize * math.prod(found.shape), found.stored)
    return found.read(found.shape[0])


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
def _opened(path: Path) -> Iterator[_Store]:
    """The store, which stays open until this is left."""
    with ExitStack() as closed:
        with _one_line(path):
            found = _packed(path, closed) if path.is_file() else _unpacked(path)
        yield found


def _packed(path: Path, closed: ExitStack) -> _Store:
    """A .zip, which stays open until ``closed`` is left."""
    import zarr
    from zarr.storage import ZipStore

    inside = _group_in_zip(path)
    if inside is None:
        raise DataError(f"{path}: no zarr store in it", f"expected: {ZarrReader.expected}")
    archive = closed.enter_context(zipfile.ZipFile(path))
    start = f"{inside}/" if inside else ""
    files = {info.filename: info.compress_size for info in archive.infolist() if info.filename.startswith(start)}
    held = {name.removeprefix(start): size for name, size in files.items()}
    store = closed.enter_context(ZipStore(path, mode="r"))
    root = zarr.open_group(store, path=inside, mode="r", use_consolidated=False)
    return _Store(path, root, held, lambda name: archive.read(f"{start}{name}"))


def _unpacked(path: Path) -> _Store:
    """A folder."""
    import zarr

    held = {}
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        if file.is_symlink():  # a store of someone else's would choose what of this machine goes into a data set
            raise DataError(f"{path}: {name} is a link, which omp does not follow", AGAIN)
        if file.is_file():
            held[name] = file.stat().st_size
    root = zarr.open_group(str(path), mode="r", use_consolidated=False)
    return _Store(path, root, held, lambda name: (path / name).read_bytes())


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
