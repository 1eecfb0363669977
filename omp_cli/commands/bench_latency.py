"""``omp bench-latency``: how long a policy takes to decide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from omp_cli import core
from omp_cli.commands.call import Call, files
from omp_cli.commands.frame import command
from omp_cli.commands.options import argument, option
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.presets import preset_names
from omp_cli.core.measure.latency.config import LatencyConfig
from omp_cli.core.measure.latency.tables import remarks, tables

PANEL = "Policy"
DEFAULT_PRESET = "light"


@command("bench-latency", LatencyConfig)
def bench_latency(
    call: Call[LatencyConfig],
    policy: Annotated[
        Path | None,
        argument("Folder of a run or of a checkpoint, as with --checkpoint.", "a preset", metavar="RUN_OR_CHECKPOINT"),
    ] = None,
    checkpoint: Annotated[Path | None, option("Folder of a run or of a checkpoint.", panel=PANEL)] = None,
    preset: Annotated[
        list[str] | None,
        option(
            "Preset of omp pretrain, or a file of your own, with random weights; repeat it for a table.",
            panel=PANEL,
            default=DEFAULT_PRESET,
            values=lambda: preset_names("pretrain"),
        ),
    ] = None,
    table: Annotated[
        bool, option("Time every preset, and show the papers' figures beside them.", "--table", panel=PANEL)
    ] = False,
) -> None:
    """Time a policy's decision, warmed up and synchronised, in repeated blocks, by every runtime; and its parts.

    Example: omp bench-latency --nfe 1

    Example: omp bench-latency runs/pretrain/RUN --nfe 1 --nfe 5 --backend all

    Example: omp bench-latency --table
    """
    if policy is not None and checkpoint is not None:
        raise UsageError("--checkpoint: a policy is named twice", "name it once: omp bench-latency RUN")
    checkpoint = policy or checkpoint
    if checkpoint is not None and (preset or table):
        raise UsageError("RUN or --checkpoint, and --preset or --table: one or the other", "a table compares presets")
    if preset and table:
        raise UsageError("--preset and --table: one or the other", "a table has every preset; --preset can be repeated")
    if len(set(preset or [])) < len(preset or []):
        raise UsageError("--preset: one is named twice", "name each preset once")
    chosen = call.settings()
    if checkpoint is None and chosen.on_the_line("weights"):
        raise UsageError("--weights: presets have fresh weights alone", "name a run or a checkpoint")
    settings = chosen.settings
    if checkpoint is not None:
        subjects = [core.from_checkpoint(checkpoint, settings.weights)]
    else:  # a table without names has all presets
        subjects = core.from_presets(preset or ([] if table else [DEFAULT_PRESET]), settings.seed)
    if settings.parts and len(subjects) > 1:
        raise UsageError("--parts: these are the parts of one policy", "name one --preset or a run")
    device = call.device(settings.threads)
    core.check_tf32("dtype", settings.dtype, device)
    backends = settings.backends(len(subjects), tuple(core.BACKENDS), device.type == "cuda")
    given = checkpoint is not None or preset or table
    names = ", ".join(subject.name for subject in subjects)
    chosen.add("presets" if checkpoint is None else "checkpoint", names, "argument" if given else "default")
    rows = [f"{x.label} (NFE {', '.join(map(str, settings.nfe or x.nfe))})" for x in subjects]
    if call.dry_run(chosen, rows=", ".join(rows), backends=", ".join(backends), device=str(device)):
        return
    task = subjects[0].spec.task if checkpoint is not None else subjects[0].name
    where = task if len(subjects) == 1 else "table"
    with call.run(chosen, where, device, bar=False) as (run, progress):
        if subjects[0].checkpoint is not None:
            run.input("checkpoint", subjects[0].checkpoint.path, subjects[0].checkpoint.sha256())
        figures = core.bench_latency(run, subjects, settings, device, progress)
    call.result(run.folder, figures, tables(figures), [*remarks(figures), *files(run)])
    call.console.times("omp bench-latency", figures["seconds_by_part"], "row", len(figures["rows"]))
