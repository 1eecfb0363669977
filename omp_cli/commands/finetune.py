"""``omp finetune``: improve a policy by reinforcement learning in its environment."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.commands.common import (
    RUNS,
    Globals,
    base_layers,
    check_free,
    checkpoint_layer,
    newest_trained,
    run_folder,
    settings_known,
    show_dry_run,
)
from omp_cli.console import make_table

METHOD, OPTIM, CONFIG = "Method", "Optimisation", "Configuration"


def finetune(
    globals_: Globals,
    checkpoint: Annotated[
        Path | None, typer.Argument(metavar="[RUN_OR_CHECKPOINT]", help="(default: the newest of omp pretrain)")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="gym-dmpo, dmpo-lift-paper, ... (default: what fits suite and method)", rich_help_panel=METHOD
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="dmpo, dppo, reinflow-r, reinflow-s, gaussian, fql. (default: what fits the checkpoint; dmpo)",
            rich_help_panel=METHOD,
        ),
    ] = None,
    nfe: Annotated[
        int | None, typer.Option(min=1, help="Network evaluations per decision.", rich_help_panel=METHOD)
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Exploration noise, or where a learned one begins.", rich_help_panel=METHOD)
    ] = None,
    bc: Annotated[
        float | None, typer.Option(help="Weight of behaviour cloning at the start.", rich_help_panel=METHOD)
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Of collecting and learning.", rich_help_panel=OPTIM)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Wall time after which the run ends.", rich_help_panel=OPTIM)
    ] = None,
    envs: Annotated[int | None, typer.Option(min=1, help="Environments.", rich_help_panel=OPTIM)] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. (default: one per core)", rich_help_panel=OPTIM)
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of the policy.", rich_help_panel=OPTIM)] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps per episode. (default: the task's)", rich_help_panel=OPTIM)
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue this run.", rich_help_panel=OPTIM)] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.", rich_help_panel=CONFIG)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value; repeatable.", rich_help_panel=CONFIG)
    ] = None,
) -> None:
    """Fine-tune a policy by PPO (or FQL) in the environment of its demonstrations.

    Example: omp finetune

    Example: omp finetune runs/pretrain/RUN --nfe 1 --minutes 10, then omp eval RUN
    """
    from omp_cli.core import config as c
    from omp_cli.core.errors import UsageError
    from omp_cli.core.prepare.collect import default_workers

    flags = c.flag_layer(
        seed=globals_.seed,
        method__name=method,
        nfe=nfe,
        method__sigma__value=sigma,
        method__bc__weight=bc,
        iterations=iterations,
        minutes=minutes,
        envs=envs,
        method__lr=lr,
        max_steps=max_steps,
    )
    count = workers or default_workers()
    if resume is None:
        if globals_.start is not None:
            settings_known(globals_, _settings(*globals_.start, preset, config, set_ or [], flags)[1])
        path = checkpoint or newest_trained(globals_)
        _finetune(globals_, _new_plan(globals_, path, preset, config, set_ or [], flags), count)
        return
    if flags.values or config or set_ or preset or checkpoint or globals_.out:
        raise UsageError("--resume continues a run as it was configured", "leave the other settings out")
    _resume(globals_, resume, count)


@dataclass(frozen=True)
class Plan:
    """What to fine-tune and where; ``folder`` None means one of the run's own, made when it begins."""

    settings: Any
    sources: dict[str, Any]
    checkpoint: Any
    folder: Path | None
    resumed: bool = False


def _new_plan(
    globals_: Globals, path: Path, preset: str | None, file: Path | None, sets: list[str], flags: Any
) -> Plan:
    """A run in a folder of its own."""
    from omp_cli.core.checkpoint import open_run
    from omp_cli.core.rl.base import TUNERS
    from omp_cli.core.rl.loop import chain_length, check_fits
    from omp_cli.core.run import refuse_checkpoints

    found = open_run(path)[-1]
    settings, sources = _settings(found.meta.spec.suite, found.config().method.name, preset, file, sets, flags)
    check_fits(settings, found)
    if settings.nfe is None:
        settings = settings.model_copy(update={"nfe": chain_length(settings, found)})
        own = TUNERS.get(settings.method.name).nfe is not None
        source = f"method {settings.method.name}" if own else checkpoint_layer(found).source
        sources["nfe"] = {"value": settings.nfe, "source": source}
    sources["checkpoint"] = {"value": str(found.path), "source": "argument"}
    if globals_.out is not None:
        refuse_checkpoints(globals_.out)
    return Plan(settings, sources, found, globals_.out)


def _settings(
    suite: str, trained: str, preset: str | None, file: Path | None, sets: list[str], flags: Any
) -> tuple[Any, dict[str, Any]]:
    """How a policy of the pre-training method ``trained`` is fine-tuned in ``suite``, and the source of each value."""
    from omp_cli.core import config as c
    from omp_cli.core.rl.config import FinetuneConfig
    from omp_cli.core.rl.loop import check_method, tuner_for

    own = c.Layer("checkpoint", {"method.name": tuner_for(trained)})
    asked = c.merge([own, *base_layers(FinetuneConfig, None, file, sets, flags)])[0]["method"]["name"]
    known = c.preset_names("finetune")
    name = preset or next((n for n in (f"{suite}-{asked}", suite) if n in known), None)
    layers = [own] + ([] if name is None else [c.preset_layer("finetune", name)])
    values, layer_of = c.merge([*layers, *base_layers(FinetuneConfig, None, file, sets, flags)])
    settings = c.validated(FinetuneConfig, values)
    check_method(settings, trained)
    return settings, c.sources_of(settings, layer_of)


