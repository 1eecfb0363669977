"""A data set: one zarr (format 2) group in the diffusion-policy layout, with provenance and a content hash.

``data/<key>`` holds all frames of all episodes one after the other, (T, ...); ``meta/episode_ends`` (E,) int64 the
cumulative end of each episode. Loaders of the DP3 family (zarr 2) read it as it is. An array of ``MAPPED_FROM`` bytes
or more is a single chunk that is not compressed: its file is mapped, so that it may be larger than memory, a training
begins at once, and several of them share what they have read.

The root attributes hold ``content_sha256`` of the arrays and ``attributes_sha256`` of all other attributes. Older
stores lack the second: they are compared with the manifest of the ``omp prepare`` that made them, where it is beside.
``held_out`` lists the episodes, counted from 0, that their publisher keeps for validation; without it there are none.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import checked
from omp_cli.core.base.errors import DataError, data_error
from omp_cli.core.base.files import atomic, defined, quoted, seal_of, size_of, to_json
from omp_cli.core.base.manifest import check_artifact
from omp_cli.core.data.codecs import refuse_code
from omp_cli.core.data.foreign import affordable
from omp_cli.core.data.large import Frames, parts_of, room
from omp_cli.core.spec import Spec

if TYPE_CHECKING:
    import zarr

AGAIN = "make it again with omp prepare: delete its folder first, or choose another with --out"
STORE = "demos.zarr"
ATTRIBUTES_HASH = "attributes_sha256"
HELD_OUT = "held_out"
STORE_SCHEMA = 1
FRAMES_PER_CHUNK = 100  # as the public stores have it
PICTURES_PER_CHUNK = 8  # a window needs one or two of them, and must not unpack a hundred

MAPPED_FROM = 1 << 30
"""Bytes from which on an array is mapped, and not read."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Dataset:
    """A data set; its small arrays are in memory, its large ones mapped.

    Attributes:
        path: the zarr group.
        arrays: frame-major arrays, each (T, ...).
        episode_ends: (E,) int64, cumulative.
        spec: what the task lets a policy see and do.
        provenance: all root attributes.
        sha256: hash of names, types, shapes and bytes of all arrays.
    """

    path: Path
    arrays: dict[str, Frames]
    episode_ends: NDArray[np.int64]
    spec: Spec
    provenance: dict[str, Any]
    sha256: str

    @property
    def suite(self) -> dict[str, Any]:
        """Settings of the suite in which policies of these data are rolled out."""
        found: dict[str, Any] = self.provenance.get("rollout_suite") or self.provenance["recipe"]["suite"]
        return found

    def whole(self, name: str) -> NDArray[Any]:
        """An array in memory, of those that are small: "state", "action" and what came of it."""
        return np.asarray(self.arrays[name])

    @property
    def single_frames(self) -> bool:
        """Whether no episode has a second frame, so that no action follows another."""
        return len(self.episode_ends) == int(self.episode_ends[-1])

    @property
    def held_out(self) -> tuple[int, ...]:
        """Episodes, from 0 and ascending, that the data's publisher keeps for validation: not to be trained on."""
        return tuple(self.provenance.get(HELD_OUT, ()))


