"""How two policies did at the same starts: by which of them a start was met, and the difference of their success."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omp_cli.core.base.statistics import Rate, newcombe, newcombe_paired, wilson
from omp_cli.core.base.table import Table


def paired(ours: Sequence[bool | None], theirs: Sequence[bool | None]) -> dict[str, Any]:
    """Counts and difference of the starts at which both were judged; JSON types.

    Args:
        ours: success at each start, None where nobody has judged it.
        theirs: that of the other at the same starts, in the same order; it may have met fewer, or more.

    Returns:
        Empty where both were judged at no start.
    """
    judged = [(a, b) for a, b in zip(ours, theirs, strict=False) if a is not None and b is not None]
    if not judged:
        return {}
    both, first, second, neither = map(judged.count, ((True, True), (True, False), (False, True), (False, False)))
    counts = {"starts": len(judged), "both": both, "only_first": first, "only_second": second, "neither": neither}
    return {**counts, "difference": newcombe_paired(both, first, second, neither).as_dict()}


def unpaired(ours: Sequence[bool | None], theirs: Sequence[bool | None]) -> dict[str, Any]:
    """The difference of two rates whose episodes began at starts of their own; JSON types.

    Args:
        ours: success of each episode, None where nobody has judged it.
        theirs: that of the other's episodes.

    Returns:
        Empty where either has no judged episode.
    """
    judged = [[success for success in each if success is not None] for each in (ours, theirs)]
    if not all(judged):
        return {}
    first, second = (wilson(sum(each), len(each)) for each in judged)
    difference = newcombe(first, second).as_dict()
    return {"of_first": first.as_dict(), "of_second": second.as_dict(), "difference": difference}


def unpaired_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each two policies that began at starts of their own."""
    cells = [
        [
            *(str(row[name]) for name in ("first", "second")),
            *(str(Rate(**row[name])) for name in ("of_first", "of_second")),
            _difference(row),
        ]
        for row in rows
    ]
    note = "Success of the first minus that of the second, of independent episodes [95 %, Newcombe's]."
    columns = ("first", "second", "success of the first", "of the second", "difference")
    return Table("At starts of their own", columns, cells, note=note)


def paired_table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    """A row for each two policies: what stands under ``names``, then the figures of ``paired``."""
    counts = ("starts", "both", "only_first", "only_second", "neither")
    cells = [
        [
            *(str(row[name]) for name in (*names, *counts)),
            _difference(row),
        ]
        for row in rows
    ]
    columns = [name.replace("_", " ") for name in (*names, *counts, "difference")]
    note = "Success of the first minus that of the second, at the starts at which both were judged [95 %, Newcombe's]."
    return Table("At the same starts", columns, cells, note=note)


def _difference(row: Mapping[str, Any]) -> str:
    """The cell of a difference with its interval."""
    return "{value:+.2f} [{low:+.2f}, {high:+.2f}]".format(**row["difference"])
