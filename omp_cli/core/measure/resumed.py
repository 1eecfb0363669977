"""An evaluation that goes on: what it has read, wherever that is by now, and the episodes that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import torch

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.files import read_jsonl
from omp_cli.core.base.manifest import Input, Manifest
from omp_cli.core.base.run import EPISODES, whereabouts
from omp_cli.core.checkpoint import Checkpoint, checkpoint_of
from omp_cli.core.deploy.exported import OfExport
from omp_cli.core.measure.episodes import Episode

AGAIN = "start it again without --resume"
LAST = "checkpoint"
EARLIER = "earlier checkpoint"
"""The kind of input that a checkpoint before the last one is, of an evaluation with a curve over training."""


def episodes_before(folder: Path) -> list[Episode]:
    """The episodes of an evaluation that have ended, in the order of their end; one that a kill has cut is left out."""
    known = {field.name for field in fields(Episode)}
    rows = read_jsonl(folder / EPISODES)
    return [Episode(**{key: value for key, value in row.items() if key in known}) for row in rows]


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
    of = {kind: [read for read in manifest.inputs if read.kind == kind] for kind in (EARLIER, LAST, "export")}
    checkpoints = [_checkpoint(folder, read) for read in (*of[EARLIER], *of[LAST])]
    exports = [_export(folder, read, device) for read in of["export"]]
    if not checkpoints:
        raise UsageError(f"{folder}: ended before it had read a checkpoint", AGAIN)
    return checkpoints, exports[0] if exports else None


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
    """UsageError where an evaluation has more episodes of its last checkpoint than it is to have."""
    done = sum(episode.checkpoint_step == last.meta.step for episode in episodes_before(folder))
    if episodes < done:
        raise UsageError(
            f"{folder}: has {done} episodes already, and {episodes} count from its beginning",
            f"ask for more: --episodes {2 * done}",
        )