class ContentHash:
    """SHA-256 over sorted names, types, shapes and bytes; independent of chunks and compression."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def begin(self, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        """An array follows, after those whose names come before its own."""
        self._digest.update(f"{name}|{dtype.str}|{tuple(shape)}|".encode())

    def take(self, part: NDArray[Any]) -> None:
        """The next frames of it."""
        self._digest.update(np.ascontiguousarray(part).data)

    def hexdigest(self) -> str:
        """Of all arrays."""
        return self._digest.hexdigest()


def content_hash(arrays: Mapping[str, NDArray[Any]]) -> str:
    """The ``ContentHash`` of whole arrays."""
    found = ContentHash()
    for name in sorted(arrays):
        found.begin(name, arrays[name].shape, arrays[name].dtype)
        found.take(arrays[name])
    return found.hexdigest()


def start_hash(start_state: NDArray[Any]) -> str:
    """Identity of a start state: demonstrations and evaluation episodes are told apart by it."""
    return hashlib.sha256(np.ascontiguousarray(start_state, np.float64).tobytes()).hexdigest()


def write_store(path: Path, episodes: Sequence[Mapping[str, NDArray[Any]]], provenance: Mapping[str, Any]) -> str:
    """Write episodes (each key (T_e, ...)) as one store; appears whole or not at all. Returns the content hash.

    They are gone through once for each key, of which a part is in memory at a time. What ``provenance`` says of others'
    files may hold numbers that are not finite; they are written as null.
    """
    import zarr

    ends = np.cumsum([len(e["action"]) for e in episodes]).astype(np.int64)
    content = ContentHash()  # whose order of names is that in which they are written
    with atomic(path) as temporary:
        root = zarr.create_group(str(temporary), zarr_format=2)
        for name in ("data", "meta"):
            root.create_group(name)
        for key in sorted(episodes[0]):
            like = np.empty((0, *episodes[0][key].shape[1:]), np.result_type(*(e[key].dtype for e in episodes)))
            _write(root, f"data/{key}", int(ends[-1]), like, _each(key, episodes, like), content)
        _write(root, "meta/episode_ends", len(ends), ends, [ends], content)
        sha256 = content.hexdigest()
        named = {**defined(dict(provenance)), "schema_version": STORE_SCHEMA, "content_sha256": sha256}
        attributes = json.loads(to_json(named))  # as they will be read: keys are text, tuples are lists
        root.attrs.update({**attributes, ATTRIBUTES_HASH: seal_of(attributes, ATTRIBUTES_HASH)})
    return sha256


def _each(key: str, episodes: Sequence[Mapping[str, NDArray[Any]]], like: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """An array of each episode; DataError where it has other frames than the actions, or others than ``like``."""
    for number, episode in enumerate(episodes):
        found, frames = episode[key], len(episode["action"])
        if found.shape != (frames, *like.shape[1:]):
            raise DataError(f"episode {number}: {key} is {found.shape}, expected {(frames, *like.shape[1:])}")
        yield found


def _write(
    root: zarr.Group,
    name: str,
    frames: int,
    like: NDArray[Any],
    parts: Iterable[NDArray[Any]],
    content: ContentHash,
) -> None:
    """An array of so many ``frames`` (T, ...), each of the type and shape of those of ``like``, part after part."""
    from numcodecs import Blosc

    shape, dtype = (frames, *like.shape[1:]), like.dtype
    mapped = math.prod(shape) * dtype.itemsize >= MAPPED_FROM
    chunk = frames if mapped else min(PICTURES_PER_CHUNK if name == "data/img" else FRAMES_PER_CHUNK, frames)
    target = root.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(chunk, *shape[1:]),
        compressors=None if mapped else Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE),
    )
    content.begin(name, shape, dtype)
    if not mapped:
        for place, block in _blocks(parts, parts_of(shape, dtype, chunk), dtype):
            target[place] = block
            content.take(block)
        return
    with _only_chunk(target).open("wb") as file:
        for part in parts:
            block = np.ascontiguousarray(part, dtype)
            content.take(block)
            file.write(block.data)


def _blocks(
    parts: Iterable[NDArray[Any]], places: Iterable[slice], dtype: np.dtype[Any]
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """The frames of parts that follow each other, cut anew at ``places``."""
    left, each = np.empty(0), iter(parts)
    for place in places:
        wanted, taken = place.stop - place.start, list[NDArray[Any]]()
        while wanted:
            left = left if len(left) else next(each)
            taken.append(left[:wanted])
            left, wanted = left[wanted:], wanted - len(taken[-1])
        yield place, np.concatenate(taken, dtype=dtype)


def _only_chunk(array: zarr.Array[Any]) -> Path:
    """The file of an array that is a single chunk."""
    return Path(str(array.store_path).removeprefix("file://")) / ".".join("0" * array.ndim)


def store_path(path: Path) -> Path:
    """The zarr group meant by a data set's folder or by the group itself; DataError when there is none."""
    if (path / STORE).is_dir():
        return path / STORE
    if any((path / name).is_file() for name in (".zgroup", "zarr.json")):
        return path
    if not path.exists():
        raise DataError(f"data set {path}: no such file or folder", "make one with: omp prepare metaworld")
    if (path / ".episodes").is_dir():
        raise DataError(f"data set {path}: not finished", "run the same omp prepare line again; it continues")
    raise DataError(
        f"data set {path}: not a zarr group (no {STORE} and no .zgroup in it)",
        _of_yours(path),
    )


def _of_yours(path: Path) -> str:
    """What to do with data that omp has not made."""
    return f"omp trains on what omp prepare makes; of data of yours: omp prepare own {quoted(path)} --task NAME --hz 30"


def read_attributes(path: Path) -> dict[str, Any]:
    """Root attributes of a store, compared with their hash.

    Raises:
        DataError: missing, half-written, damaged or changed.
        RunFailed: the machine does not let it be read.
    """
    import zarr

    path = store_path(path)
    try:
        attributes = dict(zarr.open_group(str(path), mode="r").attrs)
    except Exception as error:  # zarr raises many kinds for a damaged group; all mean the same to a user
        raise data_error(error, f"data set {path}", "damaged", AGAIN) from error
    if attributes.get("schema_version") != STORE_SCHEMA:
        found = attributes.get("schema_version")
        raise DataError(
            f"data set {path}: schema version {found!r}, this omp reads {STORE_SCHEMA}",
            _of_yours(path),
        )
    if ATTRIBUTES_HASH not in attributes:
        check_artifact(path.absolute().parent, path.absolute())
    elif not _sealed(attributes):
        raise DataError(
            f"data set {path}: its attributes do not match their hash, so they were changed or are damaged", AGAIN
        )
    return attributes


def _sealed(attributes: dict[str, Any]) -> bool:
    """Whether the attributes are those that were written; NaN, which Python's JSON reads, never was."""
    try:
        return bool(attributes[ATTRIBUTES_HASH] == seal_of(attributes, ATTRIBUTES_HASH))
    except ValueError:
        return False


