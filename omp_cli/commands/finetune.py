"""``omp finetune``: improve a policy by reinforcement learning in its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from omp_cli import core
from omp_cli.commands.call import Call, Input
from omp_cli.commands.chosen import Chosen
from omp_cli.commands.frame import command
from omp_cli.commands.inputs import PRETRAINED, workers
from omp_cli.commands.options import argument, option
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import quoted
from omp_cli.core.base.layers import Layer, merge
from omp_cli.core.base.presets import preset_layer, preset_names
from omp_cli.core.base.processes import default_workers
from omp_cli.core.rl.config import FinetuneConfig
from omp_cli.core.rl.tables import tuning_tables


@command("finetune", FinetuneConfig, preset="")
def finetune(
    call: Call[FinetuneConfig],
    checkpoint: Annotated[
        Path | None, argument("Folder of a run or of a checkpoint.", PRETRAINED.words, metavar="RUN_OR_CHECKPOINT")
    ] = None,
    preset: Annotated[
        str | None,
        option(
            "Named settings, such as gym-dmpo or dmpo-lift-paper.",
            panel="Algorithm",
            default="the one for the suite and the algorithm",
            values=lambda: preset_names("finetune"),
        ),
    ] = None,
    processes: Annotated[int | None, workers("Optimisation")] = None,
    method: Annotated[str | None, option("The earlier name of --algorithm.", "--method", hidden=True)] = None,
    resume: Annotated[
        Path | None,
        option("Continue this run, with --iterations or --minutes to another end.", panel="Optimisation"),
    ] = None,
) -> None:
    """Fine-tune a policy by PPO (or FQL) in the environment of its demonstrations.

    Example: omp finetune

    Example: omp finetune runs/pretrain/RUN --nfe 1 --minutes 10, then omp eval RUN
    """
    if method is not None:  # as omp 0.2 called it
        if "algorithm.name" in call.flags.values:
            raise UsageError("--method is the earlier name of --algorithm", "give one of them")
        call.more["algorithm.name"] = method
    if resume is None:
        if call.globals.start is not None:
            call.known(_chosen(call, *call.globals.start, preset))
        plan: TuningPlan | None = _new_plan(call, checkpoint or call.newest(PRETRAINED), preset)
    else:
        reason = "--resume continues a run as it was configured, but for --iterations and --minutes"
        plan = _old_plan(call, resume, call.alone(reason, preset, checkpoint, but=("iterations", "minutes")))
    if plan is not None:
        _finetune(call, plan, processes or default_workers())


@dataclass(frozen=True)
class TuningPlan:
    """What to fine-tune and where; ``folder`` is that of a resumed run, None for a new run, which makes its own."""

    chosen: Chosen[FinetuneConfig]
    checkpoint: core.Checkpoint
    inputs: list[Input]
    folder: Path | None = None


def _new_plan(call: Call[FinetuneConfig], path: Path, preset: str | None) -> TuningPlan:
    """The plan of a new run."""
    found = core.open_run(path)[-1]
    chosen = _chosen(call, found.meta.spec.suite, found.config().method.name, preset)
    if chosen.settings.nfe is None:
        nfe, by_algorithm = core.usual_chain(chosen.settings, found)
        chosen.settings = chosen.settings.model_copy(update={"nfe": nfe})
        source = f"algorithm {chosen.settings.algorithm.name}" if by_algorithm else found.layer.source
        chosen.add("nfe", nfe, source)
    core.check_fits(chosen.settings, found)
    chosen.refuse(core.passed_over(chosen.settings, found))
    chosen.add("checkpoint", str(found.path), "argument")
    call.refuse_checkpoints()
    return TuningPlan(chosen, found, core.read_by(found))


def _chosen(call: Call[FinetuneConfig], suite: str, trained: str, preset: str | None) -> Chosen[FinetuneConfig]:
    """The settings by which a policy of the pre-training method ``trained`` is fine-tuned in ``suite``."""
    own = Layer("checkpoint", {"algorithm.name": core.algorithm_for(trained)})
    asked = merge(call.layers(own))[0]["algorithm"]["name"]
    name = preset or next((n for n in (f"{suite}-{asked}", suite) if n in preset_names("finetune")), None)
    chosen = call.settings(own, None if name is None else preset_layer("finetune", name))
    core.check_algorithm(chosen.settings, trained)
    return chosen


def _old_plan(call: Call[FinetuneConfig], run: Path, end: Mapping[str, Any]) -> TuningPlan | None:
    """The plan of a run that continues as it was, or to another ``end``; None for a finished one, whose figures were
    shown.
    """
    manifest, chosen = call.resumed(run, "checkpoint", change=end)
    if chosen is None:
        _show(call, run, manifest.metrics)
        return None
    if end:
        core.check_goes_on(run, manifest, chosen.settings)
    read = [(i.kind, Path(i.path), i.sha256) for i in manifest.inputs]
    return TuningPlan(chosen, core.start_of(run, manifest), read, run)


def _finetune(call: Call[FinetuneConfig], plan: TuningPlan, processes: int) -> None:
    settings, task = plan.chosen.settings, plan.checkpoint.meta.spec.task
    device = call.device(settings.threads)
    if call.dry_run(plan.chosen, task=task, workers=processes, device=str(device)):
        return
    resumed, where = plan.folder is not None, plan.folder or f"{settings.algorithm.name}-{task}"
    with call.run(plan.chosen, where, device, plan.inputs, resumed) as (run, progress):
        finetuner = core.Finetuner(
            settings, plan.checkpoint, run.folder, device, processes, progress, synchronise=call.globals.verbose
        )
        figures = core.finetune_run(run, finetuner, resumed)
    _show(call, run.folder, figures)
    done = figures["iterations"] - figures.get("resumed_at_iteration", 0)
    call.console.times("omp finetune", figures["seconds_by_part"], "iteration", done)


def _show(call: Call[FinetuneConfig], folder: Path, figures: dict[str, Any]) -> None:
    lines = [f"run: {folder}", f"next: omp eval {quoted(folder)}"]
    call.result(folder, figures, tuning_tables(figures), lines)
