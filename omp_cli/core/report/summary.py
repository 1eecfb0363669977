"""The figures of a report as one plain document; tables, pages and plots only show it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from omp_cli.core.base.paired import paired
from omp_cli.core.base.statistics import COVERAGE, FEWEST, RESAMPLES, bootstrap, newcombe, spread, wilson
from omp_cli.core.report import published
from omp_cli.core.report.caveats import caveats
from omp_cli.core.report.claims import verdicts
from omp_cli.core.report.collect import Evaluation, Found, pooled
from omp_cli.core.report.differs import differences
from omp_cli.core.report.failures import failures
from omp_cli.core.report.latency import latencies
from omp_cli.core.report.offline import offline_rows
from omp_cli.core.report.on_robots import robot_rows, turns_rows
from omp_cli.core.report.over_training import curves, selected
from omp_cli.core.report.sections import PAPERS, TOTAL, Row, Section, Task, classes_of, make_sections
from omp_cli.core.report.training import trainings

STATISTICS = {
    "means": "of the rates of a task's training seeds, then over tasks; the total is unweighted over all tasks.",
    "intervals of means": f"95 % percentiles of {RESAMPLES} bootstrap resamples with a fixed seed: tasks are drawn "
    f"within their class, or among all where a class has fewer than {FEWEST}, and the percentiles are widened to "
    "Student's t for their number; never narrower than Student's t interval. In simulations "
    + ", ".join(f"{even} % of them held the truth with {n} tasks ({skew} %)" for n, (even, skew) in COVERAGE.items())
    + ", in brackets where most tasks are near 100 %: a few tasks that are all easy say little of a hard one. "
    f"None is shown for fewer than {FEWEST} tasks or where all rates were equal.",
    "intervals of tasks": "Wilson 95 % of n/N pooled over seeds; they leave out that seeds differ.",
    "differences": "between tasks that both rows have. Per task: Newcombe's hybrid score interval of two pooled "
    "proportions (method 10), that for pairs where both began in the same start states; training seeds that share "
    "starts count as pairs of their own. Per class: the bootstrap above, with the same tasks drawn for both.",
    "last": "the last checkpoint, evaluated once. This is what all tables show but the one of selection.",
    "top5": "the mean of the five best evaluations over training, as in the papers; not defined for a run of five or "
    "fewer, whose mean it would be. It is biased upwards: with 20 episodes each, the best five of 15 gain about 10 "
    "points by luck alone.",
}


def summarise(found: Found, baseline: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Everything that a report says, JSON types only.

    Args:
        found: evaluations.
        baseline: label or title of the row that others are compared with; None for the one with most evaluations.
        seed: seed of the bootstrap.

    Raises:
        UsageError: no row is called ``baseline``.
    """
    sections = make_sections(found.evaluations, baseline)
    successes = [section for section in sections if section.metric == "success"]
    return {
        "header": _header(found),
        "warnings": caveats(sections, found.offline, found.left_out),
        "statistics": {**STATISTICS, "published": published.protocol()},
        "sections": [_summary(section, found, seed) for section in successes],
        "returns": [_returns(section) for section in sections if section.metric != "success"],
        "robots": robot_rows(found.robots),
        "in_turns": turns_rows(found.in_turns),
        "offline": offline_rows(found.offline),
    }


def _header(found: Found) -> dict[str, Any]:
    evaluations = found.everything
    own_labels, versions, data = (defaultdict[str, set[str]](set) for _ in range(3))
    for e in evaluations:
        own_labels[e.label].add(e.own_label)
        data[f"{e.suite}/{e.task}"].add(e.data)
        for name, version in e.manifest.versions.items():
            versions[name].add(version)
    machines = dict.fromkeys(
        f"{h.cpu}, {h.cores} cores, {h.platform}, device {h.device}" for h in (e.manifest.hardware for e in evaluations)
    )
    return {
        "evaluations": len(found.evaluations),
        "offline": len(found.offline),
        "robots": len(found.robots),
        "episodes": sum(e.last.episodes for e in found.evaluations),
        "policies": list(own_labels),
        "renamed": {label: " and ".join(sorted(own)) for label, own in own_labels.items() if own != {label}},
        "tasks": len({(e.suite, e.task) for e in evaluations}),
        "seeds": sorted({e.seed for e in evaluations if e.seed is not None}),
        "first": min(e.manifest.started_at for e in evaluations),
        "last": max(e.manifest.finished_at or e.manifest.started_at for e in evaluations),
        "machines": list(machines),
        "versions": {name: sorted(found) for name, found in versions.items()},
        "data": {task: sorted(hashes) for task, hashes in data.items()},
    }


def _summary(section: Section, found: Found, seed: int) -> dict[str, Any]:
    base = section.baseline
    others = [row for row in section.rows if base is not None and row is not base]
    return {
        "title": section.title,
        "metric": section.metric,
        "classes": {name: [task for _, task in tasks] for name, tasks in section.classes.items()},
        "of": section.of,
        "rows": [_row(section, row, seed) | {"latency": latencies(row, found.latencies)} for row in section.rows],
        "published": _published(section),
        "baseline": None if base is None else base.title,
        "differences": [_difference(section, row, base, seed) for row in others if base is not None],
        "tasks": [_task(name, task, section) for name, task in section.tasks],
        "selection": [selected(section, row) for row in section.rows],
        "claims": verdicts(section, seed),
        "failures": failures(section),
        "missing": _missing(section),
        "curves": [curves(section, row) for row in section.rows],
        "training": trainings(section),
    }


