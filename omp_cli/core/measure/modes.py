"""Mode coverage: which of the ways to do a task the episodes took, beside the demonstrations'."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

NO_MODE = "none"
"""Episodes that took none of the ways: they never got there."""


def mode_coverage(modes: Sequence[str | None], demonstrated: Mapping[str, int] | None) -> dict[str, Any]:
    """Figures of an evaluation: "modes" and "modes_distance"; empty where neither episodes nor data have modes.

    ``modes`` has for each way its episodes ``n``, their ``share`` of all episodes and the ``data``'s share;
    ``modes_distance`` is the total variation distance of the two distributions, half the sum of their differences: 0
    where they are the same, 1 where nothing is in common. Both of the latter are None where the data are gone.

    Args:
        modes: the way that each episode took; None where it took no way.
        demonstrated: number of demonstrations of each way.
    """
    if not demonstrated and not any(modes):
        return {}
    counts = Counter(mode or NO_MODE for mode in modes)
    data = Counter(demonstrated or {})
    rows: dict[str, dict[str, Any]] = {}
    for name in sorted(counts.keys() | data.keys(), key=lambda name: (name == NO_MODE, name)):
        theirs = data[name] / data.total() if data else None
        rows[name] = {"n": counts[name], "share": counts[name] / len(modes), "data": theirs}
    distance = sum(abs(row["share"] - row["data"]) for row in rows.values()) / 2 if data else None
    return {"modes": rows, "modes_distance": distance}
