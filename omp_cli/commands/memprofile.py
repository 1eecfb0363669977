"""``omp memprofile``: memory of a training step, and how exact its du/dt is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.commands.common import RUNS, Globals, base_layers, run_folder, show_dry_run
from omp_cli.console import make_table

GRID, COUNTING, CONFIG = "What is profiled", "How", "Configuration"
MIB, GB, NONE = 2**20, 1e9, "-"
FLOOR = "none"
Row = Mapping[str, Any]


def memprofile(
    globals_: Globals,
    preset: Annotated[
        list[str] | None,
        typer.Option(help="Of omp pretrain; repeatable. (default: light, omp-small)", rich_help_panel=GRID),
    ] = None,
    derivative: Annotated[
        list[str] | None,
        typer.Option(help="jvp, forward, dde, none (flow matching); repeatable. (default: all)", rich_help_panel=GRID),
    ] = None,
    horizon: Annotated[
        list[int] | None, typer.Option(min=1, help="Chunk length; repeatable. (default: 4, 16)", rich_help_panel=GRID)
    ] = None,
    points: Annotated[
        list[int] | None, typer.Option(min=1, help="Points per cloud; repeatable. (default: 512)", rich_help_panel=GRID)
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Windows per step; repeatable. (default: the preset's)", rich_help_panel=GRID),
    ] = None,
    net: Annotated[
        str | None, typer.Option(help="Another net: film-mlp, unet1d, residual-mlp.", rich_help_panel=GRID)
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="The rows of OMP's table: 256 M parameters.", rich_help_panel=GRID)
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Only the error of du/dt, on the weights of this run or checkpoint.", rich_help_panel=GRID),
    ] = None,
    measure: Annotated[
        bool, typer.Option(help="Measure, not only predict. (with --paper: on a GPU only)", rich_help_panel=COUNTING)
    ] = True,
    predict: Annotated[
        bool | None, typer.Option(help="Predict for CUDA too. (default: yes)", rich_help_panel=COUNTING)
    ] = None,
    accuracy: Annotated[
        bool | None,
        typer.Option(help="Error of du/dt over epsilon. (default: yes, with --paper no)", rich_help_panel=COUNTING),
    ] = None,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="The CUDA allocator's history, one file a row.", rich_help_panel=COUNTING)
    ] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.", rich_help_panel=CONFIG)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, pretrain.section.key=value; repeatable.", rich_help_panel=CONFIG),
    ] = None,
) -> None:
    """Memory of a training step by derivative, split into what stays and what comes and goes; error of du/dt.

    Each row says whether it was measured on CUDA, measured on the CPU, or predicted for CUDA.

    Example: omp memprofile

    Example: omp memprofile --preset omp-small --horizon 16 --points 1024 --set pretrain.encoder.two_pass=false

    Example: omp memprofile --paper
    """
    from omp_cli.core import config as c
    from omp_cli.core.errors import UsageError
    from omp_cli.core.measure.memory.cases import MemprofileConfig

    if paper and (preset or horizon or points or batch or net):
        raise UsageError("--paper has its own presets, horizons, points and batch size", "leave the other options out")
    if checkpoint and (preset or derivative or horizon or points or batch or net or paper or snapshot):
        raise UsageError("--checkpoint analyses the error of du/dt alone", "leave the options of the grid out")
    flags = c.flag_layer(
        seed=globals_.seed,
        presets=preset or None,
        derivatives=derivative or None,
        horizons=horizon or None,
        points=points or None,
        batches=batch or None,
        pretrain__net__name=net,
        predict=predict,
        accuracy=False if paper and accuracy is None else accuracy,
    )
    values, layer_of = c.merge(base_layers(MemprofileConfig, None, config, set_ or [], flags))
    settings = c.validated(MemprofileConfig, values)
    _profile(globals_, settings, c.sources_of(settings, layer_of), paper, checkpoint, measure, snapshot)


def _profile(
    globals_: Globals,
    settings: Any,
    sources: dict[str, Any],
    paper: bool,
    checkpoint: Path | None,
    measure: bool,
    snapshot: bool,
) -> None:
    from omp_cli.core.config import ON_THE_LINE
    from omp_cli.core.device import device_name, pick_device, use_threads
    from omp_cli.core.errors import UsageError
    from omp_cli.core.measure.memory.cases import grid
    from omp_cli.core.measure.memory.paper import paper_cases
    from omp_cli.core.measure.memory.report import profile_run
    from omp_cli.core.run import Run

    use_threads(settings.threads)
    device = pick_device(globals_.device_name)
    if snapshot and device.type != "cuda":
        raise UsageError("--snapshot needs a CUDA device: it is the CUDA allocator's history", "leave it out")
    measure = measure and (device.type == "cuda" or not paper)  # a step of 256 M parameters is no work for a CPU
    trained = _trained(globals_, checkpoint) if checkpoint else None
    if trained is not None:
        cases = []
        sources["checkpoint"] = {"value": str(trained[0].path), "source": "flag"}
    else:
        cases = paper_cases(settings.derivatives, settings.seed) if paper else grid(settings)
        blind = [case.name for case in cases if not case.describe()["points"]]
        if blind and sources["points"]["source"] in ON_THE_LINE:
            raise UsageError(f"--points: the policy of preset {blind[0]} sees no cloud", "leave --points out")
    if globals_.dry_run:
        kinds = ["measured"] * measure + ["predicted"] * settings.predict
        show_dry_run(globals_, "memprofile", sources, cases=len(cases), rows=" and ".join(kinds), device=str(device))
        return
    folder = globals_.out or run_folder(RUNS / "memprofile", "paper" if paper else "checkpoint" if trained else "grid")
    with (
        globals_.console.progress() as progress,
        Run(folder, "memprofile", sources, {"seed": settings.seed}, device_name(device), settings.threads) as run,
    ):
        if trained is not None:
            run.input("checkpoint", trained[0].path, trained[0].sha256())
        figures = profile_run(run, cases, settings, device, progress, measure, snapshot, trained)
    tables = (_paper_table if paper else _tables)(figures["rows"])
    tables += [_accuracy_table(analysis) for analysis in figures["accuracy"]]
    document = {"command": "memprofile", "run_dir": str(run.folder), "manifest": str(run.path), "result": figures}
    globals_.console.result(document, tables, [*_remarks(figures["rows"], paper), f"run: {run.folder}"])


def _trained(globals_: Globals, path: Path) -> tuple[Any, Any]:
    """The last checkpoint of a run and, where it is still there, the data set that it was trained on."""
    from omp_cli.core.checkpoint import open_run
    from omp_cli.core.data.store import read_store
    from omp_cli.core.errors import DataError
    from omp_cli.core.measure.report import demonstrations

    checkpoint = open_run(path)[-1]
    dataset = None
    with suppress(DataError):  # gone, or another one by now
        dataset = demonstrations(checkpoint)[0]
    found = "made-up observations" if dataset is None else f"observations from {dataset}"
    globals_.console.note(f"checkpoint: {checkpoint.path}; {found}")
    return checkpoint, None if dataset is None else read_store(dataset)


def _tables(rows: Sequence[Row]) -> list[Any]:
    """What stays, then what comes and goes, a table for each way of counting."""
    static: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        parts = [_mib(row["static"][kind]) for kind in ("weights", "gradients", "optimiser", "ema")]
        key = (row["name"], str(row["horizon"]), f"{row['parameters'] / 1e6:.2f}")
        static[key] = [*key, *parts, _mib(row["static_total"])]
    columns = ("preset", "H", "M parameters", "weights", "gradients", "optimiser", "EMA", "together")
    tables = [make_table("Static, MiB", columns, static.values())] if static else []
    for how in dict.fromkeys(row["how"] for row in rows):
        tables.append(_dynamic_table([row for row in rows if row["how"] == how], f"A training step, MiB: {how}"))
    return tables


def _dynamic_table(rows: Sequence[Row], title: str) -> Any:
    """Rows that were counted in one way; columns that it does not have are left out."""
    columns: dict[str, list[str]] = {
        "preset": [row["name"] for row in rows],
        "H": [str(row["horizon"]) for row in rows],
        "N": [str(row["points"] or NONE) for row in rows],
        "B": [_batch(row) for row in rows],
        "du/dt": [row["derivative"] for row in rows],
        "dynamic": [_mib(row["dynamic"]) for row in rows],
        "x floor": [_times(row.get("dynamic_ratio")) for row in rows],
        "kept": [_mib(row["kept_for_backward"]) for row in rows],
        "allocated": [_mib(row["peak_allocated"]) for row in rows],
        "reserved": [_mib(row["peak_reserved"]) for row in rows],
        "ms": [_number(row["step_ms"]) for row in rows],
        "time x floor": [_times(row.get("time_ratio")) for row in rows],
    }
    shown = {name: cells for name, cells in columns.items() if set(cells) != {NONE}}
    return make_table(title, tuple(shown), zip(*shown.values(), strict=True))


def _paper_table(rows: Sequence[Row]) -> list[Any]:
    """OMP's table with the sum taken apart, the published figures in grey; a table for each way of counting."""
    tables = []
    for how in dict.fromkeys(row["how"] for row in rows):
        some = [row for row in rows if row["how"] == how]
        columns: dict[str, list[str]] = {
            "task": [row["name"] for row in some],
            "H": [str(row["horizon"]) for row in some],
            "encoder": ["two-pass" if row["two_pass"] else "plain" for row in some],
            "du/dt": [row["derivative"] for row in some],
            "published": [NONE if row["published_gb"] is None else f"{row['published_gb']:.2f}" for row in some],
            "allocated": [_gb(row["peak_allocated"]) for row in some],
            "reserved": [_gb(row["peak_reserved"]) for row in some],
            "static": [_gb(row["static_total"]) for row in some],
            "dynamic": [_gb(row["dynamic"]) for row in some],
            "x floor": [_times(row.get("dynamic_ratio")) for row in some],
            "ms": [_number(row["step_ms"]) for row in some],
        }
        shown = {name: cells for name, cells in columns.items() if name == "published" or set(cells) != {NONE}}
        lines = zip(*shown.values(), strict=True)
        table = make_table(f"OMP's table of training memory (B = 128), GB = 10^9 bytes: {how}", tuple(shown), lines)
        table.columns[list(shown).index("published")].style = "dim"
        tables.append(table)
    return tables


