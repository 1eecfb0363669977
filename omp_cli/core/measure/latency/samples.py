"""Times of repeated calls and the figures that are quoted from them. Pure arithmetic; milliseconds throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

ENOUGH_FOR_P95, ENOUGH_FOR_P99 = 20, 100
"""Fewer calls than these do not reach that far into the tail: the percentile is then left out, not interpolated."""

Blocks = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Statistics:
    """Figures of one row.

    Attributes:
        n: calls.
        p50: median, ms.
        min: ms.
        mean: ms.
        std: standard deviation of the calls, ms.
        p95: ms; None below 20 calls.
        p99: ms; None below 100 calls.
        jitter: p99 - p50, ms.
        hz: 1000 / p50.
        block_p50: median of each block, in order of time.
        drift_percent: largest minus smallest block median, in percent of p50; None for one block.
    """

    n: int
    p50: float
    min: float
    mean: float
    std: float
    p95: float | None
    p99: float | None
    jitter: float | None
    hz: float
    block_p50: tuple[float, ...]
    drift_percent: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain data, to a tenth of a microsecond."""
        return {key: _rounded(value) for key, value in asdict(self).items()}


def statistics(blocks: Blocks) -> Statistics:
    """Figures of the calls of all blocks together, and of the blocks beside each other.

    Args:
        blocks: times of each block's calls, ms; at least one call.
    """
    times = np.concatenate([np.asarray(block, float) for block in blocks])
    p50, p95, p99 = (float(x) for x in np.percentile(times, (50, 95, 99)))
    medians = tuple(float(np.median(block)) for block in blocks)
    deep = len(times) >= ENOUGH_FOR_P99
    return Statistics(
        n=len(times),
        p50=p50,
        min=float(times.min()),
        mean=float(times.mean()),
        std=float(times.std()),
        p95=p95 if len(times) >= ENOUGH_FOR_P95 else None,
        p99=p99 if deep else None,
        jitter=p99 - p50 if deep else None,
        hz=1000 / p50,
        block_p50=medians,
        drift_percent=100 * (max(medians) - min(medians)) / p50 if len(medians) > 1 else None,
    )


def composed(encode: Statistics, step: Statistics, nfe: int, reencode: bool) -> Statistics:
    """What a decision of ``nfe`` steps costs if it is the sum of its parts, from medians of the parts.

    Only p50, min and mean can be added up this way; spread and tail of a sum are not those of its parts.

    Args:
        encode: time of one encoding.
        step: time of one step of the sampler.
        nfe: steps.
        reencode: whether every step encodes.
    """
    times = nfe if reencode else 1

    def total(name: str) -> float:
        return float(times * getattr(encode, name) + nfe * getattr(step, name))

    p50 = total("p50")
    return Statistics(
        n=min(encode.n, step.n),
        p50=p50,
        min=total("min"),
        mean=total("mean"),
        std=float("nan"),
        p95=None,
        p99=None,
        jitter=None,
        hz=1000 / p50,
        block_p50=(),
        drift_percent=None,
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(x) for x in value]
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 4)
    return value
