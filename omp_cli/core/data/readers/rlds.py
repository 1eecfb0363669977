"""RLDS: a folder of TensorFlow Datasets whose examples are episodes, as Open X-Embodiment, DROID and LIBERO have them.

The folder holds ``features.json``, ``dataset_info.json`` and TFRecord files. What each step has is named by its path in
the step: ``observation/state``, ``action``. Neither TensorFlow nor its data sets' package is needed.

Legend: T steps of an episode.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.foreign import AGAIN, listed, short
from omp_cli.core.data.readers.apart import joined_episodes
from omp_cli.core.data.readers.base import FORMATS, Reader, Recording, Subject
from omp_cli.core.data.readers.rlds_folder import FEATURES, INFO, STEPS, RldsFolder, StepFeature, version_folders
from omp_cli.core.data.readers.roles import RolesConfig
from omp_cli.core.data.readers.stored import Stored
from omp_cli.core.data.readers.tfrecord import Example, Record, records

EXPECTED = f"a folder of TensorFlow Datasets with {FEATURES}, {INFO} and TFRecord files, whose examples have {STEPS}"
_STATES = ("observation/state", "observation/proprio", "observation/robot_state", "observation")
_INSTRUCTION = "language_instruction"
_TERMINAL = "is_terminal"
_SMALL = 64
"""Numbers of a step that are read with its episode; more of them (embeddings, raw pictures) when they are asked for."""


class RldsConfig(RolesConfig):
    """What is taken from an RLDS folder; names are paths in a step, as observation/state."""

    name: Literal["rlds"] = "rlds"
    split: str = ""
    """The split that is read; empty takes train, or the only one."""
    instruction: str | None = None
    """Only the episodes with this instruction in words; None takes all."""
    last_step: bool = True
    """Whether the last step of each episode is taken. RLDS says that its action means nothing; most data sets have a
    sensible one there.
    """


@FORMATS.register("rlds")
class RldsReader(Reader):
    """One episode for each example."""

    Config = RldsConfig
    config: RldsConfig
    expected = EXPECTED
    simulated = False
    folders = True

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """See the base class; a folder whose only version is in it will do."""
        return bool(version_folders(path))

    @classmethod
    def label(cls, path: Path) -> str:
        """See the base class."""
        return _folder(path).name

    def files(self, path: Path, limit: int | None) -> tuple[Path, ...]:
        """See the base class; all shards where an instruction is looked for."""
        folder = _folder(path)
        needed = folder.shards(folder.split(self.config.split), None if self.config.instruction else limit)
        return (folder.path / FEATURES, folder.path / INFO, *needed)

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        folder = _folder(path)
        split = folder.split(self.config.split)
        known = sum(folder.splits[split])
        progress.start(f"{subject.task}: reading episodes", known if limit is None else min(limit, known))
        places: list[Path] = []
        heads: list[dict[str, Stored]] = []
        told: list[str | None] = []
        bare: list[int] = []
        for number, (record, example, steps) in enumerate(islice(self._episodes(folder, split), limit)):
            if steps > (0 if self.config.last_step else 1):
                places.append(folder.path / f"episode {number}")
                heads.append(self._arrays(folder, record, example, steps))
                told.append(_instruction(folder, example))
            else:
                bare.append(number)
            progress.advance()
        if not heads:
            raise DataError(f"{folder.path}: no episode with steps in its split {split}")
        config = self._with_usual_names(folder, heads[subject.kept(len(heads))[0]])
        said = [f"split {split} of {short(folder.name)}" + _others(folder, split)]
        if unread := [name for name, of in folder.features.items() if of.kind == "other"]:
            said.append(f"of kinds that omp does not read: {listed(unread)}")
        if texts := [name for name, of in folder.features.items() if of.kind == "text"]:
            said.append(f"texts are not taken: {listed(texts)}")
        said.append(
            "the last step of each episode is taken; where its action means nothing: --set format.last_step=false"
            if self.config.last_step
            else "the last step of each episode is left out"
        )
        said += [f"episodes without steps are not taken, nor counted: {listed(map(str, bare))}"] if bare else []
        found = joined_episodes(folder.path, config, places, heads, subject, known, said)
        notes = {"instructions": sorted({text for text in told if text is not None})}
        return replace(found, notes={**found.notes, "split": split, **(notes if any(notes.values()) else {})})

    def _episodes(self, folder: RldsFolder, split: str) -> Iterator[tuple[Record, Example, int]]:
        """The episodes of a split and how many steps each has, those with the instruction that is asked for."""
        wanted, known, found = self.config.instruction, set[str](), False
        for shard, length in zip(folder.shards(split, None), folder.splits[split], strict=True):
            number = 0
            for record in records(shard):
                number += 1
                example = record.example()
                text = _instruction(folder, example)
                known |= {text} if text is not None else set()
                if wanted is None or wanted == text:
                    found = True
                    yield record, example, _steps(folder, example)
            if number != length:
                raise DataError(f"{shard}: {number} episodes in it, {INFO} says {length}", AGAIN)
        if not found and wanted is not None:
            raise UsageError(f"{folder.path}: no episode with the instruction {wanted!r}", did_you_mean(wanted, known))

    def _arrays(self, folder: RldsFolder, record: Record, example: Example, steps: int) -> dict[str, Stored]:
        """The arrays of an episode: few numbers, which are read now, and what is read when it is asked for."""
        cut = 0 if self.config.last_step else 1
        arrays: dict[str, Stored] = {}
        for name, feature in folder.features.items():
            skipped = cut if name == _TERMINAL else 0  # that the task is over is said of the step that is left out
            frames = range(skipped, skipped + steps - cut)
            if feature.kind == "numbers":
                arrays[name] = _numbers(record, example, name, feature, steps, frames)
            elif feature.kind == "picture":
                arrays[name] = _pictures(record, example, name, steps, frames)
        return arrays

    def _with_usual_names(self, folder: RldsFolder, arrays: dict[str, Stored]) -> RldsConfig:
        """The settings with the usual names of RLDS for what they leave open."""
        usual: dict[str, tuple[str, ...]] = {}
        if not self.config.state:
            usual["state"] = next(((name,) for name in _STATES if name in arrays), ())
        if self.config.img is None:
            usual["img"] = tuple(name for name, of in folder.features.items() if of.kind == "picture")
        if self.config.terminal is None and _TERMINAL in arrays:
            usual["terminal"] = (_TERMINAL,)
        return self.config.model_copy(update={role: names for role, names in usual.items() if names})


def _folder(path: Path) -> RldsFolder:
    found = version_folders(path)
    if not found:
        raise DataError(f"{path}: no {FEATURES} in it", f"expected: {EXPECTED}")
    if len(found) > 1:
        names = listed([version.name for version in found])
        raise UsageError(f"{path}: several versions of a data set: {names}", f"name one: {found[-1]}")
    return RldsFolder(found[0])


def _others(folder: RldsFolder, split: str) -> str:
    """The other splits, in the sentence on the one that is read."""
    others = [f"{name} ({sum(lengths)} episodes)" for name, lengths in folder.splits.items() if name != split]
    return f"; not read: {', '.join(others)}, --set format.split=NAME" if others else ""


def _instruction(folder: RldsFolder, example: Example) -> str | None:
    """What an episode was asked for, as its first step says it; None where nothing does.

    DROID says it up to three times, and some of them are empty.
    """
    named = [name for name, of in folder.features.items() if of.kind == "text" and _INSTRUCTION in name]
    for name in sorted(named, key=lambda name: (len(name), name)):
        if text := bytes(next(iter(example.packed(f"{STEPS}/{name}")), b"")).decode(errors="replace"):
            return text
    return None


def _steps(folder: RldsFolder, example: Example) -> int:
    """How many steps an episode has, by its first numbers."""
    plain = ((name, of) for name, of in folder.features.items() if of.kind == "numbers")
    name, of = next(plain, (None, None))
    if of is None:
        raise DataError(f"{folder.path / FEATURES}: no step has numbers")
    return len(example.numbers(f"{STEPS}/{name}")) // math.prod(of.shape)


def _numbers(record: Record, example: Example, name: str, feature: StepFeature, steps: int, frames: range) -> Stored:
    """An array (T, ...) of numbers, of those steps that are taken."""
    assert feature.dtype is not None
    key, size, dtype = f"{STEPS}/{name}", math.prod(feature.shape), feature.dtype
    if (has := len(example.numbers(key))) != steps * size:
        raise _misfit(record, name, f"{has} numbers", f"{size} in each of {steps} steps")

    def read(count: int, of: Example | None = None) -> NDArray[Any]:
        values: NDArray[Any] = np.asarray((of or record.example()).numbers(key)).astype(dtype)
        return values.reshape((steps, *feature.shape))[frames.start : frames.start + min(count, len(frames))]

    shape = (len(frames), *feature.shape)
    stored = math.prod(shape) * dtype.itemsize
    if size > _SMALL:
        return Stored(shape, dtype, stored, read)
    found = read(len(frames), example)
    return Stored(shape, dtype, stored, lambda count: found[:count])


def _pictures(record: Record, example: Example, name: str, steps: int, frames: range) -> Stored:
    """An array (T,) of packed pictures, of those steps that are taken."""
    key = f"{STEPS}/{name}"
    values = example.packed(key)
    if len(values) != steps:
        raise _misfit(record, name, f"{len(values)} pictures", f"one in each of {steps} steps")

    def read(count: int) -> NDArray[np.object_]:
        packed = np.empty(min(count, len(frames)), object)
        packed[:] = record.example().packed(key)[frames.start : frames.start + len(packed)]
        return packed

    return Stored((len(frames),), np.dtype(object), sum(map(len, values)), read)


def _misfit(record: Record, name: str, has: str, wanted: str) -> DataError:
    return DataError(f"{record.file}: the episode at byte {record.start}: {name} has {has}, expected {wanted}")
