"""Configuration of ``omp bench-latency``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from omp_cli.core.base.config import LARGEST, Above0, AtLeast0, Count, Depth, Flag, Seed, Settings, Threads, distinct
from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.policy_config import Weights

DTYPES = ("float32", "tf32", "bfloat16", "float16")
TF32 = "tf32"
ALL = "all"
MIN_CALLS = 3
RUNTIMES = ("eager", "compile", "cudagraph", "compile-cudagraph", "aoti", "onnx")
"""The names of ``deploy.backends.BACKENDS`` for completion, which does without torch; a plugin may add others."""
USUAL, ON_CUDA = ("eager", "onnx"), "cudagraph"
"""Runtimes that are measured where the line names none, of several policies the first alone; and on CUDA also this one,
by which policies decide there.
"""


def _known_dtype(name: str) -> str:
    if name not in DTYPES:
        raise UsageError(f"unknown dtype {name!r}", did_you_mean(name, DTYPES))
    return name


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        calls: calls per block, at most.
        blocks: number of blocks.
        warmup: calls before the first block; fewer where they would take more than ``WARM_UP_SHARE`` of the budget.
        warmup_seconds: seconds that these calls take at least, so that clocks have risen.
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
    """What is measured, and how thoroughly."""

    nfe: Annotated[tuple[Depth, ...] | None, Flag(panel="Measuring")] = Field(None, min_length=1)
    """Network evaluations per decision, repeatable; None for the policy's own."""
    batch: Annotated[tuple[Count, ...], Flag(panel="Measuring")] = Field((1,), min_length=1)
    """Observations that are decided on together, B; repeatable."""
    dtype: Annotated[str, AfterValidator(_known_dtype), Flag(panel="Measuring", values=lambda: DTYPES)] = "float32"
    """Type in which the network computes, as of a policy at work with --precision: float32, tf32 (of NVIDIA GPUs),
    bfloat16 or float16; encoder, normalisation and sampler stay in float32.
    """
    threads: Annotated[Threads, Flag(panel="Measuring")] = 1
    """CPU threads of a decision."""
    backend: Annotated[
        tuple[str, ...] | None,
        Flag(
            panel="Measuring",
            default=f"{', '.join(USUAL)}; of several policies {USUAL[0]}; on CUDA {ON_CUDA}, too",
            values=lambda: (*RUNTIMES, ALL),
        ),
    ] = Field(None, min_length=1)
    """Runtime: eager, compile, cudagraph, compile-cudagraph, aoti, onnx or all; repeatable."""
    weights: Annotated[Weights, Flag(panel="Policy")] = "ema"
    """Weights of a checkpoint: their moving average (ema), or as trained (raw)."""
    calls: Annotated[Count, Flag(panel="Measuring")] = 100
    """Calls in a block, at most."""
    blocks: Annotated[Count, Flag(panel="Measuring")] = 5
    """Blocks of calls, which the backends take in turn."""
    warmup: Count = 20
    """Calls before the first block; fewer where they would take more than a fifth of the budget."""
    warmup_seconds: AtLeast0 = 0.3
    """Seconds that warming up takes at least."""
    budget: Annotated[Above0, Flag(panel="Measuring")] = 10.0
    """Seconds that all blocks of a row may take."""
    patience: Above0 = 180.0
    """Seconds that a runtime has, in a process of its own, to build and to answer as eager does; then its row says that
    it failed. A block of its calls has as long beyond the budget.
    """
    place: bool = True
    """Each timed call takes in a new observation (a CUDA graph copies it); off: the same one again."""
    parts: Annotated[bool | None, Flag(panel="Measuring")] = None
    """Whether the parts of a decision and the control tick are measured, too; None takes yes for a single policy alone.
    """
    ticks: int = Field(30, ge=3, le=LARGEST)
    """Control ticks measured."""
    drift_percent: Above0 = 5.0
    """Blocks whose medians lie further apart are reported."""
    seed: Seed = 0
    """Seed of random weights and observations."""

    rows_differ = field_validator("nfe", "batch", "backend")(distinct)

    def effort(self) -> Effort:
        """How much is measured per row."""
        return Effort(self.calls, self.blocks, self.warmup, self.warmup_seconds, self.budget)

    def backends(self, policies: int, known: Sequence[str], on_cuda: bool) -> tuple[str, ...]:
        """Runtimes to measure for a number of policies, eager first; UsageError for one that is not ``known``."""
        usual = USUAL if policies == 1 else USUAL[:1]
        asked = self.backend or ((*usual, ON_CUDA) if on_cuda else usual)
        for name in asked:
            if name not in (*known, ALL):
                raise UsageError(f"unknown backend {name!r}", did_you_mean(name, (*known, ALL)))
        return tuple(dict.fromkeys(("eager", *(known if ALL in asked else asked))))
