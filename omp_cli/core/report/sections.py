"""What may stand in one table: rows (policies), classes of tasks, and sections of suites that belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omp_cli.core.base import papers
from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.report import published
from omp_cli.core.report.collect import Evaluation
from omp_cli.core.suites.base import SUITES

Task = tuple[str, str]
"""Suite and task."""

PAPERS = ("adroit", "metaworld")
"""The suites of the papers' 37 tasks; they share a table."""
TOTAL, OTHER = "total", "other"
"""What all classes come to, and the class of a task that is in none: it does not count in the total."""


@dataclass(frozen=True)
class Row:
    """One policy: all evaluations of the same label with the same NFE."""

    label: str
    nfe: int
    title: str
    evaluations: tuple[Evaluation, ...]

    def on(self, tasks: Iterable[Task]) -> dict[Task, list[Evaluation]]:
        """Evaluations by task, of those tasks that there are, in the order of ``tasks``."""
        return {task: here for task in tasks if (here := self.of(task))}

    def of(self, task: Task) -> list[Evaluation]:
        """Evaluations on one task."""
        return [e for e in self.evaluations if (e.suite, e.task) == task]


@dataclass(frozen=True)
class Section:
    """Rows that share tasks.

    Attributes:
        title: the suites.
        metric: "success", or what the return counts.
        rows: policies in the order of their first evaluation.
        classes: every task of each class of which any was evaluated.
        of: number of tasks of the whole benchmark.
        baseline: the row that the others are compared with; None where it has none here.
    """

    title: str
    metric: str
    rows: tuple[Row, ...]
    classes: Mapping[str, tuple[Task, ...]]
    of: int
    baseline: Row | None

    @property
    def counted(self) -> list[str]:
        """Names of the classes whose tasks count in the total."""
        return [name for name in self.classes if name != OTHER] or list(self.classes)

    def by_class(self, figure: Callable[[list[Sequence[Task]]], Any]) -> dict[str, Any]:
        """A figure of each class, and of those that count together."""
        figures = {name: figure([tasks]) for name, tasks in self.classes.items()}
        return {**figures, TOTAL: figure([self.classes[name] for name in self.counted])}

    @property
    def tasks(self) -> list[tuple[str, Task]]:
        """Class and task of everything evaluated, in order."""
        seen = {(e.suite, e.task) for row in self.rows for e in row.evaluations}
        return [(name, task) for name, tasks in self.classes.items() for task in tasks if task in seen]


def make_sections(evaluations: Sequence[Evaluation], baseline: str | None = None) -> list[Section]:
    """Sections in the order of their first evaluation; UsageError when no row is called ``baseline``.

    Without ``baseline`` a section's is the row with most evaluations, the earlier one of equals.
    """
    grouped: dict[tuple[str, str], list[Evaluation]] = {}
    for e in evaluations:
        suites = "papers" if e.suite in PAPERS else e.suite
        grouped.setdefault((suites, e.metric), []).append(e)
    several = {
        label for label in (e.label for e in evaluations) if len({x.nfe for x in evaluations if x.label == label}) > 1
    }
    sections = [_section(metric, group, several, baseline) for (_, metric), group in grouped.items()]
    if baseline is not None and all(section.baseline is None for section in sections):
        titles = dict.fromkeys(row.title for section in sections for row in section.rows)
        raise UsageError(f"--baseline {baseline!r}: no such row", did_you_mean(baseline, titles))
    return sections


def _section(metric: str, evaluations: list[Evaluation], several: set[str], baseline: str | None) -> Section:
    grouped: dict[tuple[str, int], list[Evaluation]] = {}
    for e in evaluations:
        grouped.setdefault((e.label, e.nfe), []).append(e)
    rows = tuple(
        Row(label, nfe, f"{label}, NFE {nfe}" if label in several else label, tuple(found))
        for (label, nfe), found in grouped.items()
    )
    present = list(dict.fromkeys(e.suite for e in evaluations))
    suites = sorted(present, key=lambda s: PAPERS.index(s) if s in PAPERS else 0)
    classes: dict[str, tuple[Task, ...]] = {}
    for suite in suites:
        seen = list(dict.fromkeys(e.task for e in evaluations if e.suite == suite))
        for name, tasks in classes_of(suite, seen).items():
            if set(tasks) & set(seen):
                classes[name] = (*classes.get(name, ()), *((suite, task) for task in tasks))
    counted = [tasks for name, tasks in classes.items() if name != OTHER]
    as_in_papers = suites[0] in PAPERS and metric == "success" and counted
    of = published.ALL if as_in_papers else sum(map(len, counted or classes.values()))
    return Section(" and ".join(suites), metric, rows, classes, of, _baseline(rows, baseline))


def _baseline(rows: Sequence[Row], name: str | None) -> Row | None:
    if name is None:
        return max(rows, key=lambda row: len(row.evaluations))
    return next((row for row in sorted(rows, key=lambda row: row.nfe) if name in (row.title, row.label)), None)


def classes_of(suite: str, seen: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The classes of a suite's tasks: its groups, but for those that are made of others; the rest is ``OTHER``.

    A group of all tasks goes by the suite's name. Of a suite that is not known here only the tasks ``seen`` count, or
    those that the papers report.
    """
    if suite not in SUITES.names():
        return {suite: tuple(papers.document()["tasks"].get(suite, seen))}
    members = SUITES.build(SUITES.parse({"name": suite}))
    groups = {name: tasks for name, tasks in members.groups().items() if tasks}
    whole = set(members.tasks())
    classes = {
        suite if set(tasks) == whole else name: tuple(tasks)
        for name, tasks in groups.items()
        if not any(set(other) < set(tasks) for other in groups.values())
    }
    named = {task for tasks in classes.values() for task in tasks}
    rest = tuple(dict.fromkeys(task for task in (*members.tasks(), *seen) if task not in named))
    return classes | ({OTHER: rest} if rest else {})
