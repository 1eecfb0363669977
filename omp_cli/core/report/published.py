"""What the papers report on the 37 tasks, and means over the tasks at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omp_cli.core.base.papers import document

CLASSES = {"adroit": 3, "easy": 21, "medium": 4, "hard": 4, "very-hard": 5}
"""The papers' classes and their sizes; 37 tasks in all."""
ALL = sum(CLASSES.values())


def protocol() -> str:
    """How the papers' figures came about, and whose they are."""
    found = document()
    sources = "; ".join(f"{method} {source(method)}" for method in found["methods"])
    return f"{found['protocol']} Taken from: {sources}."


def methods() -> tuple[str, ...]:
    """All methods with a published figure."""
    return tuple(document()["methods"])


def source(method: str) -> str:
    """Where a method's figures are from."""
    return str(document()["sources"][document()["methods"][method]["source"]])


def nfe(method: str) -> int | None:
    """Evaluations of the network per decision; None where it is not known."""
    return document()["methods"][method].get("nfe")


def of_task(suite: str, task: str) -> dict[str, list[float]]:
    """The published [mean] or [mean, deviation] of one task, per cent, by method."""
    return document()["tasks"].get(suite, {}).get(task, {})


def of_class(method: str, name: str, tasks: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    """A method's mean over a class, or over the (suite, task) at hand where these are only part of it.

    Where the paper has no figures of these alone its mean over the whole class, with "of", the number of its tasks;
    None where it has none.
    """
    whole = document()["methods"][method].get("classes", {}).get(name)
    if whole is not None and len(tasks) == CLASSES.get(name):
        return _figure(whole, "the paper's mean")
    if (here := _mean(method, tasks)) is not None or whole is None:
        return here
    return _figure(whole, "the paper's mean", CLASSES[name])


def of_all(method: str, classes: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, Any] | None:
    """The same for all 37 tasks, or those at hand, by class; of whole classes it follows from the means of these."""
    found, tasks = document()["methods"][method], [task for of_one in classes.values() for task in of_one]
    whole, means = found.get("total"), found.get("classes", {})
    if whole is not None and len(tasks) == ALL:
        return _figure(whole, "the paper's mean")
    if (here := _mean(method, tasks)) is not None:
        return here
    if classes and all(len(of_one) == CLASSES.get(name) and name in means for name, of_one in classes.items()):
        mean = sum(CLASSES[name] * means[name][0] for name in classes) / len(tasks)
        return _figure([round(mean, 1)], "mean of the paper's means of its classes")
    return None if whole is None else _figure(whole, "the paper's mean", ALL)


def _mean(method: str, tasks: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    values = [of_task(*task).get(method) for task in tasks]
    if not values or any(value is None for value in values):
        return None
    mean = sum(value[0] for value in values if value is not None) / len(values)
    return _figure([round(mean, 1)], f"mean of its {len(tasks)} single tasks" if len(tasks) > 1 else "its single task")


def _figure(value: Sequence[float], how: str, of: int | None = None) -> dict[str, Any]:
    more = {} if of is None else {"of": of}
    return {"percent": value[0], "std": value[1] if len(value) > 1 else None, "how": how, **more}
