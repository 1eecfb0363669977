"""``omp pretrain``: train a policy on a data set."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.commands.common import (
    DATA,
    RUNS,
    Globals,
    base_layers,
    check_free,
    newest,
    run_folder,
    settings_known,
    show_dry_run,
)
from omp_cli.console import make_table

METHOD, OPTIM, CONFIG = "Method", "Optimisation", "Configuration"
WHERE = {
    "dataset": "say where that is now: omp pretrain DATASET --resume RUN",
    "teacher": "say where that is now: omp pretrain --teacher RUN_OR_CHECKPOINT --resume RUN",
}
"""How a resumed run is told of an input that has moved."""


def pretrain(
    globals_: Globals,
    dataset: Annotated[
        Path | None, typer.Argument(help="Data set. (default: the newest of omp prepare; resumed: the run's)")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="light, dmpo, dmpo-state, omp-paper, ... (default: light)", rich_help_panel=METHOD),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="omp, mp1, dmpo, meanflow, imf, reflow, shortcut, flowpolicy, dp, dp3, diffusion, gaussian; with "
            "--teacher consistency, onedp. Another method than the preset's takes over none of its settings.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Run or checkpoint that consistency and onedp distil.", rich_help_panel=METHOD)
    ] = None,
    derivative: Annotated[
        str | None, typer.Option(help="du/dt by jvp, forward or dde.", rich_help_panel=METHOD)
    ] = None,
    epsilon: Annotated[
        str | None, typer.Option(help="Half width of dde's difference; auto measures it.", rich_help_panel=METHOD)
    ] = None,
    lambda_da: Annotated[
        float | None, typer.Option(help="Weight of directional alignment.", rich_help_panel=METHOD)
    ] = None,
    lambda_disp: Annotated[
        float | None,
        typer.Option(help="Weight of dispersion (MeanFlow, imf, reflow, shortcut).", rich_help_panel=METHOD),
    ] = None,
    net: Annotated[str | None, typer.Option(help="film-mlp, unet1d, residual-mlp.", rich_help_panel=METHOD)] = None,
    encoder: Annotated[
        str | None, typer.Option(help="pointcloud, light-vit, resnet18, state.", rich_help_panel=METHOD)
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.", rich_help_panel=OPTIM)] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Windows per step.", rich_help_panel=OPTIM)] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.", rich_help_panel=OPTIM)] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16.", rich_help_panel=OPTIM)] = None,
    compile_: Annotated[
        bool | None, typer.Option("--compile", help="Compile the network (dde only).", rich_help_panel=OPTIM)
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Continue this run; a data set or --teacher beside it says where that is now.", rich_help_panel=OPTIM
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.", rich_help_panel=CONFIG)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value; repeatable.", rich_help_panel=CONFIG)
    ] = None,
) -> None:
    """Train a one-step policy from demonstrations.

    Example: omp pretrain --derivative dde

    Example: torchrun --nproc-per-node 2 -m omp_cli pretrain data/metaworld/assembly-p512-d10-s0 --preset omp-paper
    """
    from omp_cli.core import config as c
    from omp_cli.core.errors import UsageError
    from omp_cli.core.manifest import read_manifest
    from omp_cli.core.train.config import PretrainConfig

    flags = c.flag_layer(
        seed=globals_.seed,
        method__name=method,
        method__derivative=derivative,
        method__epsilon=None if epsilon is None else c.parse_value(epsilon),
        method__alignment__weight=lambda_da,
        method__dispersion__weight=lambda_disp,
        net__name=net,
        encoder__name=encoder,
        train__steps=steps,
        train__batch_size=batch_size,
        train__lr=lr,
        train__precision=precision,
        train__compile=compile_,
    )
    if steps is not None:  # said on the line, it beats a preset that counts in epochs
        flags = c.Layer("flag", {**flags.values, "train.epochs": None})
    if resume is None:
        preset_layer = c.preset_layer("pretrain", preset or "light")
        values, layer_of = c.merge(base_layers(PretrainConfig, preset_layer, config, set_ or [], flags))
        _train(globals_, _new_plan(globals_, c.validated(PretrainConfig, values), layer_of, dataset, teacher))
        return
    if flags.values or config or set_ or preset or globals_.out:
        raise UsageError("--resume continues a run as it was configured", "leave the other settings out")
    manifest = read_manifest(resume)
    if manifest.command != "pretrain":
        raise UsageError(f"{resume}: a run of omp {manifest.command}, not of omp pretrain")
    if manifest.status == "succeeded":
        globals_.console.note(f"{resume} is finished; nothing to do")
        _report(globals_, resume, manifest.metrics)
    else:
        check_free(resume)
        _train(globals_, _old_plan(resume, manifest, {"dataset": dataset, "teacher": teacher}))


@dataclass(frozen=True)
class Plan:
    """What to train, where and from which teacher.

    ``folder`` None means one of the run's own, made when it begins; ``content`` are the hashes that a resumed run's
    inputs had.
    """

    settings: Any
    sources: dict[str, Any]
    dataset: Path
    teacher: Path | None
    folder: Path | None
    content: dict[str, str] | None = None

    def check(self, kind: str, path: Path, sha256: str) -> None:
        """DataError when an input of a resumed run is not what the run began with."""
        from omp_cli.core.errors import DataError

        if self.content is not None and self.content[kind] != sha256:
            raise DataError(f"{kind} {path}: has another content than the one the run began with", WHERE[kind])


def _new_plan(
    globals_: Globals, settings: Any, layer_of: dict[str, str], given: Path | None, teacher: Path | None
) -> Plan:
    """A run in a folder of its own."""
    from omp_cli.core import config as c
    from omp_cli.core.policy import check_teacher
    from omp_cli.core.run import refuse_checkpoints

    check_teacher(settings.method.name, teacher is not None)
    sources = c.sources_of(settings, layer_of)
    if teacher is not None:
        sources |= {"teacher": {"value": str(teacher), "source": "flag"}}
    settings_known(globals_, sources)
    dataset = _dataset(globals_, given)
    sources |= {"dataset": {"value": str(dataset), "source": "argument"}}
    if globals_.out is not None:
        refuse_checkpoints(globals_.out)
    return Plan(settings, sources, dataset, teacher, globals_.out)


def _dataset(globals_: Globals, given: Path | None) -> Path:
    """The data set asked for, or the newest that ``omp prepare`` finished below data/."""
    return given or newest(globals_, DATA, ("prepare",), "data set", "make one with: omp prepare metaworld")


def _old_plan(run: Path, manifest: Any, given: dict[str, Path | None]) -> Plan:
    """A run that is to continue exactly as it was; ``given`` says where its inputs are now."""
    from omp_cli.core import config as c
    from omp_cli.core.errors import UsageError
    from omp_cli.core.train.config import PretrainConfig

    sources = {key: value.model_dump() for key, value in manifest.config.items()}
    wanted = [key for key in ("dataset", "teacher") if key in sources]
    flat = {key: value.value for key, value in manifest.config.items() if key not in wanted}
    found = {i.kind: i for i in manifest.inputs}
    if any(kind not in found for kind in wanted):
        raise UsageError(f"{run}: ended before it had read its data set", "start it again without --resume")
    for kind, path in given.items():
        if path is not None and kind not in wanted:
            raise UsageError(f"{run}: has no {kind}", "leave it out")
    paths = {kind: given[kind] or _found(run, found[kind]) for kind in wanted}
    settings = c.validated(PretrainConfig, c.unflatten(flat))
    content = {kind: found[kind].sha256 for kind in wanted}
    return Plan(settings, sources, paths["dataset"], paths.get("teacher"), run, content)


def _found(run: Path, read: Any) -> Path:
    """Where an input of a run is now: the first place with the content that the run began with, else as recorded."""
    from omp_cli.core.checkpoint import open_run
    from omp_cli.core.data.store import read_attributes
    from omp_cli.core.errors import DataError
    from omp_cli.core.run import whereabouts

    places = list(whereabouts(run, read.path))
    for place in places:
        with suppress(DataError):  # something else of that name
            same = read_attributes(place)["content_sha256"] if read.kind == "dataset" else open_run(place)[-1].sha256()
            if same == read.sha256:
                return place
    if not places:
        raise DataError(f"{read.kind} {read.path}: no such file or folder, nor is it near {run}", WHERE[read.kind])
    return places[0]


def _train(globals_: Globals, plan: Plan) -> None:
    from omp_cli.core.checkpoint import open_run
    from omp_cli.core.data.store import read_store
    from omp_cli.core.device import device_name, pick_device, use_threads
    from omp_cli.core.progress import Silent
    from omp_cli.core.run import Run
    from omp_cli.core.suites.base import with_displacements
    from omp_cli.core.train.distributed import local_device, world
    from omp_cli.core.train.loop import Trainer, build_policy, check_compile
    from omp_cli.core.train.teacher import load_teacher
    from omp_cli.core.train.trackers import METRICS

    settings, resumed = plan.settings, plan.content is not None
    use_threads(settings.threads)
    device = pick_device(local_device(globals_.device_name))
    check_compile(settings)
    data = read_store(plan.dataset)
    if settings.train.turn:
        data = replace(data, spec=with_displacements(data.spec, data.provenance["recipe"]["suite"]))
    plan.check("dataset", plan.dataset, data.sha256)
    inputs, teacher = [("dataset", plan.dataset, data.sha256)], None
    if plan.teacher is not None:
        newest = open_run(plan.teacher)[-1]
        inputs.append(("teacher", newest.path, newest.sha256()))
        plan.check(*inputs[-1])
        teacher = load_teacher(newest, settings, data.spec, device)
    if globals_.dry_run:
        policy = build_policy(settings, data)
        size = sum(p.numel() for p in policy.parameters())
        frames = int(data.episode_ends[-1])
        total = settings.train.total_steps(frames)
        if (remark := settings.train.remark(frames)) is not None:
            globals_.console.note(remark)
        show_dry_run(
            globals_, "pretrain", plan.sources, parameters=size, frames=frames, steps=total, device=str(device)
        )
        return
    with world(device) as peers, globals_.console.progress() as progress:
        if not peers.is_main:  # the first process alone prints, writes and needs the folder
            _run(Trainer(settings, data, plan.folder or RUNS, device, peers, Silent(), teacher), resumed)
            return
        seeds = {"seed": settings.seed}
        name = f"{settings.method.name}-{plan.dataset.resolve().name.removesuffix('.zarr')}"
        folder = plan.folder or run_folder(RUNS / "pretrain", name)
        how = (plan.sources, seeds, device_name(device), settings.threads)
        with Run(folder, "pretrain", *how, new=not resumed, inputs=inputs) as run:
            trainer = Trainer(settings, data, run.folder, device, peers, progress, teacher, globals_.verbose)
            result = _run(trainer, resumed)
            run.metrics(**result.figures)
            run.artifact(result.checkpoint)
            run.artifact(run.folder / METRICS)
    _report(globals_, run.folder, result.figures)
    steps = result.figures["steps"] - result.figures.get("resumed_at_step", 0)
    globals_.console.times("omp pretrain", result.figures["seconds_by_part"], "step", steps)


def _run(trainer: Any, resumed: bool) -> Any:
    if resumed:
        trainer.progress.note(f"continuing at step {trainer.resume()} of {trainer.total}")
    return trainer.run()


def _report(globals_: Globals, folder: Path, figures: dict[str, Any]) -> None:
    left_out = {"lr", "processes", *(name for name in figures if name.startswith("grad_"))} - {"grad_norm"}
    shown = {name: value for name, value in figures.items() if name not in left_out and not isinstance(value, dict)}
    rows = [(name.replace("share_", "share of gradient: "), value) for name, value in shown.items()]
    document = {"command": "pretrain", "run_dir": str(folder), "manifest": str(folder / "manifest.json")}
    lines = [f"run: {folder}", "next: omp eval"]
    globals_.console.result({**document, "result": figures}, [make_table("Trained", ("figure", "value"), rows)], lines)
