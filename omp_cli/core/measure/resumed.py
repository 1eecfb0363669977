"""An evaluation that goes on: what it has read, wherever that is by now, and the episodes that have ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from omp_cli.core.base.config import same_setting
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.files import quoted
from omp_cli.core.base.manifest import FILE_NAME, Input, Manifest, read_manifest
from omp_cli.core.base.run import EPISODES, changed_code, whereabouts
from omp_cli.core.checkpoint import Checkpoint, checkpoint_of
from omp_cli.core.deploy.exported import OfExport
from omp_cli.core.measure.records import episodes_before

AGAIN = "move it back, or start it again without --resume"
ANEW = "start it again without --resume"
LAST = "checkpoint"
EARLIER = "earlier checkpoint"
"""The kind of input that a checkpoint before the last one is, of an evaluation with a curve over training."""
KINDS = (EARLIER, LAST, "export")
FREE = (LAST, "export", "episodes")
"""Entries of a configuration that the hashes of inputs stand for, or that may change."""


def read_by_evaluation(
    last: Checkpoint, earlier: Sequence[Checkpoint], export: OfExport | None
) -> list[tuple[str, Path, str]]:
    """Kind, path and hash of what an evaluation reads, for its manifest."""
    found = [(EARLIER, each.path, each.sha256()) for each in earlier] + [(LAST, last.path, last.sha256())]
    return found if export is None else [*found, ("export", export.path, export.sha256())]


def evaluated_before(
    folder: Path, manifest: Manifest, device: torch.device
) -> tuple[list[Checkpoint], OfExport | None]:
    """The checkpoints that an evaluation has begun with, the last one at the end, and the export that decides for it.

    Raises:
        UsageError: one of them is gone, or another one by now; or it ended before it had read anything.
    """
    of = {kind: [read for read in manifest.inputs if read.kind == kind] for kind in KINDS}
    checkpoints = [_checkpoint(folder, read) for read in (*of[EARLIER], *of[LAST])]
    exports = [_export(folder, read, device) for read in of["export"]]
    if not checkpoints:
        raise UsageError(f"{folder}: ended before it had read a checkpoint", ANEW)
    if {e.checkpoint_step for e in episodes_before(folder)} - {each.meta.step for each in checkpoints}:
        unnamed = "has episodes of checkpoints that its manifest does not name, as of a curve that an earlier omp made"
        raise UsageError(f"{folder}: {unnamed}", ANEW)
    return checkpoints, exports[0] if exports else None


def goes_on(
    folder: Path,
    sources: Mapping[str, Mapping[str, Any]],
    read: Sequence[tuple[str, Path, str]],
    note: Callable[[str], None],
) -> bool:
    """Whether a folder holds an evaluation with these settings and inputs that was stopped, for the line to go on with.

    One of another checkpoint is begun anew, which is said.

    Raises:
        UsageError: it has other settings, or was made with another content of the user's own code; its episodes would
            be lost.
    """
    if not ((folder / FILE_NAME).is_file() and (folder / EPISODES).is_file()):
        return False
    found = read_manifest(folder)
    if found.command != "eval" or found.status == "succeeded" or not (count := len(episodes_before(folder))):
        return False
    if [(i.kind, i.sha256) for i in found.inputs if i.kind in KINDS] != [(kind, sha256) for kind, _, sha256 in read]:
        note(f"{folder}: {count} episodes of another checkpoint go")
        return False
    old = {key: entry.model_dump() for key, entry in found.config.items()}
    known = {*old, *sources} - {*FREE}
    changed = sorted(key for key in known if not same_setting(old.get(key), sources.get(key)))
    if changed or changed_code(folder, found):
        other = f"other settings ({', '.join(changed)})" if changed else "code of yours that has changed"
        raise UsageError(
            f"output folder {folder}: holds {count} episodes of an evaluation with {other}",
            f"go on with it by --resume {quoted(folder)}, choose another --out, or delete it first",
        )
    return True


def _checkpoint(folder: Path, read: Input) -> Checkpoint:
    if (found := checkpoint_of(folder, read.path, read.sha256)) is None:
        raise UsageError(f"{folder}: checkpoint {read.path}, which it evaluates, is gone or another one by now", AGAIN)
    return found


def _export(folder: Path, read: Input, device: torch.device) -> OfExport:
    for place in whereabouts(folder, read.path):
        with suppress(DataError):
            if (found := OfExport(place, device)).sha256() == read.sha256:
                return found
    raise UsageError(f"{folder}: export {read.path}, which it evaluates, is gone or another one by now", AGAIN)


def check_more(folder: Path, last: Checkpoint, episodes: int) -> None:
    """UsageError where an evaluation has got further with its last checkpoint than it is to get."""
    done = max((e.index + 1 for e in episodes_before(folder) if e.checkpoint_step == last.meta.step), default=0)
    if episodes < done:
        raise UsageError(
            f"{folder}: has come to episode {done} already, and {episodes} count from its beginning",
            f"it ends there by --episodes {done}",
        )
