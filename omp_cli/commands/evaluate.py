"""``omp eval``: success or return of a policy on held-out episodes."""

from __future__ import annotations

from typing import Annotated, cast

from omp_cli import core
from omp_cli.commands.call import Call, files
from omp_cli.commands.chosen import Chosen
from omp_cli.commands.frame import command
from omp_cli.commands.inputs import CheckpointArgument, PolicyArgument, workers
from omp_cli.commands.options import option
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.layers import Layer
from omp_cli.core.base.processes import default_workers
from omp_cli.core.measure.episodes import EvalConfig
from omp_cli.core.measure.offline.config import PANEL as OFFLINE
from omp_cli.core.measure.offline.config import OfflineConfig
from omp_cli.core.measure.offline.tables import offline_tables
from omp_cli.core.measure.tables import evaluation_lines, evaluation_table

PANEL = "Episodes"
FILMED = 4
"""Episodes in a video."""


@command("eval", EvalConfig, also=lambda: (OfflineConfig,))
def evaluate(
    call: Call[EvalConfig],
    policy: PolicyArgument = None,
    processes: Annotated[int | None, workers(PANEL)] = None,
    video: Annotated[
        int | None, option("Episodes in the video.", "--video-episodes", panel=PANEL, default=str(FILMED), min=1)
    ] = None,
    with_video: Annotated[bool, option("Write a video, which needs no display.", "--video", panel=PANEL)] = False,
    offline: Annotated[
        bool, option("Compare actions with recorded ones, without an environment.", "--offline", panel=OFFLINE)
    ] = False,
) -> None:
    """Roll a policy out from start states that no demonstration used; or compare its actions with recorded ones.

    Example: omp eval

    Example: omp eval --offline

    Example: omp eval runs/pretrain/RUN --nfe 5 --episodes 100 --video --curve 20

    Example: omp eval runs/export/RUN
    """
    if video is not None and not with_video:
        raise UsageError("--video-episodes: there is no video without --video", "add --video")
    if offline:
        if processes is not None or with_video:
            raise UsageError(f"{'--video' if with_video else '--workers'} does not go with --offline", "leave it out")
        _offline(call.of(OfflineConfig, "--offline"), policy)
        return
    call = call.of(EvalConfig, "an evaluation in an environment, only with --offline")
    found, chosen, export = _evaluated(call, policy)
    last, processes = found[-1], processes or default_workers()
    if chosen.settings.curve and len(found) == 1:
        call.console.note(f"curve: {last.path} is the only checkpoint, so there is no curve over training")
    settings, task = chosen.settings, last.meta.spec.task
    device = call.device(settings.threads) if export is None else export.device
    core.check_graph("graph", settings.graph, device)
    core.check_tf32("precision", settings.precision, device)
    core.executed(settings.execute, last.config().chunk.execute)
    core.check_noise_scale(settings.noise_scale, core.draws_noise(last.config()))
    if call.dry_run(chosen, task=task, workers=processes, device=str(device)):
        return
    with call.run(chosen, f"{task}-nfe{settings.nfe}", device) as (run, progress):
        run.input("checkpoint", last.path, last.sha256())
        if export is not None:
            run.input("export", export.path, export.sha256())
        films = (video or FILMED) if with_video else 0
        figures = core.evaluate_run(run, found, settings, processes, device, progress, films, export)
    call.result(run.folder, figures, [evaluation_table(figures)], [*evaluation_lines(figures), *files(run)])
    episodes, metrics = settings.episodes + settings.curve * (len(found) - 1), run.manifest.metrics
    call.console.times("omp eval", metrics["seconds_by_part"], "episode", episodes)
    count = metrics["environments"]
    title = "1 environment" if count == 1 else f"{count} environments together"
    call.console.times(title, metrics["worker_seconds_by_part"], "episode", episodes)


def _evaluated(
    call: Call[EvalConfig], policy: PolicyArgument
) -> tuple[list[core.Checkpoint], Chosen[EvalConfig], core.OfExport | None]:
    """The checkpoints of what the line names, the settings, and where it names an export, that, which then decides.

    Raises:
        UsageError: a setting is another than the export's, which is a finished graph.
    """
    if policy is None or core.export_at(policy) is None:
        return *call.checkpoints(policy), None
    first = call.settings()
    call.known(first)
    core.use_threads(first.settings.threads)
    export = cast(core.OfExport, core.open_decider(policy, call.globals.device_name))
    found, _ = call.checkpoints(export.checkpoint().path)
    own = {"nfe": export.signature.nfe, "weights": export.weights, "precision": "fp32", "graph": "auto", "curve": 0}
    chosen = call.settings(Layer("export", own))
    for name, value in own.items():
        if getattr(chosen.settings, name) != value:
            raise UsageError(
                f"{name}: an export is a finished graph of one checkpoint", "leave it out, or name the run"
            )
    chosen.add("checkpoint", str(found[-1].path), "export")
    chosen.add("export", str(export.path), "argument")
    return found, chosen, export


def _offline(call: Call[OfflineConfig], checkpoint: CheckpointArgument) -> None:
    found, chosen = call.checkpoints(checkpoint)
    last, settings = found[-1], chosen.settings
    device = call.device(settings.threads)
    reference = core.reference_episodes(last, settings, call.console.note)
    task = reference.data.spec.task
    if call.dry_run(chosen, task=task, episodes=", ".join(map(str, reference.episodes)), device=str(device)):
        return
    with call.run(chosen, f"{task}-offline-nfe{settings.nfe}", device) as (run, progress):
        run.input("checkpoint", last.path, last.sha256())
        run.input("dataset", reference.data.path, reference.data.sha256)
        figures = core.evaluate_offline(run, last, reference, settings, device, progress)
    call.result(run.folder, figures, offline_tables(figures), files(run))
    seconds, decisions = run.manifest.metrics["seconds_by_part"], figures["offline"]["decisions"]
    call.console.times("omp eval --offline", seconds, "decision", decisions)
