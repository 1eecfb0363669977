"""The table of an evaluation, made from the figures of its manifest."""

from __future__ import annotations

from typing import Any

from omp_cli.core.base.statistics import counted
from omp_cli.core.base.table import Table

HEAD = ("task", "step", "weights", "NFE")


def evaluation_table(figures: dict[str, Any]) -> Table:
    """A row per checkpoint, the last one's at the end."""
    rows = [*figures.get("curve", []), figures]
    return _table_of_returns(rows) if "return" in figures else _table_of_success(rows)


def evaluation_lines(figures: dict[str, Any]) -> list[str]:
    """What is said beside the table: noise of another scale, ways taken, return of the demonstrations."""
    lines = [f"ways taken: {_ways(figures['modes'])}"] if "modes" in figures else []
    if (scale := figures.get("noise_scale", 1)) != 1:  # which an earlier omp did not say
        lines.append(f"decisions began with {scale:g} times the noise of training")
    if "demonstrations" in figures:
        shown, name = figures["demonstrations"], figures.get("counts", "return")
        lines.append(f"{name} of the demonstrations: mean {shown['mean']}, {shown['min']} .. {shown['max']}")
    return lines


def _ways(modes: dict[str, Any]) -> str:
    def data(row: dict[str, Any]) -> str:
        return "" if row["data"] is None else f", data {row['data']:.2f}"

    return "; ".join(f"{name} {row['n']} = {row['share']:.2f}{data(row)}" for name, row in modes.items())


def _table_of_success(rows: list[dict[str, Any]]) -> Table:
    rule = "at the end" if "success_end" in rows[-1] else "any step"
    columns = (f"success ({rule})", "95 % Wilson", "held for a chunk", "return", "steps")
    cells = []
    for row in rows:
        s, chunk = counted(row), row["success_chunk"]
        cells.append(
            [
                *_head(row),
                f"{s['successes']}/{s['episodes']} = {s['rate']:.2f}",
                f"{s['low']:.2f} .. {s['high']:.2f}",
                f"{chunk['successes']}/{chunk['episodes']}",
                str(row["mean_return"]),
                str(row["mean_steps"]),
            ]
        )
    return Table(f"Success on held-out start states, {rows[-1]['selection']} checkpoint", (*HEAD, *columns), cells)


def _table_of_returns(rows: list[dict[str, Any]]) -> Table:
    counts = rows[-1].get("counts")
    digits = 1 if counts is None else 2
    columns = ("mean", "std error", "std", "min .. max", "steps", "terminated" if counts is None else "all of them")
    cells = []
    for row in rows:
        r, steps = row["return"], row["steps"]
        deviation, error = ("none" if r[key] is None else f"{r[key]:.{digits}f}" for key in ("std", "sem"))
        extremes = f"{r['min']:.{digits}f} .. {r['max']:.{digits}f}"
        cells.append([*_head(row), f"{r['mean']:.{digits}f}", error, deviation, extremes])
        ended = row["terminated"] if counts is None else row["success_any"]["successes"]
        cells[-1] += [f"{steps['mean']:.1f}", f"{ended}/{r['episodes']}"]
    name = (counts or "return").capitalize()
    return Table(f"{name} from held-out start states, {rows[-1]['selection']} checkpoint", (*HEAD, *columns), cells)


def _head(row: dict[str, Any]) -> list[str]:
    return [row["task"], str(row["checkpoint_step"]), row["weights"], str(row["nfe"])]
