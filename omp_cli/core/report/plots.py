"""Plots of a report: success by class, over training, and against evaluations of the network and latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omp_cli.core.files import atomic
from omp_cli.core.report.sections import TOTAL

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F", "#000000")
"""Okabe and Ito's, told apart by colour-blind readers too; hatched from the ninth row on."""
HATCHES = ("", "///", "...", "xxx")

Section = Mapping[str, Any]


def draw(folder: Path, section: Section) -> dict[str, Path]:
    """Write the plots that the section has figures for; by title."""
    title = section["title"]
    stem = title.replace(" ", "-")
    wanted = {
        f"Success by class on {title}": ("classes", _classes),
        f"Success over training on {title}": ("training", _training),
        f"Success against network evaluations on {title}": ("nfe", _nfe),
    }
    drawn = {}
    for what, (name, plot) in wanted.items():
        figure = plot(section)
        if figure is not None:
            path = folder / f"{name}-{stem}.png"
            with atomic(path) as temporary:
                figure.savefig(temporary, dpi=130)
            drawn[what] = path
    return drawn


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, sharey=True)[0]
    for each in axes:
        each.grid(axis="y", alpha=0.3)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
    axes[0].set(ylabel="success, %", ylim=(-2, 104))
    return figure, axes


def _style(index: int) -> dict[str, str]:
    return {"color": COLOURS[index % len(COLOURS)], "hatch": HATCHES[index // len(COLOURS) % len(HATCHES)]}


def _line(index: int) -> dict[str, str]:
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": "--" if index >= len(COLOURS) else "-"}


def _legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)


def _errors(cell: Mapping[str, Any]) -> tuple[float, float]:
    """How far the interval reaches below and above, per cent."""
    if cell["low"] is None:
        return 0.0, 0.0
    return max(0.0, 100 * (cell["value"] - cell["low"])), max(0.0, 100 * (cell["high"] - cell["value"]))


def _classes(section: Section) -> Any:
    """Grouped bars with bootstrap intervals; a class that is not complete says so."""
    rows, names = section["rows"], [*section["classes"], TOTAL]
    figure, (axes,) = _figure(max(6.0, 2.2 + 1.3 * len(names) + 0.13 * len(names) * len(rows)), 4.0)
    width = 0.84 / len(rows)
    counts = {name: {len(r["classes"][name]["tasks"]) for r in rows if r["classes"][name]} for name in names}
    for index, row in enumerate(rows):
        for place, name in enumerate(names):
            if (cell := row["classes"][name]) is None:
                continue
            x = place + (index - (len(rows) - 1) / 2) * width
            below, above = _errors(cell)
            axes.bar(x, 100 * cell["value"], width * 0.92, **_style(index), edgecolor="white", linewidth=0)
            axes.errorbar(x, 100 * cell["value"], [[below], [above]], color="0.25", linewidth=1, capsize=2)
            if len(counts[name]) > 1:
                axes.text(x, 1, f"{len(cell['tasks'])}", ha="center", va="bottom", fontsize=7, color="white")
        axes.bar([0], [0], **_style(index), label=row["title"])
    axes.set_xticks(range(len(names)), [_tick(section, name, counts[name]) for name in names], fontsize=9)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_title(f"Success by class, {section['title']}: mean over tasks and seeds, 95 % bootstrap", fontsize=10)
    _legend(figure, axes)
    return figure


def _tick(section: Section, name: str, counts: set[int]) -> str:
    of = next(row["classes"][name]["of"] for row in section["rows"] if row["classes"][name])
    if len(counts) > 1:
        return f"{name}\n{min(counts)} to {max(counts)} (in the bars)\nof {of} tasks"
    (count,) = counts
    return f"{name}\n{of} tasks" if count == of else f"{name}\n{count} of {of} tasks"


def _training(section: Section) -> Any:
    """Mean over tasks and seeds at the checkpoints that all runs of a row share, a panel for each class."""
    rows = section["curves"]
    names = [
        name
        for name in section["classes"]
        if any(row["classes"][name] and len(row["classes"][name]["steps"]) > 1 for row in rows)
    ]
    if not names:
        return None
    figure, panels = _figure(2.6 + 2.4 * len(names), 3.4, len(names))
    for axes, name in zip(panels, names, strict=True):
        for index, row in enumerate(rows):
            cell = row["classes"][name]
            if cell is not None and len(cell["steps"]) > 1:
                axes.plot(cell["steps"], [100 * mean for mean in cell["means"]], marker="o", ms=3.5, **_line(index))
        axes.set(xlabel="training step")
        axes.set_title(name, fontsize=10)
        axes.locator_params(axis="x", nbins=4)
    for index, row in enumerate(rows):
        if any(row["classes"][name] for name in names):
            panels[0].plot(
                [], [], "--" if index >= len(COLOURS) else "-", color=_style(index)["color"], label=row["title"]
            )
    _legend(figure, panels[0])
    return figure


def _nfe(section: Section) -> Any:
    """Total success against NFE and, where latencies are known, against the time of a decision."""
    rows = [(index, row) for index, row in enumerate(section["rows"]) if row["classes"][TOTAL]]
    timed = any(row["latency"] for _, row in rows)
    if len({row["nfe"] for _, row in rows}) < 2 and not timed:
        return None
    figure, panels = _figure(9.0 if timed else 6.5, 3.6, 1 + timed)
    labels = list(dict.fromkeys(row["label"] for _, row in rows))
    for label in labels:
        mine = sorted((row for _, row in rows if row["label"] == label), key=lambda row: row["nfe"])
        colour = COLOURS[labels.index(label) % len(COLOURS)]
        _points(panels[0], mine, [row["nfe"] for row in mine], colour, label)
        known = [row for row in mine if row["latency"]]
        if known:
            _points(panels[1], known, [row["latency"]["ms"] for row in known], colour)
    _nfe_axes(panels, sorted({row["nfe"] for _, row in rows}))
    if timed:
        machines = dict.fromkeys(row["latency"]["machine"] for _, row in rows if row["latency"])
        panels[1].set(xscale="log", xlabel=f"median decision, ms ({'; '.join(machines)})")
        panels[1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panels[1].xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if str(value)[0] in "25" else "")
    _legend(figure, panels[0])
    return figure


def _points(axes: Any, rows: Sequence[Mapping[str, Any]], x: Sequence[float], colour: str, label: str = "") -> None:
    cells = [row["classes"][TOTAL] for row in rows]
    below, above = zip(*map(_errors, cells), strict=True)
    values = [100 * cell["value"] for cell in cells]
    axes.errorbar(x, values, [below, above], color=colour, marker="o", capsize=3, linewidth=1.3, label=label or None)


def _nfe_axes(panels: Sequence[Any], counts: Sequence[int]) -> None:
    panels[0].set(xscale="log", xlabel="network evaluations per decision (NFE)")
    panels[0].set_xticks(counts, [str(count) for count in counts])
    panels[0].set_xticks([], minor=True)
