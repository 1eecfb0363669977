"""``omp memprofile``: memory of a training step, and how exact its du/dt is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from omp_cli import core
from omp_cli.commands.call import Call
from omp_cli.commands.frame import command
from omp_cli.commands.options import option
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.layers import Layer
from omp_cli.core.data.store import Dataset, read_store
from omp_cli.core.measure.memory.config import MemprofileConfig
from omp_cli.core.measure.memory.tables import accuracy_table, grid_tables, paper_tables, remarks

GRID, COUNTING = "What is profiled", "How"
OF_THE_GRID = ("presets", "horizons", "points", "batches", "pretrain", "action_dim", "state_dim", "image")


@command("memprofile", MemprofileConfig)
def memprofile(
    call: Call[MemprofileConfig],
    paper: Annotated[
        bool, option("Profile the rows of OMP's table, of 256 M parameters.", "--paper", panel=GRID)
    ] = False,
    checkpoint: Annotated[
        Path | None, option("Only the error of du/dt, on the weights of this run or checkpoint.", panel=GRID)
    ] = None,
    measure: Annotated[
        bool, option("Whether rows are measured, not only predicted; with --paper on a GPU alone.", panel=COUNTING)
    ] = True,
    snapshot: Annotated[
        bool, option("Write the CUDA allocator's history, one file for each row.", "--snapshot", panel=COUNTING)
    ] = False,
) -> None:
    """Measure a training step's memory by derivative, what stays and what comes and goes; and the error of du/dt.

    Each row says whether it was measured on CUDA, measured on the CPU, or predicted for CUDA.

    Example: omp memprofile

    Example: omp memprofile --preset omp-small --horizon 16 --points 1024 --set pretrain.encoder.two_pass=false

    Example: omp memprofile --paper
    """
    chosen = call.settings(Layer("--paper", {"accuracy": False}) if paper else None)
    if checkpoint and (chosen.on_the_line(*OF_THE_GRID, "derivatives", "repeats") or paper or snapshot):
        raise UsageError("--checkpoint analyses the error of du/dt alone", "leave the options of the grid out")
    if paper and (own := chosen.on_the_line(*OF_THE_GRID)):
        what = f"--paper has its own presets, horizons, points and batch size; {own[0]} does not count"
        raise UsageError(what, "leave the other options out")
    settings = chosen.settings
    if checkpoint and (not measure or chosen.on_the_line("predict")):
        raise UsageError("--checkpoint has no rows to measure or predict", "leave --no-measure and --no-predict out")
    device = call.device(settings.threads)
    if snapshot and device.type != "cuda":
        raise UsageError("--snapshot needs a CUDA device: it is the CUDA allocator's history", "leave it out")
    if snapshot and not measure:
        raise UsageError("--snapshot is written of what is measured", "leave --no-measure or --snapshot out")
    measure = measure and (device.type == "cuda" or not paper)  # a step of 256 M parameters is no work for a CPU
    trained = _trained(call, checkpoint) if checkpoint else None
    if trained is not None:
        cases = []
        chosen.add("checkpoint", str(trained[0].path), "flag")
    else:
        cases = core.paper_cases(settings.derivatives, settings.seed) if paper else core.grid(settings)
        blind = [case.name for case in cases if not case.describe()["points"]]
        if blind and chosen.on_the_line("points"):
            raise UsageError(f"--points: the policy of preset {blind[0]} sees no cloud", "leave --points out")
    kinds = _counted(call, cases, settings, measure)
    if call.dry_run(chosen, cases=len(cases), rows=" and ".join(kinds) or "none", device=str(device)):
        return
    name = "paper" if paper else "checkpoint" if trained else "grid"
    with call.run(chosen, name, device) as (run, progress):
        if trained is not None:
            run.input("checkpoint", trained[0].path, trained[0].sha256())
        figures = core.profile_run(run, cases, settings, device, progress, measure, snapshot, trained)
    tables = (paper_tables if paper else grid_tables)(figures["rows"])
    tables += [accuracy_table(analysis) for analysis in figures["accuracy"]]
    assumed = [task.assumed for task in core.TASKS if task.assumed] if paper else []
    call.result(run.folder, figures, tables, [*remarks(figures["rows"], assumed), f"run: {run.folder}"])


def _counted(
    call: Call[MemprofileConfig], cases: Sequence[core.Case], settings: MemprofileConfig, measure: bool
) -> list[str]:
    """How rows are counted; told where they cannot be predicted. A checkpoint has no cases, only the error of du/dt.

    Raises:
        UsageError: neither rows nor the error of du/dt are left.
    """
    kinds = dict.fromkeys(kind for case in cases for kind in case.counted(measure, settings.predict))
    if unpredicted := dict.fromkeys(case.name for case in cases if settings.predict and not case.predictable):
        call.console.note(f"{', '.join(unpredicted)}: bf16 is {'measured, ' * measure}not predicted")
    if not kinds and not (settings.accuracy and (not cases or any(case.derivative != "none" for case in cases))):
        raise UsageError("nothing is left to profile", "leave one of --no-measure, --no-predict, --no-accuracy out")
    return list(kinds)


def _trained(call: Call[MemprofileConfig], path: Path) -> tuple[core.Checkpoint, Dataset | None]:
    """The last checkpoint of a run and, where it is still there, the data set that it was trained on."""
    checkpoint = core.open_run(path)[-1]
    dataset = None
    with suppress(DataError):  # gone, or another one by now
        dataset = checkpoint.dataset()[0]
    found = "made-up observations" if dataset is None else f"observations from {dataset}"
    call.console.note(f"checkpoint: {checkpoint.path}; {found}")
    return checkpoint, None if dataset is None else read_store(dataset)