def _missing(section: Section) -> list[dict[str, Any]]:
    """Tasks of the papers' classes that rows lack, rows that lack the same together."""
    found = []
    for suite in dict.fromkeys(suite for _, (suite, _) in section.tasks if suite in PAPERS):
        for name, tasks in classes_of(suite, ()).items():
            lacking: dict[tuple[str, ...], list[str]] = {}
            for row in section.rows if name in published.CLASSES else ():
                here = row.on([(suite, task) for task in tasks])
                if without := tuple(task for task in tasks if (suite, task) not in here):
                    lacking.setdefault(without, []).append(row.title)
            found += [
                {"class": name, "rows": titles, "tasks": list(without), "of": len(tasks)}
                for without, titles in lacking.items()
            ]
    return found


def _values(found: Mapping[Task, Sequence[Evaluation]]) -> list[list[float]]:
    return [[e.last.value for e in seeds] for seeds in found.values()]


def _row(section: Section, row: Row, seed: int) -> dict[str, Any]:
    def figure(classes: list[Sequence[Task]]) -> dict[str, Any] | None:
        strata = [found for tasks in classes if (found := row.on(tasks))]
        if not strata:
            return None
        seeds = [len(evaluations) for found in strata for evaluations in found.values()]
        return {
            **bootstrap([_values(found) for found in strata], seed=seed).as_dict(),
            "tasks": [f"{suite}/{task}" for found in strata for suite, task in found],
            "of": sum(map(len, classes)),
            "seeds": [min(seeds), max(seeds)],
            "episodes": sum(e.last.episodes for found in strata for here in found.values() for e in here),
        }

    classes = section.by_class(figure)
    if classes[TOTAL] is not None:
        classes[TOTAL]["of"] = section.of
    return {"title": row.title, "label": row.label, "nfe": row.nfe, "classes": classes}


def _published(section: Section) -> list[dict[str, Any]]:
    """The papers' rows for the very tasks that the baseline (else the first row) was evaluated on."""
    if not any(suite in PAPERS for _, (suite, _) in section.tasks):
        return []
    row = section.baseline or section.rows[0]
    same = {name: tuple(row.on(tasks)) for name, tasks in section.classes.items()}
    counted = {name: same[name] for name in section.counted if same[name]}
    rows = []
    for method in published.methods():
        classes = {name: published.of_class(method, name, tasks) for name, tasks in same.items() if tasks}
        classes[TOTAL] = published.of_all(method, counted)
        if any(figure for name, figure in classes.items() if name != TOTAL or len(counted) > 1):
            rows.append(
                {
                    "title": method,
                    "nfe": published.nfe(method),
                    "source": published.source(method),
                    "classes": {name: classes.get(name) for name in (*section.classes, TOTAL)},
                }
            )
    return rows


def _difference(section: Section, row: Row, base: Row, seed: int) -> dict[str, Any]:
    def figure(classes: list[Sequence[Task]]) -> dict[str, Any] | None:
        strata = [
            (ours, {task: theirs[task] for task in ours})
            for tasks in classes
            for theirs in [base.on(tasks)]
            if (ours := {task: found for task, found in row.on(tasks).items() if task in theirs})
        ]
        if not strata:
            return None
        interval = bootstrap([_values(a) for a, _ in strata], [_values(b) for _, b in strata], seed=seed)
        return {**interval.as_dict(), "tasks": sum(len(ours) for ours, _ in strata)}

    return {
        "title": row.title,
        "settings": {key: list(change) for key, change in differences(row, base).items()},
        "classes": section.by_class(figure),
    }


def _task(name: str, task: Task, section: Section) -> dict[str, Any]:
    base = [] if section.baseline is None else section.baseline.of(task)
    rows = {}
    for row in section.rows:
        if not (seeds := row.of(task)):
            continue
        rate, between = wilson(*pooled(seeds)), spread([e.last.value for e in seeds])
        compared = base and row is not section.baseline
        rows[row.title] = {
            **rate.as_dict(),
            "seeds": {str(e.seed): [e.successes, e.last.episodes] for e in seeds},
            "mean": round(between.mean, 4),
            "std": None if between.std is None else round(between.std, 4),
            "difference": _task_difference(seeds, base) if compared else None,
        }
    return {"class": name, "suite": task[0], "task": task[1], "rows": rows, "published": published.of_task(*task)}


def _task_difference(ours: Sequence[Evaluation], base: Sequence[Evaluation]) -> dict[str, Any]:
    """Of two rows on one task; "paired" where all of their evaluations began in the same start states."""
    of_base = {e.seed: e.outcomes for e in base}
    pairs = [(e.outcomes, of_base.get(e.seed)) for e in ours]
    if len(ours) == len(base) and all(one and other and one[0] == other[0] for one, other in pairs):
        one, other = ([success for found in side if found for success in found[1]] for side in zip(*pairs, strict=True))
        return {**paired(one, other)["difference"], "paired": True}
    return {**newcombe(wilson(*pooled(ours)), wilson(*pooled(base))).as_dict(), "paired": False}


def _returns(section: Section) -> dict[str, Any]:
    rows = []
    for _, task in section.tasks:
        for row in section.rows:
            if seeds := row.of(task):
                found = spread([e.last.value for e in seeds]).as_dict()
                rows.append(
                    {
                        "task": f"{task[0]}/{task[1]}",
                        "title": row.title,
                        "nfe": row.nfe,
                        "mean": found["mean"],
                        "std": found["std"],
                        "seeds": {str(e.seed): round(e.last.value, 3) for e in seeds},
                        "episodes": sum(e.last.episodes for e in seeds),
                    }
                )
    return {"title": section.title, "metric": section.metric, "rows": rows, "training": trainings(section)}
