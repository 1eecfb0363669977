"""``omp eval``: success or return of a policy on held-out episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from omp_cli import core
from omp_cli.commands.frame import Call, Chosen, checkpoint_layer, command
from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.processes import default_workers
from omp_cli.core.measure.episodes import EvalConfig
from omp_cli.core.measure.offline.config import PANEL as OFFLINE
from omp_cli.core.measure.offline.config import OfflineConfig
from omp_cli.core.measure.offline.tables import offline_tables
from omp_cli.core.measure.tables import evaluation_lines, evaluation_table

PANEL = "Episodes"
S = TypeVar("S", bound=Settings)
FILMED = 4
"""Episodes in a video."""


@command("eval", EvalConfig, also=lambda: (OfflineConfig,))
def evaluate(
    call: Call[EvalConfig],
    checkpoint: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN_OR_CHECKPOINT]", help="(default: the newest of omp pretrain and finetune)"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. (default: one per core)", rich_help_panel=PANEL)
    ] = None,
    video: Annotated[
        int | None,
        typer.Option("--video-episodes", min=1, help=f"Episodes in it. (default: {FILMED})", rich_help_panel=PANEL),
    ] = None,
    with_video: Annotated[
        bool, typer.Option("--video", help="Write a video; needs no display.", rich_help_panel=PANEL)
    ] = False,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Compare with recorded actions; no environment.", rich_help_panel=OFFLINE),
    ] = False,
) -> None:
    """Roll a policy out from start states that no demonstration used; or compare its actions with recorded ones.

    Example: omp eval

    Example: omp eval --offline

    Example: omp eval runs/pretrain/RUN --nfe 5 --episodes 100 --video --curve 20
    """
    if video is not None and not with_video:
        raise UsageError("--video-episodes: there is no video without --video", "add --video")
    if offline:
        if workers is not None or with_video:
            raise UsageError(f"{'--video' if with_video else '--workers'} does not go with --offline", "leave it out")
        _offline(call.of(OfflineConfig, "--offline"), checkpoint)
        return
    call = call.of(EvalConfig, "an evaluation in an environment, only with --offline")
    found, chosen = _found(call, checkpoint)
    last, workers = found[-1], workers or default_workers()
    settings, task = chosen.settings, last.meta.spec.task
    core.use_threads(settings.threads)
    device = core.pick_device(call.globals.device_name)
    if call.dry_run(chosen, task=task, workers=workers, device=str(device)):
        return
    with call.run(chosen, f"{task}-nfe{settings.nfe}", core.device_name(device)) as (run, progress):
        run.input("checkpoint", last.path, last.sha256())
        films = (video or FILMED) if with_video else 0
        figures = core.evaluate_run(run, found, settings, workers, device, progress, films)
    files = [f"{a.path.rpartition('.')[2]}: {run.folder / a.path}" for a in run.manifest.artifacts]
    call.result(run.folder, figures, [evaluation_table(figures)], [*evaluation_lines(figures), *files])
    episodes = settings.episodes + settings.curve * (len(found) - 1)
    metrics = run.manifest.metrics
    call.console.times("omp eval", metrics["seconds_by_part"], "episode", episodes)
    title = f"{min(workers, settings.episodes)} environments together"
    call.console.times(title, metrics["worker_seconds_by_part"], "episode", episodes)


def _found(call: Call[S], path: Path | None) -> tuple[list[core.Checkpoint], Chosen[S]]:
    """The checkpoints that are meant, and the settings; a wrong setting is told before a checkpoint is looked for."""
    call.known(call.settings())
    found = core.open_run(path or call.newest_trained("finetune"))
    chosen = call.settings(checkpoint_layer(found[-1]))
    chosen.add("checkpoint", str(found[-1].path), "argument")
    return found, chosen


def _offline(call: Call[OfflineConfig], path: Path | None) -> None:
    found, chosen = _found(call, path)
    last, settings = found[-1], chosen.settings
    core.use_threads(settings.threads)
    device = core.pick_device(call.globals.device_name)
    recorded = core.recorded(last, settings, call.console.note)
    task = recorded.data.spec.task
    if call.dry_run(chosen, task=task, episodes=", ".join(map(str, recorded.episodes)), device=str(device)):
        return
    with call.run(chosen, f"{task}-offline-nfe{settings.nfe}", core.device_name(device)) as (run, progress):
        run.input("checkpoint", last.path, last.sha256())
        run.input("dataset", recorded.data.path, recorded.data.sha256)
        figures = core.evaluate_offline(run, last, recorded, settings, device, progress)
    files = [f"{a.path.rpartition('.')[2]}: {run.folder / a.path}" for a in run.manifest.artifacts]
    call.result(run.folder, figures, offline_tables(figures), files)
    seconds, decisions = run.manifest.metrics["seconds_by_part"], figures["offline"]["decisions"]
    call.console.times("omp eval --offline", seconds, "decision", decisions)
