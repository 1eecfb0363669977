"""Other names for rows: a manifest keeps the label under which its evaluation was made, a report may show another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.report.collect import Evaluation, Offline

T = TypeVar("T", bound=Evaluation | Offline)


def renamed(evaluations: Sequence[T], names: Sequence[str]) -> list[T]:
    """The evaluations, some with another label.

    Args:
        evaluations: what was collected.
        names: "OLD=NEW" each; "OLD*=NEW*" for every label that begins with OLD, the rest of which is kept. A label may
            have equals signs in it: OLD is what some evaluation is called.

    Raises:
        UsageError: no evaluation is called OLD, one is renamed twice, or two rows would have one name.
    """
    labels = list(dict.fromkeys(e.label for e in evaluations))
    chosen: dict[str, str] = {}
    for old, new in (pair for text in names for pair in _parted(text, labels)):
        if chosen.setdefault(old, new) != new:
            raise UsageError(f"--rename: {old!r} has two new names, {chosen[old]!r} and {new!r}", "give one of them")
    taken: dict[str, str] = {}
    for label in labels:
        name = chosen.get(label, label)
        if (other := taken.setdefault(name, label)) != label:
            raise UsageError(
                f"--rename: {other!r} and {label!r} would both be called {name!r}", "rows keep names of their own"
            )
    return [replace(e, label=chosen.get(e.label, e.label)) for e in evaluations]


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
