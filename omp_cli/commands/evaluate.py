"""``omp eval``: success or return of a policy on held-out episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from omp_cli import core
from omp_cli.commands.call import Call, Input, files
from omp_cli.commands.chosen import Chosen
from omp_cli.commands.frame import command
from omp_cli.commands.inputs import CheckpointArgument, PolicyArgument, workers
from omp_cli.commands.options import option
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.layers import Layer
from omp_cli.core.base.processes import default_workers
from omp_cli.core.base.run import read_resumed
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
    resume: Annotated[
        Path | None,
        option("Continue this evaluation, with --episodes to another number of them.", panel=PANEL),
    ] = None,
) -> None:
    """Roll a policy out from start states that no demonstration used; or compare its actions with recorded ones.

    Example: omp eval

    Example: omp eval --offline

    Example: omp eval runs/pretrain/RUN --nfe 5 --episodes 100 --video --curve 20

    Example: omp eval runs/export/RUN

    Example: omp eval --resume runs/eval/RUN --episodes 100
    """
    if video is not None and not with_video:
        raise UsageError("--video-episodes: there is no video without --video", "add --video")
    if offline:
        given = {"--video": with_video, "--workers": processes is not None, "--resume": resume is not None}
        if wrong := next((name for name, there in given.items() if there), None):
            raise UsageError(f"{wrong} does not go with --offline", "leave it out")
        _offline(call.of(OfflineConfig, "--offline"), policy)
        return
    call = call.of(EvalConfig, "an evaluation in an environment, only with --offline")
    films = (video or FILMED) if with_video else 0
    if resume is None:
        _evaluate(call, _new_plan(call, policy), processes or default_workers(), films)
        return
    reason = "--resume continues an evaluation as it was configured, but for --episodes"
    more = call.alone(reason, policy, but=("episodes",))
    if (plan := _old_plan(call, resume, more, films > 0)) is not None:
        _evaluate(call, plan, processes or default_workers(), films)


@dataclass(frozen=True)
class EvaluationPlan:
    """What to evaluate: the last of the checkpoints, or the export that was made of it, and earlier ones for a curve;
    ``folder`` and what it has ``read`` are those of a resumed evaluation, None for a new one, which makes its own.
    """

    chosen: Chosen[EvalConfig]
    checkpoints: list[core.Checkpoint]
    export: core.OfExport | None
    folder: Path | None = None
    read: list[Input] | None = None


def _new_plan(call: Call[EvalConfig], policy: Path | None) -> EvaluationPlan:
    """The plan of a new evaluation."""
    found, chosen, export = _evaluated(call, policy)
    if chosen.settings.curve and len(found) == 1:
        call.console.note(f"curve: {found[-1].path} is the only checkpoint, so there is no curve over training")
    return EvaluationPlan(chosen, found, export)


def _old_plan(call: Call[EvalConfig], folder: Path, more: Mapping[str, Any], filmed: bool) -> EvaluationPlan | None:
    """The plan of an evaluation that goes on, also past its end by ``more`` episodes or to be ``filmed``; None for a
    finished one, whose figures were shown.
    """
    config = read_resumed(folder, call.name).config
    if config.keys() >= OfflineConfig.model_fields.keys():
        raise UsageError(f"{folder}: an evaluation on recorded data, which takes no time", "omp eval --offline")
    now = {"episodes": config["episodes"].value}
    wanted = {**now, **more}
    change = wanted if filmed or wanted != now else {}
    manifest, chosen = call.resumed(folder, "checkpoint", "export", change=change)
    if chosen is None:
        _show(call, folder, manifest.metrics, [])
        return None
    found, export = core.evaluated_before(folder, manifest, core.pick_device(call.globals.device_name))
    core.check_more(folder, found[-1], chosen.settings.episodes)
    read = [(i.kind, Path(i.path), i.sha256) for i in manifest.inputs]
    return EvaluationPlan(chosen, found, export, folder, read)


def _evaluate(call: Call[EvalConfig], plan: EvaluationPlan, processes: int, films: int) -> None:
    settings, last, export = plan.chosen.settings, plan.checkpoints[-1], plan.export
    device = call.device(settings.threads) if export is None else export.device
    core.check_graph("graph", settings.graph, device)
    core.check_tf32("precision", settings.precision, device)
    core.executed(settings.execute, last.config().chunk.execute)
    core.check_noise_scale(settings.noise_scale, core.draws_noise(last.config()))
    task = last.meta.spec.task
    if call.dry_run(plan.chosen, task=task, workers=processes, device=str(device)):
        return
    earlier = plan.checkpoints[:-1] if settings.curve else []
    read = core.read_by_evaluation(last, earlier, export) if plan.read is None else plan.read
    folder, out = plan.folder, call.globals.out
    if folder is None and out is not None and core.goes_on(out, plan.chosen.sources, read, call.console.note):
        core.check_more(out, last, settings.episodes)
        folder = out  # the line of an evaluation that was stopped, once more
    where, resumed = folder or f"{task}-nfe{settings.nfe}", folder is not None
    with call.run(plan.chosen, where, device, read, resumed) as (run, progress):
        figures = core.evaluate_run(
            run, plan.checkpoints, settings, processes, device, progress, films, export, resumed
        )
    _show(call, run.folder, figures, files(run))
    done, metrics = settings.episodes + settings.curve * (len(plan.checkpoints) - 1), run.manifest.metrics
    done -= metrics.get("resumed_at_episode", 0)
    call.console.times("omp eval", metrics["seconds_by_part"], "episode", done)
    count = metrics["environments"]
    title = "1 environment" if count == 1 else f"{count} environments together"
    call.console.times(title, metrics["worker_seconds_by_part"], "episode", done)


def _show(call: Call[EvalConfig], folder: Path, figures: dict[str, Any], lines: list[str]) -> None:
    call.result(folder, figures, [evaluation_table(figures)], [*evaluation_lines(figures), *lines])


def _evaluated(
    call: Call[EvalConfig], policy: Path | None
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
