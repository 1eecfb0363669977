"""Intervals for success rates, spread of returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Rate:
    """n of N with a Wilson 95 % interval (Wilson 1927; without continuity correction)."""

    successes: int
    episodes: int
    rate: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data, rounded for reading."""
        return {key: round(value, 4) for key, value in asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.successes}/{self.episodes} = {self.rate:.2f} [{self.low:.2f}, {self.high:.2f}]"


def wilson(successes: int, episodes: int, confidence: float = 0.95) -> Rate:
    """Rate and Wilson interval of ``successes`` out of ``episodes`` > 0."""
    from scipy.stats import binomtest

    interval = binomtest(successes, episodes).proportion_ci(confidence, method="wilson")
    return Rate(successes, episodes, successes / episodes, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Spread:
    """N values: mean, standard deviation of the sample (N - 1), standard error of the mean, extremes.

    Of a single value deviation and error are unknown: None.
    """

    episodes: int
    mean: float
    std: float | None
    sem: float | None
    min: float
    max: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data, rounded for reading."""
        return {key: None if value is None else round(value, 3) for key, value in asdict(self).items()}


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    sem = None if std is None else std / len(values) ** 0.5
    return Spread(len(values), float(np.mean(values)), std, sem, float(min(values)), float(max(values)))
