"""Plots of a report: success by class, over training, against network evaluations and latency; fine-tunings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from omp_cli.core.base.files import atomic
from omp_cli.core.base.table import first_few
from omp_cli.core.report.sections import OTHER, TOTAL
from omp_cli.core.report.tables import any_interval, column_head, common_tasks, interval
from omp_cli.core.report.training import held_out_of

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F", "#6B4226")
"""Told apart by colour-blind readers too (Okabe and Ito); hatched or dashed from the ninth row on."""
HATCHES = ("", "///", "...", "xxx")
LETTERS = 12
"""Of a title to an inch, where the legend has its place beside it."""
PALE = 0.4
"""Opacity of what cannot be compared with the rest."""
LEAST_SPAN = 5.1
"""Of a logarithmic axis, last over first: what is equal stands together, and two of its numbers 1, 2, 5 are there."""

Section = Mapping[str, Any]


def draw(folder: Path, section: Section, kinds: Sequence[str] = (".png",)) -> dict[str, Path]:
    """Write the plots that the section has figures for, as files of these kinds; those of the first kind by title."""
    title = section["title"]
    stem = title.replace(" ", "-")
    wanted: dict[str, tuple[str, Callable[[Section], Any]]] = {}
    if section["metric"] == "success":
        wanted = {
            f"Success by class on {title}": ("classes", _classes),
            f"Success over training on {title}": ("training", _training),
            f"Success against network evaluations on {title}": ("nfe", _nfe),
        }
    wanted[f"Fine-tuning on {title}: {held_out_of(section)[0]}"] = ("finetuning", _finetuning)
    drawn = {}
    for what, (name, plot) in wanted.items():
        figure = plot(section)
        if figure is not None:
            drawn[what] = folder / f"{name}-{stem}{kinds[0]}"
            for kind in kinds:
                with atomic(drawn[what].with_suffix(kind)) as temporary:
                    figure.savefig(temporary, dpi=130)
    return drawn


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    figure = _canvas(width, height)
    axes = figure.subplots(1, columns, squeeze=False, sharey=True)[0]
    for each in axes:
        _plain(each)
    axes[0].set(ylabel="success, %", ylim=(-2, 104))
    return figure, axes


def _canvas(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _plain(axes: Any) -> None:
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _style(index: int) -> dict[str, str]:
    return {"color": COLOURS[index % len(COLOURS)], "hatch": HATCHES[index // len(COLOURS) % len(HATCHES)]}


def _line(index: int) -> dict[str, str]:
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": "--" if index >= len(COLOURS) else "-"}


def _legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)


def _title(figure: Any, text: str) -> None:
    """Above all panels, from the left, for the legend is to the right."""
    letters = int(LETTERS * figure.get_figwidth())
    figure.suptitle("\n".join(fill(line, letters) for line in text.split("\n")), fontsize=9, x=0.02, ha="left")


def _errors(cell: Mapping[str, Any]) -> tuple[float, float]:
    """How far the interval reaches below and above, per cent; NaN, which draws nothing, where there is none."""
    if not interval(cell):
        return math.nan, math.nan
    return max(0.0, 100 * (cell["value"] - cell["low"])), max(0.0, 100 * (cell["high"] - cell["value"]))


def _bars(cells: Sequence[Mapping[str, Any]]) -> str:
    """What a title says of the bars, where there are any: none for fewer than three tasks."""
    return ", bars: 95 % bootstrap" * any_interval(cells)


def _names(section: Section) -> list[str]:
    return [name for name in section["classes"] if name != OTHER] or [OTHER]


def _classes(section: Section) -> Any:
    """Grouped bars with bootstrap intervals; what was evaluated on other tasks is pale and says on how many."""
    rows, names = section["rows"], _names(section)
    names += [TOTAL] * (len(names) > 1)
    figure, (axes,) = _figure(max(6.0, 3.0 + len(names) * (0.55 + 0.13 * len(rows))), 4.0)
    width, pale, cells = 0.84 / len(rows), False, []
    for place, name in enumerate(names):
        common = common_tasks(rows, name)
        for index, row in enumerate(rows):
            if (cell := row["classes"][name]) is None:
                continue
            x, other = place + (index - (len(rows) - 1) / 2) * width, cell["tasks"] != common
            bar = axes.bar(x, 100 * cell["value"], width * 0.92, **_style(index), edgecolor="white", linewidth=0)
            bar[0].set_alpha(PALE if other else 1.0)
            below, above = _errors(cell)
            axes.errorbar(x, 100 * cell["value"], [[below], [above]], color="0.25", linewidth=1, capsize=2)
            cells.append(cell)
            if other:
                axes.text(x, 1, str(len(cell["tasks"])), ha="center", va="bottom", fontsize=7)
            pale |= other
    for index, row in enumerate(rows):
        axes.bar([0], [0], **_style(index), edgecolor="white", linewidth=0, label=row["title"])
    axes.set_xticks(range(len(names)), [column_head(section, name) for name in names], fontsize=9)
    axes.set_xlim(-0.6, len(names) - 0.4)
    note = "; pale: on other tasks, as many as stand there" if pale else ""
    axes.set_title(f"Mean over tasks and seeds{_bars(cells)}{note}", fontsize=9)
    _legend(figure, axes)
    return figure


def _training(section: Section) -> Any:
    """Mean over tasks and seeds at the checkpoints that all runs of a row share, a panel for each class."""
    rows = section["curves"]
    curves = {
        name: [(i, cell) for i, row in enumerate(rows) if (cell := row["classes"][name]) and len(cell["steps"]) > 1]
        for name in _names(section)
    }
    curves = {name: found for name, found in curves.items() if found}
    if not curves:
        return None
    figure, panels = _figure(2.6 + 2.4 * len(curves), 3.4, len(curves))
    for axes, (name, found) in zip(panels, curves.items(), strict=True):
        common = common_tasks(rows, name)
        for index, cell in found:
            alpha = 1.0 if cell["tasks"] == common else PALE
            axes.plot(cell["steps"], _percent(cell["means"]), marker="o", ms=3.5, alpha=alpha, **_line(index))
        axes.set(xlabel="training step")
        axes.set_title(f"{name}, {len(common)} task{'s' * (len(common) > 1)}", fontsize=10)
        axes.locator_params(axis="x", nbins=4)
    for index in sorted({index for found in curves.values() for index, _ in found}):
        panels[0].plot([], [], label=rows[index]["title"], **_line(index))
    if any(cell["tasks"] != common_tasks(rows, name) for name, found in curves.items() for _, cell in found):
        _title(figure, "pale: on other tasks")
    _legend(figure, panels[0])
    return figure


def _percent(rates: Sequence[float]) -> list[float]:
    return [100 * rate for rate in rates]


def _nfe(section: Section) -> Any:
    """Total success against NFE and, where latencies are known, the time of a decision; only rows of the same tasks."""
    if not any(row["classes"][TOTAL] for row in section["rows"]):
        return None
    common = common_tasks(section["rows"], TOTAL)
    rows = [row for row in section["rows"] if (cell := row["classes"][TOTAL]) and cell["tasks"] == common]
    timed = any(row["latency"] for row in rows)
    counts = sorted({row["nfe"] for row in rows})
    if len(counts) < 2 and not timed:
        return None
    figure, panels = _figure(9.0 if timed else 6.5, 3.6, 1 + timed)
    labels = dict.fromkeys(row["label"] for row in section["rows"])  # a row has its colour whoever is left out
    for index, label in enumerate(labels):
        mine = sorted((row for row in rows if row["label"] == label), key=lambda row: row["nfe"])
        if not mine:
            continue
        _points(panels[0], mine, [_aside(row, rows) for row in mine], _line(index), label)
        if known := [row for row in mine if row["latency"]]:
            _points(panels[1], known, [row["latency"]["ms"] for row in known], _line(index))
    limits = _around([_aside(row, rows) for row in rows])
    panels[0].set(xscale="log", xlim=limits, xlabel="network evaluations per decision (NFE)")
    panels[0].set_xticks(counts, [str(count) for count in counts])
    panels[0].set_xticks([], minor=True)
    if timed:
        known = [row["latency"] for row in rows if row["latency"]]
        machines = dict.fromkeys(latency["machine"] for latency in known)
        limits = _around([latency["ms"] for latency in known])
        panels[1].set(xscale="log", xlim=limits, xlabel=f"median decision, ms ({'; '.join(machines)})")
        panels[1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panels[1].xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    bars = _bars([row["classes"][TOTAL] for row in rows])
    over = f"Mean over the same {len(common)} tasks" if len(common) > 1 else common[0]
    others = dict.fromkeys(row["title"] for row in section["rows"] if row["classes"][TOTAL] and row not in rows)
    absent = f"\nnot here, for measured on other tasks: {first_few(list(others))}" if others else ""
    _title(figure, f"{over}{bars}{absent}")
    _legend(figure, panels[0])
    return figure


def _finetuning(section: Section) -> Any:
    """Held-out evaluations during fine-tuning against experience and against time: a line of panels for each task."""
    tuned = [row for row in section["training"] if row["held_out"]]
    if not tuned:
        return None
    tasks, titles = (list(dict.fromkeys(row[key] for row in tuned)) for key in ("task", "title"))
    figure = _canvas(9.0, 3.2 * len(tasks))
    panels = figure.subplots(len(tasks), 2, squeeze=False, sharey="row")
    name, unit = held_out_of(section)
    for line, task in zip(panels, tasks, strict=True):
        mine = [row for row in tuned if row["task"] == task]
        for axes, place, per, label in ((line[0], 0, 1e3, "thousand environment steps"), (line[1], 1, 60, "minutes")):
            for row in mine:
                style = _line(titles.index(row["title"]))
                for run in row["held_out"]:
                    axes.plot(
                        [e[place] / per for e in run], [e[2] / unit for e in run], marker="o", ms=3, alpha=0.8, **style
                    )
            if len(means := {row["demonstrations"] for row in mine}) == 1 and (mean := means.pop()) is not None:
                axes.axhline(mean / unit, color="grey", linestyle=":")
            axes.set(xlabel=label)
            _plain(axes)
        line[0].set(ylabel=name)
        line[0].set_title(task, fontsize=10)
    for index, title in enumerate(titles):
        panels[0][0].plot([], [], label=title, **_line(index))
    if any(row["demonstrations"] is not None for row in tuned):
        panels[0][0].plot([], [], color="grey", linestyle=":", label="demonstrations")
    _title(figure, "A line for each seed; minutes of collecting and learning")
    _legend(figure, panels[0][0])
    return figure


def _aside(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> float:
    """The row's NFE, a little beside those of other rows with the same one."""
    same = [other["title"] for other in rows if other["nfe"] == row["nfe"]]
    return float(row["nfe"] * 1.05 ** (same.index(row["title"]) - (len(same) - 1) / 2))


def _around(values: Sequence[float]) -> tuple[float, float]:
    """Limits of a logarithmic axis."""
    low, high = min(values), max(values)
    beside = max(1.25, math.sqrt(LEAST_SPAN * low / high))
    return low / beside, high * beside


def _points(
    axes: Any, rows: Sequence[Mapping[str, Any]], x: Sequence[float], line: Mapping[str, str], label: str = ""
) -> None:
    cells = [row["classes"][TOTAL] for row in rows]
    below, above = zip(*map(_errors, cells), strict=True)
    values = _percent([cell["value"] for cell in cells])
    axes.errorbar(x, values, [below, above], marker="o", ms=4, capsize=3, linewidth=1.3, label=label or None, **line)
