"""``omp bench-latency``: how long a policy takes to decide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.commands.bench_latency_tables import remarks, tables
from omp_cli.commands.common import RUNS, Globals, base_layers, run_folder, show_dry_run

POLICY, EFFORT, CONFIG = "Policy", "Measuring", "Configuration"
DEFAULT_PRESET = "light"


def bench_latency(
    globals_: Globals,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder of a run or of a checkpoint.", rich_help_panel=POLICY)
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(help="Random weights; repeat it for a table. (default: light)", rich_help_panel=POLICY),
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Every preset, with the papers' figures.", rich_help_panel=POLICY)
    ] = False,
    weights: Annotated[
        str | None, typer.Option(help="Of a checkpoint: ema or raw. (default: ema)", rich_help_panel=POLICY)
    ] = None,
    nfe: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="Network evaluations; repeatable. (default: the policy's own)", rich_help_panel=EFFORT
        ),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Batch size; repeatable. (default: 1)", rich_help_panel=EFFORT)
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16, float16. (default: float32)", rich_help_panel=EFFORT)
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads. (default: 1)", rich_help_panel=EFFORT)
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="eager, compile, cudagraph, compile-cudagraph, aoti, onnx, all; repeatable. (default: eager, onnx)",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    calls: Annotated[
        int | None, typer.Option(min=1, help="Calls per block. (default: 100)", rich_help_panel=EFFORT)
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(min=1, help="Blocks, taken in turn. (default: 5)", rich_help_panel=EFFORT)
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Seconds per row. (default: 10)", rich_help_panel=EFFORT)] = None,
    parts: Annotated[
        bool | None, typer.Option(help="Parts and control tick. (default: one policy)", rich_help_panel=EFFORT)
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.", rich_help_panel=CONFIG)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value; repeatable.", rich_help_panel=CONFIG)
    ] = None,
) -> None:
    """Time a policy's decision: warm, synchronised, in repeated blocks, by every runtime; and what it is made of.

    Example: omp bench-latency --nfe 1

    Example: omp bench-latency --checkpoint runs/pretrain/RUN --nfe 1 --nfe 5 --backend all

    Example: omp bench-latency --table
    """
    from omp_cli.core import config as c
    from omp_cli.core.errors import UsageError
    from omp_cli.core.measure.latency.config import LatencyConfig

    flags = c.flag_layer(
        seed=globals_.seed,
        nfe=nfe or None,
        batch=batch or None,
        dtype=dtype,
        threads=threads,
        backend=backend or None,
        weights=weights,
        calls=calls,
        blocks=blocks,
        budget=budget,
        parts=parts,
    )
    values, layer_of = c.merge(base_layers(LatencyConfig, None, config, set_ or [], flags))
    settings = c.validated(LatencyConfig, values)
    if checkpoint is not None and (preset or table):
        raise UsageError("--checkpoint and --preset/--table: one or the other", "a table compares presets")
    if preset and table:
        raise UsageError("--preset and --table: one or the other", "a table has every preset; --preset can be repeated")
    if len(set(preset or [])) < len(preset or []):
        raise UsageError("--preset: one is named twice", "name each preset once")
    if weights is not None and checkpoint is None:
        raise UsageError("--weights: presets have fresh weights alone", "name a --checkpoint")
    _bench(globals_, settings, c.sources_of(settings, layer_of), checkpoint, preset or [], table)


def _bench(
    globals_: Globals, settings: Any, sources: dict[str, Any], path: Path | None, presets: list[str], table: bool
) -> None:
    from omp_cli.core.device import device_name, pick_device, use_threads
    from omp_cli.core.errors import UsageError
    from omp_cli.core.measure.latency import subjects as s
    from omp_cli.core.measure.latency.bench import bench_latency as run_bench
    from omp_cli.core.run import Run

    if path is not None:
        subjects = [s.from_checkpoint(path, settings.weights)]
        name = f"{subjects[0].spec.task}"
    else:
        subjects = s.from_presets(presets or ([] if table else [DEFAULT_PRESET]), settings.seed)
        name = subjects[0].name if len(subjects) == 1 else "table"
    if settings.parts and len(subjects) > 1:
        raise UsageError("--parts: these are the parts of one policy", "name one --preset or a --checkpoint")
    use_threads(settings.threads)
    device = pick_device(globals_.device_name)
    kind = "checkpoint" if path is not None else "presets"
    source = "argument" if path is not None or presets or table else "default"
    sources[kind] = {"value": ", ".join(subject.name for subject in subjects), "source": source}
    if globals_.dry_run:
        backends = ", ".join(settings.backends(len(subjects)))
        rows = [f"{x.label} (NFE {', '.join(map(str, settings.nfe or x.bench.nfe))})" for x in subjects]
        show_dry_run(globals_, "bench-latency", sources, rows=", ".join(rows), backends=backends, device=str(device))
        return
    folder = globals_.out or run_folder(RUNS / "bench-latency", name)
    seeds = {"seed": settings.seed}
    progress = globals_.console.progress()  # not entered: a live bar's thread would draw while calls are timed
    with Run(folder, "bench-latency", sources, seeds, device_name(device), settings.threads) as run:
        if subjects[0].checkpoint is not None:
            run.input("checkpoint", subjects[0].checkpoint.path, subjects[0].checkpoint.sha256())
        figures = run_bench(run, subjects, settings, device, progress)
    _report(globals_, run, figures)
    globals_.console.times("omp bench-latency", figures["seconds_by_part"], "row", len(figures["rows"]))


def _report(globals_: Globals, run: Any, figures: dict[str, Any]) -> None:
    machine = run.manifest.hardware
    where = machine.cpu if machine.device == "cpu" else machine.device
    conditions = f"{where}, {figures['dtype']}, {figures['threads']} CPU thread{'s' * (figures['threads'] > 1)}"
    document = {"command": "bench-latency", "run_dir": str(run.folder), "manifest": str(run.path), "result": figures}
    files = [f"{a.path.rpartition('.')[2]}: {run.folder / a.path}" for a in run.manifest.artifacts]
    globals_.console.result(document, tables(figures, conditions), [*remarks(figures), *files])
