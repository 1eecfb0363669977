"""A report's document as tables of text, for every kind of output alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any

from omp_cli.core.base.table import NONE, PLUS_MINUS, Table, once
from omp_cli.core.report.offline import offline_table
from omp_cli.core.report.on_robots import robot_table, turns_table
from omp_cli.core.report.over_training import TOP
from omp_cli.core.report.sections import OTHER, TOTAL
from omp_cli.core.report.training import training_table

MINUS = "\N{MINUS SIGN}"
PUBLISHED = "Grey or italics: published figures"
WIDTH = 48
"""Letters of a line in a cell of words."""
SHOWN = 8
"""Settings in one cell; the JSON document has all."""


def all_tables(document: Mapping[str, Any], by_task: bool = True) -> list[Table]:
    """In the order of reading; the long ones, by task, of selection and of training, where ``by_task``."""
    tables = []
    for section in document["sections"]:
        tables += [main_table(section), *_comparisons(section)]
        tables += [claims_table(claims)] if (claims := section["claims"]) else []
        tables += [missing_table(section)] if by_task and section["missing"] else []
        tables += [task_table(section), *_selection(section)] if by_task else []
        tables += [failures_table(failed)] if by_task and (failed := section["failures"]) else []
        tables += [training_table(section)] if by_task and section["training"] else []
    for section in document["returns"]:
        tables += [returns_table(section), *([training_table(section)] if by_task and section["training"] else [])]
    tables += [robot_table(rows)] if (rows := document.get("robots")) else []
    tables += [turns_table(rows)] if (rows := document.get("in_turns")) else []
    return tables + ([offline_table(rows)] if (rows := document.get("offline")) else [])


def main_table(section: Mapping[str, Any]) -> Table:
    """Policy x class; the papers' rows in grey below ours."""
    classes = _shown(section)
    common = {name: common_tasks(section["rows"], name) for name in classes}
    rows = [
        [row["title"], str(row["nfe"]), *(_mean(row["classes"][name], common[name]) for name in classes), _seeds(row)]
        for row in section["rows"]
    ]
    ours = len(rows)
    for row in section["published"]:
        figures = [_published(row["classes"][name]) for name in classes]
        rows.append([f"{row['title']}, {row['source']}", str(row["nfe"] or NONE), *figures, ""])
    bounds = " [95 % bootstrap]" * any_interval(row["classes"][name] for row in section["rows"] for name in classes)
    note = f"Mean over tasks of the mean over training seeds{bounds}."
    if len(rows) > ours:
        whose = section["baseline"] or section["rows"][0]["title"]
        whole = any("of" in (row["classes"][name] or ()) for row in section["published"] for name in classes)
        note += (
            f" {PUBLISHED}, means over the tasks of {whose}{', or of more where it says so' * whole}, other protocol."
        )
    columns = ["policy", "NFE", *(column_head(section, name) for name in classes), "seeds, episodes"]
    return Table(f"Success on {section['title']}, %", columns, rows, set(range(ours, len(rows))), note=note)


def _shown(section: Mapping[str, Any]) -> list[str]:
    """Columns: classes, their total where there are several, then what does not count in it."""
    counted = [name for name in section["classes"] if name != OTHER]
    return counted + [TOTAL] * (len(counted) > 1) + [OTHER] * (OTHER in section["classes"])


def column_head(section: Mapping[str, Any], name: str) -> str:
    """A class, and on how many of its tasks the rows were evaluated."""
    of = section["of"] if name == TOTAL else len(section["classes"][name])
    return f"{name}\n{_of(len(common_tasks(section['rows'], name)), of)}"