def read_store(path: Path) -> Dataset:
    """Read a data set, but for its large arrays, and check all of it: lengths, dimensions against its spec, its hash.

    Raises:
        DataError: missing, half-written, damaged, changed, or of other dimensions than it says.
        RunFailed: the machine refused: too little memory, too many open files, no permission.
    """
    path = store_path(path)
    where = f"data set {path}"
    provenance = read_attributes(path)
    spec = checked(Spec, provenance.get("spec"), f"{where}: spec")
    everything = _read_arrays(path, where, spec)
    ends = everything["meta/episode_ends"]
    arrays: dict[str, Frames] = {
        name.removeprefix("data/"): a for name, a in everything.items() if name.startswith("data/")
    }
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not all(
            np.isfinite(array[part]).all() for part in parts_of(array.shape, array.dtype)
        ):
            raise DataError(f"{where}: data/{name} holds values that are not finite")
    checked_held_out(where, provenance, len(ends))
    sha256 = content_hash(everything)
    if sha256 != provenance.get("content_sha256"):
        raise DataError(f"{where}: content does not match its hash, so it was changed or is damaged", AGAIN)
    return Dataset(path, arrays, ends, spec, provenance, sha256)


def _read_arrays(path: Path, where: str, spec: Spec) -> Arrays:
    """All arrays by group and name ("data/state"), of the sizes that episodes and spec ask for."""
    import zarr

    try:
        root = zarr.open_group(str(path), mode="r")
        found = {
            f"{group}/{name}": array
            for group in ("data", "meta")
            for name, array in root[group].arrays()  # type: ignore[union-attr]
        }
        for name, array in found.items():
            refuse_code(f"{where}: {name}", array)
        shapes = {name.removeprefix("data/"): a.shape for name, a in found.items() if name.startswith("data/")}
        if (ends := found.get("meta/episode_ends")) is None or not ends.size or not shapes:
            raise DataError(f"{where}: no episodes in it", AGAIN)
        affordable(f"{where}: meta/episode_ends", ends.nbytes, size_of(path / "meta/episode_ends"))
        _check_sizes(where, shapes, np.asarray(ends[:]), spec)
        return {name: _mapped_or_read(f"{where}: {name}", array) for name, array in found.items()}
    except DataError:
        raise
    except Exception as error:
        raise data_error(error, where, "damaged", AGAIN) from error


def mapped(array: zarr.Array[Any]) -> NDArray[Any] | None:
    """A large array whose only chunk is a file of its bytes, mapped; None where it is stored in another way."""
    one = array.chunks == array.shape and not array.compressors and not array.filters
    if array.nbytes < MAPPED_FROM or not one or array.metadata.zarr_format != 2 or array.order != "C":
        return None
    file = _only_chunk(array)
    if not file.is_file() or file.stat().st_size != array.nbytes:  # as others store what is all of one value
        return None
    try:
        return np.memmap(file, array.dtype, "c", shape=array.shape)  # whoever writes to it has a copy of the page
    except OSError:  # the machine does not promise memory for so many copies
        return np.memmap(file, array.dtype, "r", shape=array.shape)


def _mapped_or_read(where: str, array: zarr.Array[Any]) -> NDArray[Any]:
    """An array of a store: its file where it is a single large one, else what its chunks hold."""
    if (whole := mapped(array)) is not None:
        return whole
    affordable(where, array.nbytes)  # however little the file holds: a camera that is off sees one value
    found = room(array.shape, array.dtype)
    for part in parts_of(array.shape, array.dtype, array.chunks[0]):
        found[part] = array[part]
    return found


def checked_held_out(where: str, attributes: Mapping[str, Any], episodes: int) -> list[int]:
    """The episodes that a store holds out; DataError unless they are some of all, but not all, in ascending order."""
    found = attributes.get(HELD_OUT, [])
    fits = isinstance(found, list) and all(type(index) is int and 0 <= index < episodes for index in found)
    if not fits or found != sorted(set(found)) or len(found) == episodes:
        raise DataError(f"{where}: {HELD_OUT} is no list of some of its {episodes} episodes", AGAIN)
    return found


def _check_sizes(where: str, shapes: Mapping[str, tuple[int, ...]], ends: NDArray[np.int64], spec: Spec) -> None:
    """DataError unless arrays of such shapes hold the episodes, of the spec's dimensions."""
    expected: dict[str, tuple[int, ...]] = {"action": (spec.action_dim,), "state": (spec.state_dim,)}
    if spec.points is not None:
        expected["point_cloud"] = (spec.points, 3)
    if spec.image is not None:
        expected["img"] = spec.image
    if np.any(np.diff(ends, prepend=0) <= 0):
        raise DataError(f"{where}: meta/episode_ends does not increase")
    for name, shape in expected.items():
        if name not in shapes:
            raise DataError(f"{where}: data/{name} is missing", AGAIN)
        if shapes[name][1:] != shape:
            raise DataError(f"{where}: data/{name} has shape {shapes[name]}, expected (T, {shape})")
    for name, (frames, *_) in shapes.items():
        if frames != ends[-1]:
            raise DataError(f"{where}: data/{name} declares {frames} frames, the episodes have {ends[-1]}")
