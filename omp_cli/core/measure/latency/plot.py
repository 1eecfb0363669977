"""Latency against the number of function evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omp_cli.core.base.files import atomic
from omp_cli.core.measure.latency.rows import EAGER, LatencyRow

STYLES = {"once": ("-", "o"), "each step": ("--", "s")}
Lines = dict[tuple[str, str, str], list[LatencyRow]]


def plot_nfe(path: Path, title: str, rows: Sequence[LatencyRow]) -> bool:
    """Median latency over NFE, both axes logarithmic; a hollow marker is composed of parts.

    Args:
        path: PNG to write.
        title: machine and dtype.
        rows: those without figures, and of other batch sizes than the first, are left out.

    Returns:
        Whether there was more than one NFE to show.
    """
    shown = [row for row in rows if row.statistics and row.batch == rows[0].batch]
    if len({row.nfe for row in shown}) < 2:
        return False
    lines: Lines = {}
    for row in sorted(shown, key=lambda row: row.nfe):
        for encoder in STYLES if row.nfe == 1 else (row.encoder,):  # one step is the same thing either way
            lines.setdefault((row.label, row.backend, encoder), []).append(row)
    _draw(path, title, {key: line for key, line in lines.items() if any(key[2] == row.encoder for row in line)})
    return True


def _draw(path: Path, title: str, lines: Lines) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.add_subplot()
    names = list(dict.fromkeys(key[:2] for key in lines))
    several = len({label for label, _ in names}) > 1
    for (label, backend, encoder), line in lines.items():
        colour, (style, marker) = f"C{names.index((label, backend)) % 10}", STYLES[encoder]
        axes.plot([row.nfe for row in line], [_p50(row) for row in line], style, color=colour, linewidth=1.3)
        for row in line:
            if row.encoder == encoder:
                fill = "white" if row.status == "composed" else colour
                axes.plot(row.nfe, _p50(row), marker, color=colour, markerfacecolor=fill, markersize=5)
    for index, (label, backend) in enumerate(names):
        text = backend if not several else label if backend == EAGER else f"{label}, {backend}"
        axes.plot([], [], color=f"C{index % 10}", label=text)
    used = {encoder for _, _, encoder in lines}
    for encoder, (style, marker) in STYLES.items():
        if encoder in used:
            axes.plot([], [], style, marker=marker, color="0.4", markersize=5, label=f"encoder {encoder}")
    if any(row.status == "composed" for line in lines.values() for row in line):
        axes.plot([], [], "o", color="0.4", markerfacecolor="white", markersize=5, label="composed of parts")
    _scales(axes, lines)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _scales(axes: Any, lines: Lines) -> None:
    """Logarithmic axes with plain numbers."""
    rows = [row for line in lines.values() for row in line]
    times, counts = [_p50(row) for row in rows], sorted({row.nfe for row in rows})
    axes.set(xscale="log", yscale="log", xlabel="network evaluations per decision (NFE)", ylabel="median latency, ms")
    axes.set_xticks(counts, [str(k) for k in counts], fontsize=9)
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if max(times) < 10 * min(times):  # within a decade the powers of ten alone say little
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}")


def _p50(row: LatencyRow) -> float:
    assert row.statistics is not None
    return row.statistics.p50
