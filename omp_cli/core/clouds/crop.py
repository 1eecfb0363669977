"""Axis-aligned crop box, and which rays can meet it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Box:
    """Open box low < point < high, metres."""

    low: Triple
    high: Triple

    def contains(self, points: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Which of the points (M, 3) lie strictly inside: (M,)."""
        # column by column: a reduction over an axis of length 3 costs several times more
        inside = (points[:, 0] > self.low[0]) & (points[:, 0] < self.high[0])
        for axis in (1, 2):
            inside &= (points[:, axis] > self.low[axis]) & (points[:, axis] < self.high[axis])
        return inside

    def meets(self, origin: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which rays from ``origin`` (3,) along ``directions`` (M, 3) pass through the box ahead of it: (M,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            one = (np.array(self.low) - origin) / directions
            other = (np.array(self.high) - origin) / directions
        enter = np.minimum(one, other)
        leave = np.maximum(one, other)
        # a ray parallel to a slab gives 0/0 on its face: undecided there, so that slab must not exclude it
        enter = np.where(np.isnan(enter), -np.inf, enter).max(axis=1)
        leave = np.where(np.isnan(leave), np.inf, leave).min(axis=1)
        return (leave >= np.maximum(enter, 0.0)) & (leave > 0.0)

    def describe(self) -> dict[str, list[float]]:
        """JSON form for a data set's provenance."""
        return {"low": list(self.low), "high": list(self.high)}
