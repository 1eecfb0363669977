"""What a folder of TensorFlow Datasets says of itself: ``features.json``, ``dataset_info.json`` and its shards.

Legend: T steps of an episode.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.data.foreign import count, json_file, listed, member, refuse, short

FEATURES, INFO = "features.json", "dataset_info.json"
STEPS = "steps"
_USUAL = "train"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_LONGEST = 255
"""Bytes of a file's name."""
_NUMBERS = frozenset(np.dtype(kind).name for kind in "?bhilqBHILQefd")
_MOST_AXES, _MOST = 8, 2**31
"""Axes of what one step has, and numbers in it."""


@dataclass(frozen=True)
class StepFeature:
    """What each step of an episode has under a name.

    Attributes:
        kind: "numbers", "picture", "text", or "other", which omp does not read.
        shape: of one step, of numbers.
        dtype: of numbers.
    """

    kind: str
    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] | None = None


class RldsFolder:
    """A folder with one version of a data set; DataError where it is none of episodes.

    Attributes:
        path: the folder.
        name: of the data set.
        features: what a step has, by its path in the step: ``observation/state``.
        splits: the names of its splits, with the number of episodes in each shard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        whole = json_file(path / FEATURES, "RLDS folder")
        steps = member(whole, "featuresDict", dict, str(path / FEATURES)) or {}
        found = member(steps, "features", dict, str(path / FEATURES)) or {}
        if not isinstance(steps := found.get(STEPS), dict) or "sequence" not in steps:
            raise DataError(f"{path / FEATURES}: no {STEPS} in it, so these are no episodes; it has: {listed(found)}")
        inside = member(steps["sequence"], "feature", dict, f"{path / FEATURES}: {STEPS}") or {}
        self.features = dict(_flat("", inside, str(path / FEATURES)))
        info = json_file(path / INFO, "RLDS folder")
        where = str(path / INFO)
        self.name: str = member(info, "name", str, where) or path.absolute().parent.name
        if (kind := member(info, "fileFormat", str, where) or "tfrecord") != "tfrecord":
            raise DataError(f"{where}: fileFormat {kind}, this omp reads tfrecord")
        self.splits: dict[str, tuple[int, ...]] = {}
        self._templates: dict[str, str] = {}
        for split in member(info, "splits", list, where) or []:
            if not isinstance(split, dict):
                refuse(f"{where}: splits", split, "an object each")
            name = member(split, "name", str, f"{where}: splits") or ""
            lengths = member(split, "shardLengths", list, f"{where}: {name}") or []
            self._templates[name] = member(split, "filepathTemplate", str, f"{where}: {name}") or _TEMPLATE
            self.splits[name] = tuple(_whole_number(n, f"{where}: shardLengths of {name}") for n in lengths)
        if not self.splits:
            raise DataError(f"{where}: no splits in it")

    def split(self, wanted: str) -> str:
        """The split that is asked for; of none the usual one, or the only one."""
        if wanted and wanted not in self.splits:
            raise UsageError(f"{self.path}: no split {wanted!r}", did_you_mean(wanted, self.splits))
        if not wanted and _USUAL not in self.splits and len(self.splits) > 1:
            raise UsageError(f"{self.path}: which split? it has: {listed(self.splits)}", "--set format.split=NAME")
        return wanted or (_USUAL if _USUAL in self.splits else next(iter(self.splits)))

    def shards(self, split: str, limit: int | None) -> list[Path]:
        """The files of a split that its first ``limit`` episodes (None: all) are in."""
        lengths, found, before = self.splits[split], [], 0
        for number, length in enumerate(lengths):
            if limit is not None and before >= limit:
                break
            found.append(self._shard(split, number, len(lengths)))
            before += length
        return found

    def _shard(self, split: str, number: int, of: int) -> Path:
        """A file of a split; DataError where its name would lead out of the folder."""
        parts = {
            "DATASET": self.name,
            "SPLIT": split,
            "FILEFORMAT": "tfrecord",
            "SHARD_X_OF_Y": f"{number:05d}-of-{of:05d}",
            "SHARD_INDEX": f"{number:05d}",
            "NUM_SHARDS": f"{of:05d}",
        }
        name = self._templates[split]
        for key, value in parts.items():
            name = name.replace(f"{{{key}}}", value)
        if Path(name).name != name or name.startswith(".") or len(name.encode()) > _LONGEST:
            raise DataError(f"{self.path / INFO}: filepathTemplate of {split}: {short(name)} is no name of a file")
        return self.path / name


def version_folders(path: Path) -> tuple[Path, ...]:
    """The folders with ``features.json``: the one that is named, or those in it, one for each version."""
    if (path / FEATURES).is_file():
        return (path,)
    return tuple(sorted(part for part in path.iterdir() if (part / FEATURES).is_file())) if path.is_dir() else ()


def _flat(name: str, node: Any, where: str) -> Iterator[tuple[str, StepFeature]]:
    """The features below a node, by their paths."""
    if not isinstance(node, dict):
        refuse(f"{where}: {name}", node, "an object")
    below = member(node, "featuresDict", dict, f"{where}: {name}")
    if below is None:
        yield name, _feature(name, node, where)
        return
    for key, part in (member(below, "features", dict, f"{where}: {name}") or {}).items():
        yield from _flat(f"{name}/{key}" if name else key, part, where)


def _feature(name: str, node: dict[str, Any], where: str) -> StepFeature:
    """What a leaf of the tree of features is."""
    if "text" in node:
        return StepFeature("text")
    image, tensor = (member(node, key, dict, f"{where}: {name}") for key in ("image", "tensor"))
    about = image or tensor
    if about is None:
        return StepFeature("other")
    shape = member(member(about, "shape", dict, f"{where}: {name}") or {}, "dimensions", list, f"{where}: {name}")
    sizes = tuple(_size(n) for n in shape or ())
    dtype = member(about, "dtype", str, f"{where}: {name}")
    if image is not None:
        return StepFeature("picture" if dtype == "uint8" and sizes[-1:] in ((3,), (4,)) else "other")
    if dtype in ("string", "object"):
        return StepFeature("text" if not sizes else "other")
    known = tuple(n for n in sizes if n is not None)
    plain = about.get("encoding", "none") in ("none", "") and len(known) == len(sizes)
    if not plain or dtype not in _NUMBERS or len(known) > _MOST_AXES or math.prod(known) > _MOST:
        return StepFeature("other")  # bfloat16, for one
    return StepFeature("numbers", known, np.dtype(dtype))


def _size(value: Any) -> int | None:
    """A dimension; None where it differs from step to step."""
    found = _from_text(value)
    return found if isinstance(found, int) and 0 < found < _MOST else None


def _whole_number(value: Any, where: str) -> int:
    return count(_from_text(value), where)


def _from_text(value: Any) -> Any:
    """A whole number, which TensorFlow Datasets writes as text; anything else as it is."""
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 19 else value
