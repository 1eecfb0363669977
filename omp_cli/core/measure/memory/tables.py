"""The tables of a profile of training memory, made from the figures of its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omp_cli.core.base.table import NONE, Table, table_of

MIB, GB = 2**20, 1e9
Figures = Mapping[str, Any]


def grid_tables(rows: Sequence[Figures]) -> list[Table]:
    """What stays, then what comes and goes, a table for each way of counting."""
    static: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        parts = [_mib(row["static"][kind]) for kind in ("weights", "gradients", "optimiser", "ema")]
        key = (row["name"], str(row["horizon"]), f"{row['parameters'] / 1e6:.2f}")
        static[key] = [*key, *parts, _mib(row["static_total"])]
    columns = ("preset", "H", "M parameters", "weights", "gradients", "optimiser", "EMA", "together")
    tables = [Table("Static, MiB", columns, list(static.values()))] if static else []
    for how in dict.fromkeys(row["how"] for row in rows):
        tables.append(_dynamic_table([row for row in rows if row["how"] == how], f"A training step, MiB: {how}"))
    return tables


def _dynamic_table(rows: Sequence[Figures], title: str) -> Table:
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
    return table_of(title, columns)


def paper_tables(rows: Sequence[Figures]) -> list[Table]:
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
        title = f"OMP's table of training memory (B = 128), GB = 10^9 bytes: {how}"
        tables.append(table_of(title, columns, always=("published",)))
        tables[-1].grey_columns = {"published"}
    return tables


def accuracy_table(analysis: Figures) -> Table:
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
    return Table(f"Relative error of du/dt against float64 ({where}; * best)", columns, lines)


def remarks(rows: Sequence[Figures], assumed: Sequence[str] = ()) -> list[str]:
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
    if assumed:
        lines += assumed
        lines.append("the paper does not say whether it counts allocated, reserved or the process's memory")
    return lines


def _range(shares: Sequence[float]) -> str:
    low, high = f"{shares[0]:.2f}", f"{shares[-1]:.2f}"
    return low if low == high else f"{low} to {high}"


def _batch(row: Figures) -> str:
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
