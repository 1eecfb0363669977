"""Intervals for success rates."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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