def _resume(globals_: Globals, run: Path, workers: int) -> None:
    from omp_cli.core import config as c
    from omp_cli.core.errors import UsageError
    from omp_cli.core.manifest import read_manifest
    from omp_cli.core.rl.config import FinetuneConfig

    manifest = read_manifest(run)
    if manifest.command != "finetune":
        raise UsageError(f"{run}: a run of omp {manifest.command}, not of omp finetune")
    if manifest.status == "succeeded":
        globals_.console.note(f"{run} is finished; nothing to do")
        _report(globals_, run, manifest.metrics)
        return
    sources = {key: value.model_dump() for key, value in manifest.config.items()}
    flat = {key: value.value for key, value in manifest.config.items() if key != "checkpoint"}
    settings = c.validated(FinetuneConfig, c.unflatten(flat))
    check_free(run)
    start = _start(run, manifest)
    _finetune(globals_, Plan(settings, sources, start, run, resumed=True), workers, manifest.inputs)


def _start(run: Path, manifest: Any) -> Any:
    """The checkpoint that a run began with: its own copy, or the original where a kill prevented that copy."""
    from omp_cli.core.checkpoint import checkpoints_in, open_checkpoint
    from omp_cli.core.errors import DataError, UsageError
    from omp_cli.core.rl.loop import START
    from omp_cli.core.run import whereabouts

    if own := checkpoints_in(run / START):
        return open_checkpoint(own[-1])
    for read in (i for i in manifest.inputs if i.kind == "checkpoint"):
        for place in whereabouts(run, read.path):
            with suppress(DataError):  # something else of that name
                if (found := open_checkpoint(place)).sha256() == read.sha256:
                    return found
    raise UsageError(f"{run}: ended before it had copied its checkpoint", "start it again without --resume")


def _finetune(globals_: Globals, plan: Plan, workers: int, inputs: Any = None) -> None:
    from omp_cli.core.device import device_name, pick_device, use_threads
    from omp_cli.core.rl.held_out import EVALUATIONS
    from omp_cli.core.rl.loop import Finetuner
    from omp_cli.core.run import Run
    from omp_cli.core.train.trackers import METRICS

    settings, checkpoint = plan.settings, plan.checkpoint
    use_threads(settings.threads)
    device = pick_device(globals_.device_name)
    if globals_.dry_run:
        task = checkpoint.meta.spec.task
        show_dry_run(globals_, "finetune", plan.sources, task=task, workers=workers, device=str(device))
        return
    seeds = {"seed": settings.seed}
    read = inputs_of(checkpoint) if inputs is None else [(i.kind, i.path, i.sha256) for i in inputs]
    folder = plan.folder or run_folder(RUNS / "finetune", f"{settings.method.name}-{checkpoint.meta.spec.task}")
    how = (plan.sources, seeds, device_name(device), settings.threads)
    with (
        globals_.console.progress() as progress,
        Run(folder, "finetune", *how, new=not plan.resumed, inputs=read) as run,
    ):
        tuner = Finetuner(settings, checkpoint, run.folder, device, workers, progress, synchronise=globals_.verbose)
        if plan.resumed:
            progress.note(f"continuing at iteration {tuner.resume()} of {settings.iterations}")
        result = tuner.run()
        run.metrics(**result.figures)
        for path in (result.checkpoint, result.best, run.folder / METRICS, run.folder / EVALUATIONS):
            if path is not None:
                run.artifact(path)
    _report(globals_, run.folder, result.figures)
    done = result.figures["iterations"] - result.figures.get("resumed_at_iteration", 0)
    globals_.console.times("omp finetune", result.figures["seconds_by_part"], "iteration", done)


def inputs_of(checkpoint: Any) -> list[tuple[str, str, str]]:
    """The checkpoint, and the data set that it was trained on: ``omp eval`` shows the demonstrations' return."""
    from omp_cli.core.manifest import FILE_NAME, read_manifest

    found = [("checkpoint", str(checkpoint.path), checkpoint.sha256())]
    run = checkpoint.path.parent.parent
    if (run / FILE_NAME).is_file():
        found += [(i.kind, i.path, i.sha256) for i in read_manifest(run).inputs if i.kind == "dataset"]
    return found


def _report(globals_: Globals, folder: Path, figures: dict[str, Any]) -> None:
    shown = (
        "iterations",
        "env_steps",
        "train_seconds",
        "env_steps_per_second",
        "return",
        "successes",
        "recent_episodes",
    )
    shown = (*shown, "ratio", "kl", "clip_share", "explained_variance", "bc", "sigma", "worker_restarts")
    tables = [make_table("Fine-tuned", ("figure", "value"), [(n, figures[n]) for n in shown if n in figures])]
    if rows := figures.get("evaluations"):
        keys = [k for k in ("step", "env_steps", "train_seconds", "return", "successes", "episodes") if k in rows[-1]]
        body = [[row.get(key, 0) for key in keys] for row in rows]
        tables.append(make_table("Held-out episodes", keys, body))
    document = {"command": "finetune", "run_dir": str(folder), "manifest": str(folder / "manifest.json")}
    lines = [f"run: {folder}", f"next: omp eval {folder}"]
    globals_.console.result({**document, "result": figures}, tables, lines)