def common_tasks(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """The tasks that most rows have of a class: the head of the column speaks of them, other rows for themselves."""
    sets = [cell["tasks"] for row in rows if (cell := row["classes"][name])]
    return max(sets, key=sets.count)


def _of(count: int, of: int) -> str:
    return f"{of} tasks" if count == of else f"{count} of {of} tasks"


def _mean(cell: Mapping[str, Any] | None, common: Sequence[str]) -> str:
    if cell is None:
        return NONE
    text = percent(cell["value"]) + interval(cell)
    if cell["tasks"] == common:
        return text
    others = ", others" if len(cell["tasks"]) == len(common) else ""
    return f"{text}\n{_of(len(cell['tasks']), cell['of'])}{others}"


def _published(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return NONE
    figure = f"{cell['percent']:g}" + ("" if cell["std"] is None else f" {PLUS_MINUS} {cell['std']:g}")
    return f"{figure}\nall {cell['of']} tasks" if "of" in cell else figure


def _seeds(row: Mapping[str, Any]) -> str:
    cells = row["classes"]
    total = cells[TOTAL] or next(cell for cell in cells.values() if cell)
    return f"{_span(total['seeds'])}, {total['episodes']}"


def _span(bounds: tuple[int, int]) -> str:
    """The least and the largest count."""
    low, high = bounds
    return str(low) if low == high else f"{low}-{high}"


def percent(rate: float, sign: bool = False, digits: int = 1) -> str:
    """A rate as a number of per cent."""
    value = round(100 * rate, digits) or 0.0  # no minus before a zero
    return f"{value:{'+' if sign and value else ''}.{digits}f}".replace("-", MINUS)


def interval(cell: Mapping[str, Any], sign: bool = False) -> str:
    """The bounds, in per cent; nothing where they are not known, or where nothing varied that could tell."""
    if cell["low"] is None or cell["low"] == cell["high"]:
        return ""
    return f" [{percent(cell['low'], sign, 0)},{percent(cell['high'], sign, 0)}]"


def any_interval(cells: Iterable[Mapping[str, Any] | None]) -> bool:
    """Whether any of the figures is shown with bounds."""
    return any(cell is not None and interval(cell) for cell in cells)


def _comparisons(section: Mapping[str, Any]) -> list[Table]:
    if not section["differences"]:
        return []
    base, classes = section["baseline"], _shown(section)

    def cell(found: Mapping[str, Any] | None) -> str:
        if found is None:
            return NONE
        return (
            f"{percent(found['value'], True)}{interval(found, True)}\n{found['tasks']} task{'s' * (found['tasks'] > 1)}"
        )

    rows = [[row["title"], *(cell(row["classes"][name]) for name in classes)] for row in section["differences"]]
    settings = [[row["title"], settings_text(row["settings"])] for row in section["differences"]]
    bounds = " [95 % bootstrap]" * any_interval(
        row["classes"][name] for row in section["differences"] for name in classes
    )
    return [
        Table(
            f"Difference to {base}, % points",
            ["policy", *classes],
            rows,
            note=f"On the tasks that both have, paired by task{bounds}. --baseline names another row.",
        ),
        Table(f"Settings that differ from {base}", ["policy", "differs in"], settings),
    ]


def settings_text(settings: Mapping[str, Sequence[str]]) -> str:
    """``method.alignment.weight 0.5 -> 0``, one a line."""
    lines = [f"{key} {before} -> {after}" for key, (before, after) in settings.items()]
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(lines[:SHOWN] + more) or "nothing"


def task_table(section: Mapping[str, Any]) -> Table:
    """Task x policy, the papers' figures in grey below each task."""
    rows: list[list[str]] = []
    grey: set[int] = set()
    for task in section["tasks"]:
        named = task["class"] not in (task["suite"], OTHER)
        names = iter([task["task"], f"({task['class']})"] if named else [task["task"]])
        for title, cell in task["rows"].items():
            n = f"{cell['successes']}/{cell['episodes']}"
            bounds = f"{100 * cell['low']:.0f} .. {100 * cell['high']:.0f}"
            std = "" if cell["std"] is None else f" {PLUS_MINUS} {100 * cell['std']:.1f}"
            change = cell["difference"]
            gain = "" if change is None else percent(change["value"], True) + interval(change, True)
            mean = f"{percent(cell['mean'])}{std}"
            rows.append([next(names, ""), title, n, bounds, mean, str(len(cell["seeds"])), gain])
        for method, value in task["published"].items():
            grey.add(len(rows))
            std = "" if len(value) == 1 else f" {PLUS_MINUS} {value[1]:g}"
            rows.append([next(names, ""), method, "", "", f"{value[0]:g}{std}", "", ""])
    columns = ["task", "policy", "n/N", "Wilson 95 %", f"mean {PLUS_MINUS} std over seeds, %", "seeds"]
    columns.append(f"difference to {section['baseline']}\n[Newcombe 95 %]")
    if not section["differences"]:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    changes = [cell["difference"] for task in section["tasks"] for cell in task["rows"].values() if cell["difference"]]
    notes = [f"{PUBLISHED}."] * bool(grey)
    if any(change["paired"] for change in changes):
        some = "" if all(change["paired"] for change in changes) else ", where both began in the same start states"
        notes.append(f"Differences are of pairs, start by start{some}.")
    return Table(f"Success by task on {section['title']}", columns, rows, grey, note=" ".join(notes))


def _selection(section: Mapping[str, Any]) -> list[Table]:
    """``last`` and ``top5`` side by side; nothing where all runs have fewer than five evaluations."""
    classes = _shown(section)

    def cell(found: Mapping[str, Any] | None) -> str:
        if found is None:
            return NONE
        if found["top5"] is None:
            return "not defined" if found["evaluations"][1] > 1 else NONE
        return f"{percent(found['last'])} / {percent(found['top5'])}"

    rows = []
    for row in section["selection"]:
        total = row["classes"][TOTAL] or next(found for found in row["classes"].values() if found)
        counts = [f"{total['runs']} of {total['of']}", _span(total["evaluations"])]
        rows.append([row["title"], *counts, *(cell(row["classes"][name]) for name in classes)])
    figures = [found for row in section["selection"] for found in row["classes"].values() if found]
    if all(found["evaluations"][1] < TOP for found in figures):
        return []
    columns = ["policy", "runs with more than five", "evaluations a run", *classes]
    note = (
        "last / top5, of the same runs. top5, the mean of the five best evaluations over training, is biased upwards, "
        "and not defined for runs of five evaluations or fewer."
    )
    return [Table(f"Selection of the checkpoint on {section['title']}, success in %", columns, rows, note=note)]


def returns_table(section: Mapping[str, Any]) -> Table:
    """Task x policy where the return counts."""
    rows = []
    for name, row in zip(once(row["task"] for row in section["rows"]), section["rows"], strict=True):
        std = "" if row["std"] is None else f" {PLUS_MINUS} {row['std']:.4g}"
        seeds = ", ".join(f"{value:.4g}" for value in row["seeds"].values())
        rows.append([name, row["title"], str(row["nfe"]), f"{row['mean']:.4g}{std}", seeds, str(row["episodes"])])
    counts = section["metric"]
    columns = ["task", "policy", "NFE", f"{counts}: mean {PLUS_MINUS} std over seeds", "each seed", "episodes"]
    return Table(f"{counts.capitalize()} on {section['title']}", columns, rows)


def missing_table(section: Mapping[str, Any]) -> Table:
    """What no mean holds: tasks of the papers' classes on which a row was not evaluated."""
    rows = [
        [
            found["class"],
            ", ".join(found["rows"]),
            f"{len(found['tasks'])} of {found['of']}",
            fill(", ".join(found["tasks"]), WIDTH),
        ]
        for found in section["missing"]
    ]
    note = "Means are over the tasks that were measured, and the heads of columns say how many."
    return Table(f"Not measured on {section['title']}", ["class", "policy", "missing", "tasks"], rows, note=note)


def failures_table(failures: Sequence[Mapping[str, Any]]) -> Table:
    """How episodes end where a policy is below 92 %."""
    rows = []
    for found in failures:
        happened = [f"{name} in {count}" for name, count in found["happened"].items()]
        near = [f"{name} {m['last']:.3g} ({m['least']:.3g})" for name, m in found["median"].items()]
        noted = "not noted" if not found["noted"] else f"{found['noted']} of {found['failed']}"
        n = f"{found['successes']}/{found['episodes']}"
        rows.append([found["title"], found["task"], n, noted, "\n".join(happened) or NONE, "\n".join(near) or NONE])
    columns = ["policy", "task", "n/N", "failures noted", "of these, so often", "at the end (the least), median"]
    note = "Tasks below 46 of 50. What happened and how near episodes came is in the suite's own words (omp eval)."
    return Table("How episodes end that fail", columns, rows, note=note)


def claims_table(claims: Sequence[Mapping[str, Any]]) -> Table:
    """A line for each claim."""
    rows = []
    for found in claims:
        published = NONE if found["published"] is None else f"{found['published']:+g}"
        measured, n = NONE, NONE
        if "tasks" in found:
            n = f"{found['tasks']} of {found['of']} tasks\n{_span(found['seeds'])} seeds"
        if found.get("value") is not None:
            measured = percent(found["value"], sign=True) + interval(found, sign=True)
        what = f"{found['row']} {MINUS} {found['other']}"
        also = settings_text(found["settings"]) if "settings" in found else NONE
        verdict = f"{found['verdict']}:\n{fill(found['why'], WIDTH)}"
        rows.append([found["claim"], f"{what}\non {', '.join(found['on'])}", published, measured, n, verdict, also])
    columns = ["claim", "rows", "published", "measured", "n", "verdict", "the rows differ in"]
    note = (
        "Percentage points, paired by task [95 % bootstrap over tasks, whose means hold the noise of seeds and "
        "episodes]. A claim holds where the interval lies above 0, and does not where it lies below, on all tasks that "
        "it speaks of."
    )
    return Table("Claims of OMP's paper", columns, rows, note=note)


def header_rows(header: Mapping[str, Any]) -> list[list[str]]:
    """What was evaluated, on what, when."""
    own = {label: f" (evaluated as {name})" for label, name in header["renamed"].items()}
    policies = [label + own.get(label, "") for label in header["policies"]]
    versions = [f"{name} {' / '.join(found)}" for name, found in header["versions"].items()]
    data = [f"{task} {', '.join(h[:12] for h in hashes)}" for task, hashes in header["data"].items()]
    runs = [f"{header['evaluations']} runs of omp eval, {header['episodes']} episodes from held-out start states"]
    runs = runs * bool(header["evaluations"]) + [f"{header['offline']} of omp eval --offline"] * bool(header["offline"])
    runs += [f"{header['robots']} of omp deploy"] * bool(header["robots"])
    return [
        ["evaluated", "\n".join(runs)],
        ["policies", "; ".join(policies)],
        ["tasks", str(header["tasks"])],
        ["training seeds", ", ".join(map(str, header["seeds"])) or NONE],
        ["from", f"{header['first'][:16].replace('T', ' ')} to {header['last'][:16].replace('T', ' ')}, UTC"],
        ["machines", "\n".join(header["machines"])],
        ["versions", ", ".join(versions)],
        ["training data (content)", ", ".join(data)],
    ]
