"""Other names for rows: a manifest keeps the label under which its evaluation was made, a report may show another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.report.collect import Evaluation, Found, Offline, OnRobot

T = TypeVar("T", bound=Evaluation | Offline | OnRobot)


def rename_rows(found: Found, names: Sequence[str]) -> None:
    """Give some of the evaluations that were found another label; names and errors as of ``renamed``."""
    rows = renamed(found.everything, names)
    found.evaluations = [row for row in rows if isinstance(row, Evaluation)]
    found.offline = [row for row in rows if isinstance(row, Offline)]
    found.robots = [row for row in rows if isinstance(row, OnRobot)]


def renamed(evaluations: Sequence[T], names: Sequence[str]) -> list[T]:
    """The evaluations, some with another label. Rows that come to have one name become one row.

    Args:
        evaluations: what was collected.
        names: "OLD=NEW" each; "OLD*=NEW*" for every label that begins with OLD, the rest of which is kept. A label may
            have equals signs in it: OLD is what some evaluation is called.

    Raises:
        UsageError: no evaluation is called OLD, one is renamed twice, or two rows that would become one have
            evaluations of the same task and training seed.
    """
    labels = list(dict.fromkeys(e.label for e in evaluations))
    chosen: dict[str, str] = {}
    for old, new in (pair for text in names for pair in _parted(text, labels)):
        if chosen.setdefault(old, new) != new:
            raise UsageError(f"--rename: {old!r} has two new names, {chosen[old]!r} and {new!r}", "give one of them")
    found = [replace(e, label=chosen.get(e.label, e.label)) for e in evaluations]
    taken: dict[tuple[Any, ...], str] = {}
    for before, after in zip(evaluations, found, strict=True):
        if (other := taken.setdefault(after.key, before.label)) != before.label:
            raise UsageError(
                f"--rename: {other!r} and {before.label!r} would both be called {after.label!r}, and both have "
                f"{after.task}, seed {after.seed}",
                "rows become one where no task and seed is in both",
            )
    return found


def _parted(text: str, labels: Sequence[str]) -> list[tuple[str, str]]:
    """OLD and NEW; several where they end in asterisks."""
    ends = [index for index, sign in enumerate(text) if sign == "="]
    parts = [(text[:end].strip(), text[end + 1 :].strip()) for end in ends]
    found = [pairs for old, new in parts if new and (pairs := _matching(old, new, labels))]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"--rename {text!r}: could mean {' or '.join(repr(pairs[0][0]) for pairs in found)}")
    if not parts or not all(parts[0]):
        raise UsageError(f"--rename {text!r}: takes OLD=NEW", 'for example --rename "omp dde=light-1"')
    raise UsageError(f"--rename {text!r}: no row is called {parts[0][0]!r}", did_you_mean(parts[0][0], labels))


def _matching(old: str, new: str, labels: Sequence[str]) -> list[tuple[str, str]]:
    if old in labels:
        return [(old, new)]
    if not (old.endswith("*") and new.endswith("*")):
        return []
    return [(label, new[:-1] + label.removeprefix(old[:-1])) for label in labels if label.startswith(old[:-1])]
