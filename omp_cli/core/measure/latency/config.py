"""Configuration of ``omp bench-latency``."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import AfterValidator, Field, field_validator

from omp_cli.core.checkpoint import Weights
from omp_cli.core.config import LARGEST, Above0, AtLeast0, Count, Depth, Settings, Threads, distinct
from omp_cli.core.deploy import backends
from omp_cli.core.errors import UsageError, did_you_mean
from omp_cli.core.measure.latency.timer import Effort
from omp_cli.core.seeds import Seed

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ALL = "all"


def _known_dtype(name: str) -> str:
    if name not in DTYPES:
        raise UsageError(f"unknown dtype {name!r}", did_you_mean(name, DTYPES))
    return name


def _known_backend(name: str) -> str:
    if name not in (known := (*backends.names(), ALL)):
        raise UsageError(f"unknown backend {name!r}", did_you_mean(name, known))
    return name


class LatencyConfig(Settings):
    """What is measured, and how thoroughly.

    Attributes:
        nfe: evaluations of the network per decision; None: what the preset's ``[bench]`` table says, a
            checkpoint's own number.
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
    backend: tuple[Annotated[str, AfterValidator(_known_backend)], ...] | None = Field(None, min_length=1)
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

    rows_differ = field_validator("nfe", "batch", "backend")(distinct)

    def effort(self) -> Effort:
        """How much is measured per row."""
        return Effort(self.calls, self.blocks, self.warmup, self.warmup_seconds, self.budget)

    def backends(self, policies: int) -> tuple[str, ...]:
        """Runtimes to measure, eager first, when so many policies are measured."""
        asked = self.backend or (("eager", "onnx") if policies == 1 else ("eager",))
        chosen = backends.names() if ALL in asked else asked
        return tuple(dict.fromkeys(("eager", *chosen)))
