"""The papers' claims against a table: one row's lead over another, its interval, and what that says of the claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omp_cli.core.base import papers
from omp_cli.core.base.statistics import FEWEST, Interval, bootstrap, contrast
from omp_cli.core.report.differs import differences
from omp_cli.core.report.sections import Row, Section, Task, classes_of

SUITE = "metaworld"
HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told"


def verdicts(section: Section, seed: int) -> list[dict[str, Any]]:
    """Each claim of which the section has a row; JSON types only."""
    known = {name: _row(section, name) for name in papers.claims()["rows"]}
    return [
        _judged(section, claim, known[claim["row"]], known[claim["other"]], seed)
        for claim in papers.claims()["claims"]
        if known[claim["row"]] is not None or known[claim["other"]] is not None
    ]


def _row(section: Section, name: str) -> Row | None:
    nfe = papers.claims()["rows"][name]["nfe"]
    return next((row for row in section.rows if (row.label, row.nfe) == (name, nfe)), None)


def _judged(
    section: Section, claim: Mapping[str, Any], row: Row | None, other: Row | None, seed: int
) -> dict[str, Any]:
    found: dict[str, Any] = {"claim": claim["text"], "row": claim["row"], "other": claim["other"], "on": claim["on"]}
    found |= {"than": claim.get("than"), "published": claim.get("published"), "source": papers.claims()["source"]}
    if row is None or other is None:
        missing = claim["row"] if row is None else claim["other"]
        return {**found, "verdict": OPEN, "why": f"no row {missing}"}
    classes = classes_of(SUITE, ())
    on, than = ([_pairs(row, other, classes[name]) for name in claim.get(key, ())] for key in ("on", "than"))
    tasks = {task: pair for strata in (*on, *than) for task, pair in strata.items()}
    if not tasks:
        return {**found, "verdict": OPEN, "why": "no task that both rows have"}
    of = sum(len(classes[name]) for name in (*claim["on"], *claim.get("than", ())))
    lead = _lead([s for s in on if s], [s for s in than if s], bool(claim.get("than")), seed)
    seeds = [len(rates) for pair in tasks.values() for rates in pair]
    found |= {"tasks": len(tasks), "of": of, "seeds": [min(seeds), max(seeds)]}
    found |= {"value": None, "low": None, "high": None} if lead is None else lead.as_dict()
    found |= {"settings": {key: list(change) for key, change in differences(row, other).items()}}
    verdict, why = _verdict(lead, claim.get("published"))
    if len(tasks) < of:
        verdict, why = OPEN, f"{of - len(tasks)} of the tasks are not measured for both rows"
    if (odd := _not_what_it_is_called(row) or _not_what_it_is_called(other)) is not None:
        verdict, why = OPEN, odd
    return {**found, "verdict": verdict, "why": why}


Pair = tuple[list[float], list[float]]
"""Rates of a task's training seeds, of one row and of the other."""


def _pairs(row: Row, other: Row, tasks: Sequence[str]) -> dict[Task, Pair]:
    named = [(SUITE, task) for task in tasks]
    ours, theirs = row.on(named), other.on(named)
    return {t: ([e.last.value for e in ours[t]], [e.last.value for e in theirs[t]]) for t in ours if t in theirs}


def _lead(
    on: Sequence[Mapping[Task, Pair]], than: Sequence[Mapping[Task, Pair]], compared: bool, seed: int
) -> Interval | None:
    """How far one row is above the other, paired by task; with ``compared``, how much further on one kind of tasks."""
    if compared:
        if not on or not than:
            return None
        ours, theirs = ([_gain(pair) for strata in kind for pair in strata.values()] for kind in (on, than))
        return contrast(ours, theirs)
    first, second = ([[pair[i] for pair in strata.values()] for strata in on] for i in (0, 1))
    return bootstrap(first, second, seed=seed)


def _gain(pair: Pair) -> float:
    ours, theirs = pair
    return sum(ours) / len(ours) - sum(theirs) / len(theirs)


def _verdict(lead: Interval | None, published: float | None) -> tuple[str, str]:
    """By the interval alone: above 0, below 0, or neither; and whether it reaches what was published."""
    if lead is None or lead.low is None or lead.high is None:
        return OPEN, f"no interval for fewer than {FEWEST} tasks"
    if lead.low <= 0.0 <= lead.high:
        return OPEN, "the interval holds 0"
    if lead.high < 0.0:
        return FAILS, "the interval lies below 0"
    if published is not None and 100 * lead.high < published:
        return HOLDS, "but the lead is smaller than published"
    if published is not None and 100 * lead.low > published:
        return HOLDS, "and the lead is larger than published"
    return HOLDS, "the interval lies above 0"


def _not_what_it_is_called(row: Row) -> str | None:
    """The first setting in which a row is not what the claims mean by its name."""
    for key, wanted in papers.claims()["rows"][row.label].items():
        for e in row.evaluations if key != "nfe" else ():
            if (value := e.settings.get(key)) != wanted:
                return f"the row {row.label} has {key} {value}, not {wanted}"
    return None
