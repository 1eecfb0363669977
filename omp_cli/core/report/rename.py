"""Other names for rows: a manifest keeps the label under which its evaluation was made, a report may show another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from omp_cli.core.errors import UsageError, did_you_mean
from omp_cli.core.report.collect import Evaluation


def renamed(evaluations: Sequence[Evaluation], names: Sequence[str]) -> list[Evaluation]:
    """The evaluations, some with another label.

    Args:
        evaluations: what was collected.
        names: "OLD=NEW" each. A label may have equals signs in it: OLD is what some evaluation is called.

    Raises:
        UsageError: no evaluation is called OLD, one is renamed twice, or two rows would have one name.
    """
    labels = list(dict.fromkeys(e.label for e in evaluations))
    chosen: dict[str, str] = {}
    for text in names:
        old, new = _parted(text, labels)
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


def _parted(text: str, labels: Sequence[str]) -> tuple[str, str]:
    """OLD and NEW."""
    ends = [index for index, sign in enumerate(text) if sign == "="]
    parts = [(text[:end].strip(), text[end + 1 :].strip()) for end in ends]
    known = [(old, new) for old, new in parts if old in labels and new]
    if len(known) == 1:
        return known[0]
    if known:
        raise UsageError(f"--rename {text!r}: could mean {' or '.join(repr(old) for old, _ in known)}")
    if not parts or not all(parts[0]):
        raise UsageError(f"--rename {text!r}: takes OLD=NEW", 'for example --rename "omp dde=light-1"')
    raise UsageError(f"--rename {text!r}: no row is called {parts[0][0]!r}", did_you_mean(parts[0][0], labels))
