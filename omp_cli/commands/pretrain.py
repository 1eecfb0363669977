"""``omp pretrain``: train a policy on a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from omp_cli import core
from omp_cli.commands.call import Call
from omp_cli.commands.chosen import Chosen
from omp_cli.commands.frame import command
from omp_cli.commands.inputs import DATASET, RUNS, DatasetArgument
from omp_cli.commands.options import option
from omp_cli.core.base.files import quoted
from omp_cli.core.base.manifest import FILE_NAME, Input
from omp_cli.core.base.presets import preset_layer, preset_names
from omp_cli.core.base.progress import Silent
from omp_cli.core.base.run import BEST
from omp_cli.core.data.store import read_store
from omp_cli.core.families import SUITES
from omp_cli.core.suites.base import with_displacements
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.tables import training_table

DEFAULT_PRESET = "light"
STEPS = "train.steps"
INPUTS = ("dataset", "teacher")


@command("pretrain", PretrainConfig, preset=DEFAULT_PRESET, together=True)
def pretrain(
    call: Call[PretrainConfig],
    dataset: DatasetArgument = None,
    preset: Annotated[
        str | None,
        option(
            "Named settings, such as light, dmpo or omp-paper, or a file of your own, mine.toml.",
            panel="Method",
            default=DEFAULT_PRESET,
            values=lambda: preset_names("pretrain"),
        ),
    ] = None,
    teacher: Annotated[
        Path | None, option("Run or checkpoint that the methods consistency and onedp distil.", panel="Method")
    ] = None,
    resume: Annotated[
        Path | None,
        option(
            "Continue this run, with --steps to a later end; a data set or --teacher beside it says where that is now.",
            panel="Optimisation",
        ),
    ] = None,
) -> None:
    """Train a one-step policy from demonstrations.

    Example: omp pretrain --derivative dde

    Example: torchrun --nproc-per-node 2 -m omp_cli pretrain data/metaworld/assembly-p512-d10-s0 --preset omp-paper
    """
    if resume is None:
        _train(call, _new_plan(call, preset, dataset, teacher))
        return
    if resume.name == FILE_NAME and resume.is_file():
        resume = resume.parent
    given = call.alone("--resume continues a run as it was configured, but for --steps", preset, but=(STEPS,))
    if (plan := _old_plan(call, resume, {"dataset": dataset, "teacher": teacher}, given.get(STEPS))) is not None:
        _train(call, plan)


@dataclass(frozen=True)
class TrainingPlan:
    """What to train, where and from which teacher.

    ``folder`` is that of a resumed run, None for a new run, which makes its own; ``before`` are the inputs that a
    resumed run has read.
    """

    chosen: Chosen[PretrainConfig]
    dataset: Path
    teacher: Path | None
    folder: Path | None = None
    before: Sequence[Input] = ()


def _new_plan(
    call: Call[PretrainConfig], preset: str | None, dataset: Path | None, teacher: Path | None
) -> TrainingPlan:
    """The plan of a new run."""
    if STEPS in call.flags.values:  # said on the line, it beats a preset that counts in epochs
        call.more["train.epochs"] = None
    chosen = call.settings(preset_layer("pretrain", preset or DEFAULT_PRESET))
    core.check_teacher(chosen.settings.method.name, teacher is not None)
    if teacher is not None:
        chosen.add("teacher", str(teacher), "flag")
    call.known(chosen)
    dataset = dataset or call.newest(DATASET)
    chosen.add("dataset", str(dataset), "argument")
    call.refuse_checkpoints()
    return TrainingPlan(chosen, dataset, teacher)


def _old_plan(
    call: Call[PretrainConfig], run: Path, given: Mapping[str, Path | None], steps: Any
) -> TrainingPlan | None:
    """The plan of a run that continues exactly as it was, or to a later end; ``given`` says where its inputs are now.

    None for a run that is finished, whose figures were shown.
    """
    change = None if steps is None else {STEPS: steps, "train.epochs": None}
    manifest, chosen = call.resumed(run, *INPUTS, change=change)
    if chosen is None:
        _show(call, run, manifest.metrics)
        return None
    if steps is not None:
        call.console.note(core.longer(run, manifest, chosen.settings.train))
    wanted = [kind for kind in INPUTS if kind in chosen.sources]
    paths = core.inputs_now(run, manifest.inputs, wanted, given)
    return TrainingPlan(chosen, paths["dataset"], paths.get("teacher"), run, manifest.inputs)


def _train(call: Call[PretrainConfig], plan: TrainingPlan) -> None:
    settings, resumed = plan.chosen.settings, plan.folder is not None
    device = call.device(settings.threads)
    core.check_compile(settings)
    data = read_store(plan.dataset)
    if settings.train.turn:
        data = replace(data, spec=with_displacements(data.spec, data.provenance["recipe"]["suite"]))
    if data.single_frames:
        call.console.note(f"data set {plan.dataset}: each of its episodes has one frame; no action follows another")
    core.check_same(plan.before, "dataset", plan.dataset, data.sha256)
    inputs, teacher = [("dataset", plan.dataset, data.sha256)], None
    if plan.teacher is not None:
        newest = core.open_run(plan.teacher)[-1]
        inputs.append(("teacher", newest.path, newest.sha256()))
        core.check_same(plan.before, *inputs[-1])
        teacher = core.load_teacher(newest, settings, data.spec, device)
    if call.globals.dry_run:
        expected, remark = core.expected(settings, data)
        if remark is not None:
            call.console.note(remark)
        call.dry_run(plan.chosen, **expected, device=str(device))
        return
    with core.world(device) as peers:
        if not peers.is_main:  # the first process alone prints, writes and needs the folder
            trainer = core.Trainer(settings, data, plan.folder or RUNS, device, peers, Silent(), teacher)
            core.train_run(None, trainer, resumed)
            return
        where = plan.folder or f"{settings.method.name}-{plan.dataset.resolve().name.removesuffix('.zarr')}"
        with call.run(plan.chosen, where, device, inputs, resumed) as (run, progress):
            trainer = core.Trainer(
                settings, data, run.folder, device, peers, progress, teacher, synchronise=call.globals.verbose
            )
            figures = core.train_run(run, trainer, resumed)
    _show(call, run.folder, figures)
    steps = figures["steps"] - figures.get("resumed_at_step", 0)
    call.console.times("omp pretrain", figures["seconds_by_part"], "step", steps)


def _show(call: Call[PretrainConfig], folder: Path, figures: dict[str, Any]) -> None:
    suite = core.open_run(folder)[-1].meta.suite["name"]
    real = suite in SUITES.names() and not SUITES.get(suite).simulated
    evaluation = "omp eval --offline" if real else "omp eval"
    found = folder.resolve().is_relative_to(RUNS.resolve())  # else the newest that omp eval takes is another one
    which = "" if found else f" {quoted(folder)}"
    which += " --on train" if real and "held_out" not in figures else ""
    lines = [f"run: {folder}", f"next: {evaluation}{which}"]
    if (best := figures.get("best_step")) is not None:
        lines.insert(1, f"best on held-out episodes: step {best}, {evaluation} {quoted(folder / BEST)}")
    call.result(folder, figures, [training_table(figures)], lines)
