"""Configuration of ``omp bench-latency``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from omp_cli.core.config import LARGEST, Above0, AtLeast0, Count, Depth, Seed, Settings, Threads
from omp_cli.core.errors import UsageError, did_you_mean
from omp_cli.core.policy_config import Weights

DTYPES = ("float32", "bfloat16", "float16")
ALL = "all"
MIN_CALLS = 3


def _known_dtype(name: str) -> str:
    if name not in DTYPES:
        raise UsageError(f"unknown dtype {name!r}", did_you_mean(name, DTYPES))
    return name


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        calls: per block, at most.
        blocks: repeated blocks.
        warmup: calls before the first block, at most.
        warmup_seconds: and for at least so long, so that clocks have risen.
        budget: seconds for all blocks of one row; a slow row gets fewer calls, never fewer than ``MIN_CALLS``.
    """

    calls: int
    blocks: int
    warmup: int
    warmup_seconds: float
    budget: float

    def plan(self, seconds: float) -> tuple[int, int]:
        """Blocks, and calls in each, for a call that takes so long."""
        total = min(self.calls * self.blocks, max(MIN_CALLS, int(self.budget / max(seconds, 1e-9))))
        blocks = min(self.blocks, total)
        return blocks, max(total // blocks, -(-min(MIN_CALLS, total) // blocks))


class LatencyConfig(Settings):
    """What is measured, and how thoroughly.

    Attributes:
        nfe: evaluations of the network per decision; None: what the preset's ``[bench]`` table says, else 1.
        batch: observations per decision.
        dtype: of weights and inputs (pictures stay uint8).
        threads: torch threads.
        backend: runtimes, or "all"; None: eager and onnx, in a table of several policies eager alone. Eager is always
            there: it is what the others are compared with.
        weights: of a checkpoint: moving average, or as trained.
        calls: per block, at most.
        blocks: repeated blocks.
        warmup: calls before the first block, at most.
        warmup_seconds: and for at least so long.
        budget: seconds per row. A slow row gets fewer calls; one whose single call takes longer is composed of parts.
        place: each timed call takes in a new observation (a CUDA graph copies it); off: the same one again.
        parts: the parts of a decision and the whole control tick; None: for one policy yes, in a table no.
        ticks: control ticks measured.
        drift_percent: blocks whose medians lie further apart are reported.
        seed: of random weights and observations.
    """

    nfe: tuple[Depth, ...] | None = Field(None, min_length=1)
    batch: tuple[Count, ...] = Field((1,), min_length=1)
    dtype: Annotated[str, AfterValidator(_known_dtype)] = "float32"
    threads: Threads = 1
    backend: tuple[str, ...] | None = Field(None, min_length=1)
    weights: Weights = "ema"
    calls: Count = 100
    blocks: Count = 5
    warmup: Count = 20
    warmup_seconds: AtLeast0 = 0.3
    budget: Above0 = 10.0
    place: bool = True
    parts: bool | None = None
    ticks: int = Field(30, ge=3, le=LARGEST)
    drift_percent: Above0 = 5.0
    seed: Seed = 0

    def effort(self) -> Effort:
        """How much is measured per row."""
        return Effort(self.calls, self.blocks, self.warmup, self.warmup_seconds, self.budget)

    def backends(self, policies: int, known: Sequence[str]) -> tuple[str, ...]:
        """Runtimes to measure, eager first, when so many policies are measured; UsageError for one not ``known``."""
        asked = self.backend or (("eager", "onnx") if policies == 1 else ("eager",))
        for name in asked:
            if name not in (*known, ALL):
                raise UsageError(f"unknown backend {name!r}", did_you_mean(name, (*known, ALL)))
        return tuple(dict.fromkeys(("eager", *(known if ALL in asked else asked))))
