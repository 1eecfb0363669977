"""Plots: memory of a step against the horizon, error of du/dt against epsilon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omp_cli.core.base.files import atomic

MIB = 2**20
COLOURS = {"none": "#7f7f7f", "dde": "#1f77b4", "forward": "#2ca02c", "jvp": "#d62728"}
NAMES = {"none": "flow matching", "dde": "dde", "forward": "forward", "jvp": "jvp"}
Rows = Sequence[Mapping[str, Any]]


def plot_memory(path: Path, rows: Rows) -> None:
    """A panel per net, way of counting and other setting; over the horizon, static below and dynamic on top.

    Args:
        path: PNG to write.
        rows: result rows.
    """
    from matplotlib.figure import Figure

    panels: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        panels.setdefault(panel_title(row), []).append(row)
    across = min(len(panels), 4)
    down = -(-len(panels) // across)
    figure = Figure(figsize=(3.6 * across + 0.4, 3.4 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).flatten()
    for axis, (title, members) in zip(axes, panels.items(), strict=False):
        _bars(axis, members)
        axis.set_title(title, fontsize=8)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    seen = [name for name in NAMES if any(row["derivative"] == name for row in rows)]
    handles = [_patch(COLOURS[name], NAMES[name]) for name in seen]
    handles.append(_patch("#dddddd", "static: weights, gradients, optimiser, EMA"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=130)


def panel_title(row: Mapping[str, Any]) -> str:
    """What all rows of one panel have in common."""
    encoder = {True: "two-pass encoder", False: "plain encoder", None: row["encoder"]}[row["two_pass"]]
    draws = f" x {row['draws']} draws" if row["draws"] > 1 else ""
    points = f"{row['points']} points, " if row["two_pass"] is not None else ""
    return f"{row['name']}, B = {row['batch']}{draws}, {points}{encoder}\n{row['how']}"


def _bars(axis: Any, rows: Rows) -> None:
    """Grouped, stacked bars of one panel; the number on a bar is its dynamic part over that of flow matching."""
    horizons = sorted({row["horizon"] for row in rows})
    seen = [name for name in NAMES if any(row["derivative"] == name for row in rows)]
    width = 0.8 / len(seen)
    for row in rows:
        x = horizons.index(row["horizon"]) + (seen.index(row["derivative"]) - (len(seen) - 1) / 2) * width
        static, dynamic = row["static_total"] / MIB, row["dynamic"] / MIB
        axis.bar(x, static, width * 0.92, color="#dddddd")
        axis.bar(x, dynamic, width * 0.92, bottom=static, color=COLOURS[row["derivative"]])
        if row["derivative"] != "none" and row.get("dynamic_ratio"):
            text = f"{row['dynamic_ratio']:.2f}"
            axis.annotate(text, (x, static + dynamic), ha="center", va="bottom", fontsize=6)
    axis.set_xticks(range(len(horizons)), [f"H = {h}" for h in horizons])
    axis.set_ylabel("MiB at the peak of a step")
    axis.margins(y=0.1)
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)


def _patch(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)


def plot_errors(path: Path, analyses: Sequence[Mapping[str, Any]]) -> None:
    """Relative error of du/dt over epsilon, log-log; a panel per policy, a line per precision.

    Args:
        path: PNG to write.
        analyses: each with ``name``, ``horizon``, ``weights``, ``epsilons`` and ``rows`` of ``epsilon_analysis``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(analyses) + 0.4, 4.0), layout="constrained")
    axes = figure.subplots(1, len(analyses), squeeze=False, sharey=True).flatten()
    markers = ("o", "s", "^", "x")
    for axis, analysis in zip(axes, analyses, strict=True):
        for index, row in enumerate(analysis["rows"]):
            line = axis.loglog(
                analysis["epsilons"], row["dde"], marker=markers[index], label=f"dde, {row['precision']}"
            )
            if row["forward"]:
                colour = line[0].get_color()
                axis.axhline(row["forward"], color=colour, linestyle=":", label=f"forward, {row['precision']}")
        axis.set(xlabel="epsilon", title=f"{analysis['name']}, H = {analysis['horizon']}, {analysis['weights']}")
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("relative error of du/dt against float64")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=130)