def _accuracy_table(analysis: Row) -> Any:
    """Error of du/dt: a line per epsilon, a column per precision; the best of a column is marked."""
    rows = analysis["rows"]
    columns = ("du/dt", "epsilon", *(row["precision"] for row in rows))
    lines = [
        [
            *("dde", f"{epsilon:g}"),
            *(_error(row["dde"][i]) + (" *" if epsilon == analysis["best"][row["precision"]] else "") for row in rows),
        ]
        for i, epsilon in enumerate(analysis["epsilons"])
    ]
    lines += [[how, NONE, *(_error(row[how]) for row in rows)] for how in ("forward", "jvp")]
    where = f"{analysis['name']}, H = {analysis['horizon']}, {analysis['weights']}"
    return make_table(f"Relative error of du/dt against float64 ({where}; * best)", columns, lines)


def _remarks(rows: Sequence[Row], paper: bool) -> list[str]:
    """What the figures are and what they are not."""
    lines = []
    if rows:
        lines.append(
            "dynamic: peak above weights, gradients, optimiser and EMA; floor: plain flow matching (none); kept: at "
            "the end of the forward phase"
        )
    predicted = [row for row in rows if row["how"] == "predicted cuda"]
    if predicted:
        lines.append(
            "predicted cuda: the step on tensors without data, its allocations replayed through CUDA's caching "
            "allocator; without kernels' workspaces and the CUDA context"
        )
        shares = sorted({row["critical_share"] for row in predicted if row["critical_share"] is not None})
        if shares:
            lines.append(f"critical points taken as {_range(shares)} of a cloud, counted on random clouds and weights")
    errors = [row for row in rows if "error_dynamic" in row]
    for what in ("dynamic", "allocated", "reserved") if errors else ():
        worst = max((row[f"error_{what}"] for row in errors), key=abs)
        lines.append(f"prediction against measurement, {what}: off by at most {100 * worst:+.1f} %")
    if paper:
        from omp_cli.core.measure.memory.paper import TASKS

        lines += [task.assumed for task in TASKS if task.assumed]
        lines.append("the paper does not say whether it counts allocated, reserved or the process's memory")
    return lines


def _range(shares: Sequence[float]) -> str:
    low, high = f"{shares[0]:.2f}", f"{shares[-1]:.2f}"
    return low if low == high else f"{low} to {high}"


def _batch(row: Row) -> str:
    return f"{row['batch']}x{row['draws']}" if row["draws"] > 1 else str(row["batch"])


def _mib(size: int | None) -> str:
    return NONE if size is None else f"{size / MIB:.1f}" if size < 1000 * MIB else f"{size / MIB:.0f}"


def _gb(size: int | None) -> str:
    return NONE if size is None else f"{size / GB:.2f}"


def _times(ratio: float | None) -> str:
    return NONE if ratio is None else f"{ratio:.2f}"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _error(value: float | None) -> str:
    return NONE if value is None else "0" if value == 0 else f"{value:.1e}"
