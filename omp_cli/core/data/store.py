"""A data set: one zarr (format 2) group in the diffusion-policy layout, with provenance and a content hash.

``data/<key>`` holds all frames of all episodes one after the other, (T, ...); ``meta/episode_ends`` (E,) int64 the
cumulative end of each episode. Loaders of the DP3 family (zarr 2) read it as it is.

The root attributes hold ``content_sha256`` of the arrays and ``attributes_sha256`` of all other attributes. Older
stores lack the second: they are compared with the manifest of the ``omp prepare`` that made them, where it is beside.
``held_out`` lists the episodes, counted from 0, that their publisher keeps for validation; without it there are none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import checked
from omp_cli.core.base.errors import DataError, data_error
from omp_cli.core.base.files import atomic, defined, quoted, seal_of, size_of, to_json
from omp_cli.core.base.manifest import check_artifact
from omp_cli.core.data.codecs import refuse_code
from omp_cli.core.data.foreign import affordable
from omp_cli.core.spec import Spec

AGAIN = "make it again with omp prepare: delete its folder first, or choose another with --out"
STORE = "demos.zarr"
ATTRIBUTES_HASH = "attributes_sha256"
HELD_OUT = "held_out"
STORE_SCHEMA = 1
FRAMES_PER_CHUNK = 100  # as the public stores have it
PICTURES_PER_CHUNK = 8  # a window needs one or two of them, and must not unpack a hundred

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes:
        path: the zarr group.
        arrays: frame-major arrays, each (T, ...).
        episode_ends: (E,) int64, cumulative.
        spec: what the task lets a policy see and do.
        provenance: all root attributes.
        sha256: hash of names, types, shapes and bytes of all arrays.
    """

    path: Path
    arrays: Arrays
    episode_ends: NDArray[np.int64]
    spec: Spec
    provenance: dict[str, Any]
    sha256: str

    @property
    def suite(self) -> dict[str, Any]:
        """Settings of the suite in which policies of these data are rolled out."""
        found: dict[str, Any] = self.provenance.get("rollout_suite") or self.provenance["recipe"]["suite"]
        return found

    @property
    def single_frames(self) -> bool:
        """Whether no episode has a second frame, so that no action follows another."""
        return len(self.episode_ends) == int(self.episode_ends[-1])

    @property
    def held_out(self) -> tuple[int, ...]:
        """Episodes, from 0 and ascending, that the data's publisher keeps for validation: not to be trained on."""
        return tuple(self.provenance.get(HELD_OUT, ()))


def content_hash(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over sorted names, types, shapes and bytes; independent of chunks and compression."""
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{key}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.data)
    return digest.hexdigest()


def start_hash(start_state: NDArray[Any]) -> str:
    """Identity of a start state: demonstrations and evaluation episodes are told apart by it."""
    return hashlib.sha256(np.ascontiguousarray(start_state, np.float64).tobytes()).hexdigest()


def write_store(path: Path, episodes: Sequence[Arrays], provenance: Mapping[str, Any]) -> str:
    """Write episodes (each key (T_e, ...)) as one store; appears whole or not at all. Returns the content hash.

    What ``provenance`` says of others' files may hold numbers that are not finite; they are written as null.
    """
    import zarr
    from numcodecs import Blosc

    arrays = {f"data/{key}": np.concatenate([e[key] for e in episodes]) for key in episodes[0]}
    first = next(iter(episodes[0]))
    arrays["meta/episode_ends"] = np.cumsum([len(e[first]) for e in episodes]).astype(np.int64)
    sha256 = content_hash(arrays)
    named = {**defined(dict(provenance)), "schema_version": STORE_SCHEMA, "content_sha256": sha256}
    attributes = json.loads(to_json(named))  # as they will be read: keys are text, tuples are lists
    with atomic(path) as temporary:
        root = zarr.create_group(str(temporary), zarr_format=2)
        for name in ("data", "meta"):
            root.create_group(name)
        for name, array in arrays.items():
            root.create_array(
                name,
                data=array,
                chunks=(
                    min(PICTURES_PER_CHUNK if name == "data/img" else FRAMES_PER_CHUNK, len(array)),
                    *array.shape[1:],
                ),
                compressors=Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE),
            )
        root.attrs.update({**attributes, ATTRIBUTES_HASH: seal_of(attributes, ATTRIBUTES_HASH)})
    return sha256


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
    """Read a data set into memory and check it: lengths, dimensions against its spec, content hash.

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
    arrays = {name.removeprefix("data/"): a for name, a in everything.items() if name.startswith("data/")}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
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
        for name, array in found.items():  # however little the file holds: a camera that is off sees one value
            affordable(f"{where}: {name}", array.nbytes)
        return {name: np.asarray(array[:]) for name, array in found.items()}
    except DataError:
        raise
    except Exception as error:
        raise data_error(error, where, "damaged", AGAIN) from error


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
