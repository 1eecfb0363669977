"""Evaluations over training: what choosing among them would report, and their curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from omp_cli.core.base.statistics import task_mean
from omp_cli.core.report.collect import Evaluation
from omp_cli.core.report.sections import Row, Section, Task

TOP = 5


def selected(section: Section, row: Row) -> dict[str, Any]:
    """``last`` and ``top5`` of the same runs: those that were evaluated at more than five checkpoints.

    Of five the best five are all: no choice, and nothing that could be compared with the papers' ``top5``.
    """

    def figure(classes: list[Sequence[Task]]) -> dict[str, Any] | None:
        found = [row.on(tasks) for tasks in classes]
        counts = [len(e.curve) + 1 for tasks in found for seeds in tasks.values() for e in seeds]
        if not counts:
            return None
        kept = [
            [runs for seeds in tasks.values() if (runs := [e for e in seeds if len(e.curve) + 1 > TOP])]
            for tasks in found
        ]
        kept = [tasks for tasks in kept if tasks]

        def mean(value: Callable[[Evaluation], float]) -> float | None:
            values = [[[value(e) for e in runs] for runs in tasks] for tasks in kept]
            return round(task_mean(values), 4) if values else None

        return {
            "last": mean(lambda e: e.last.value),
            "top5": mean(top5),
            "runs": sum(len(runs) for tasks in kept for runs in tasks),
            "of": len(counts),
            "evaluations": [min(counts), max(counts)],
        }

    return {"title": row.title, "classes": section.by_class(figure)}


def top5(e: Evaluation) -> float:
    """Mean of the five best evaluations of a run."""
    best = sorted((point.value for point in (*e.curve, e.last)), reverse=True)[:TOP]
    return sum(best) / len(best)


def curves(section: Section, row: Row) -> dict[str, Any]:
    """Mean over tasks at every step that all runs with a curve were evaluated at."""

    def figure(classes: list[Sequence[Task]]) -> dict[str, Any] | None:
        runs = [e for tasks in classes for seeds in row.on(tasks).values() for e in seeds if e.curve]
        if not runs:
            return None
        at = [{point.step: point.value for point in (*e.curve, e.last)} for e in runs]
        steps = sorted(set.intersection(*map(set, at)))
        tasks = list(dict.fromkeys((e.suite, e.task) for e in runs))
        means = [
            task_mean([[[v[step] for e, v in zip(runs, at, strict=True) if (e.suite, e.task) == t] for t in tasks]])
            for step in steps
        ]
        return {
            "steps": steps,
            "means": [round(mean, 4) for mean in means],
            "runs": len(runs),
            "tasks": [f"{suite}/{task}" for suite, task in tasks],
        }

    return {"title": row.title, "classes": section.by_class(figure)}
