"""How episodes end of the tasks that a policy does not do reliably: what `omp eval` noted of each episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from omp_cli.core.report.collect import Evaluation, pooled
from omp_cli.core.report.sections import Row, Section, Task
from omp_cli.core.suites.ends import LEAST

RELIABLE = 46 / 50
"""A share of successes from which on a task's failures are not accounted for."""
_ANYWAY = ("success", "steps", "return")


def failures(section: Section) -> list[dict[str, Any]]:
    """An entry for each task and row below ``RELIABLE``, the worst first within a row; JSON types only."""
    found = []
    for row in section.rows:
        of_tasks = row.on([task for _, task in section.tasks]).items()
        entries = [_of_task(row, task, evaluations) for task, evaluations in of_tasks]
        # Some suites note nothing of an episode but its success: such an entry says nothing.
        says = [entry for entry in entries if entry["happened"] or entry["median"] or not entry["noted"]]
        found += sorted((entry for entry in says if _rate(entry) < RELIABLE), key=_rate)
    return found


def _rate(entry: Mapping[str, Any]) -> float:
    return float(entry["successes"] / entry["episodes"])


def _of_task(row: Row, task: Task, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """In how many of a task's failed episodes something ever happened, and how near to the goal they came."""
    failed: list[dict[str, Any]] = []
    for e in evaluations:
        columns = e.manifest.metrics.get("by_episode")  # what was evaluated before does not say
        if columns and "success" in columns:
            rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
            failed += [episode for episode in rows if not episode["success"]]
    names = [name for name in (failed[0] if failed else ()) if name not in _ANYWAY]
    of = {name: [episode[name] for episode in failed if episode.get(name) is not None] for name in names}
    flags = {name: sum(values) for name, values in of.items() if values and isinstance(values[0], bool)}
    numbers = [name for name, values in of.items() if name + LEAST in of and values]
    successes, episodes = pooled(evaluations)
    return {
        "title": row.title,
        "suite": task[0],
        "task": task[1],
        "successes": successes,
        "episodes": episodes,
        "failed": episodes - successes,
        "noted": len(failed),
        "happened": flags,
        "median": {
            name: {"last": round(median(of[name]), 4), "least": round(median(of[name + LEAST]), 4)} for name in numbers
        },
    }
