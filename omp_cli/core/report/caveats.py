"""What a reader has to know before comparing: conditions that are not the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from omp_cli.core.base.table import first_few
from omp_cli.core.measure.offline.scores import SAMPLES
from omp_cli.core.report.collect import Evaluation, Offline
from omp_cli.core.report.differs import mixed
from omp_cli.core.report.sections import Section

CONDITIONS: dict[str, Callable[[Evaluation], Any]] = {
    "numbers of episodes": lambda e: e.last.episodes,
    "limits of steps per episode (max_steps)": lambda e: e.setting("max_steps") or "the task's own",
    "start states (seed of omp eval)": lambda e: e.setting("seed"),
    "training data": lambda e: e.data[:12],
    "weights": lambda e: e.setting("weights"),
    "precision": lambda e: e.precision,
}

OFFLINE_CONDITIONS: dict[str, Callable[[Offline], Any]] = {
    "episodes": lambda e: f"{e.figures['on']}: {first_few([*map(str, e.figures['episodes'])], ' ')}",
    "strides": lambda e: e.setting("stride"),
    "numbers of samples": lambda e: e.figures["samples"] if SAMPLES in e.figures["errors"] else None,
    "training data": lambda e: e.data[:12],
    "weights": lambda e: e.setting("weights"),
}
"""None where there is nothing to compare: a policy that draws nothing has no number of samples."""


def caveats(sections: Sequence[Section], offline: Sequence[Offline], left_out: Sequence[str]) -> list[str]:
    """One line each, the gravest first."""
    found = list(left_out)
    for section in sections:
        found += _by_task(section) + _by_row(section)
        if len(section.rows) > 1:
            found += _by_class(section)
    return found + _by_data(offline)


def _by_task(section: Section) -> list[str]:
    lines = []
    for what, get in CONDITIONS.items():
        of = [(task[1], {get(e) for row in section.rows for e in row.of(task)}) for _, task in section.tasks]
        lines += _different(f"{what} on the same task", of)
    return lines


def _by_data(offline: Sequence[Offline]) -> list[str]:
    """What is not the same of evaluations on the same recorded data."""
    data: dict[tuple[str, str, str], list[Offline]] = {}
    for e in offline:
        data.setdefault((e.suite, e.task, e.figures["content_sha256"]), []).append(e)
    lines = []
    for what, get in OFFLINE_CONDITIONS.items():
        of = [(f"{suite}/{task}", {get(e) for e in found} - {None}) for (suite, task, _), found in data.items()]
        lines += _different(f"{what} on the same recorded data", of)
    return lines


def _different(what: str, of: Iterable[tuple[str, set[Any]]]) -> list[str]:
    """A line with the names that have several values; none where there is no such name."""
    several = [f"{name} ({', '.join(sorted(map(str, values)))})" for name, values in of if len(values) > 1]
    return [f"different {what}: {first_few(several)}"] if several else []


def _by_row(section: Section) -> list[str]:
    lines = []
    for row in section.rows:
        if settings := mixed(row):
            lines.append(f"{row.title} mixes settings: {first_few([f'{k} {v}' for k, v in settings.items()])}")
        if any(e.seed is None for e in row.evaluations):
            lines.append(f"{row.title}: the training seed of some evaluations is not known")
        if early := [e for e in row.evaluations if _before_the_end(e)]:
            names = first_few([f"{e.task}, seed {e.seed}, step {e.last.step}" for e in early])
            lines.append(f"{row.title}: evaluated before the end of training: {names}")
    return lines


def _before_the_end(e: Evaluation) -> bool:
    """Whether the last evaluated checkpoint is not the run's last, as far as its settings tell."""
    planned = e.settings.get("train.steps")
    return planned is not None and e.settings.get("train.epochs") is None and e.last.step < planned


def _by_class(section: Section) -> list[str]:
    unequal = [
        name
        for name, tasks in section.classes.items()
        if len({tuple(found) for row in section.rows if (found := row.on(tasks))}) > 1
    ]
    if not unequal:
        return []
    return [
        f"rows were evaluated on different tasks of {', '.join(unequal)}: their means there are not comparable, the "
        "differences are (they use the tasks that both rows have)"
    ]
