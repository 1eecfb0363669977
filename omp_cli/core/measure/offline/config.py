"""What an evaluation without an environment is asked for (``omp eval --offline``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from omp_cli.core.base.config import LARGEST, Count, Depth, Flag, Seed, Settings, Threads
from omp_cli.core.policy_config import Weights

PANEL = "Recorded episodes (--offline)"


class OfflineConfig(Settings):
    """How a policy's actions are compared with those of recorded episodes."""

    dataset: Annotated[Path | None, Flag(panel=PANEL, default="the one that the policy was trained on")] = None
    """Data set to compare with."""
    on: Annotated[Literal["held-out", "train"], Flag(panel=PANEL)] = "held-out"
    """Which episodes of the policy's own data set: held-out, or train for those that it learned from."""
    samples: Annotated[int, Flag(panel=PANEL)] = Field(default=16, ge=2, le=4096)
    """Chunks that a generative policy draws for each observation."""
    stride: Annotated[Count, Flag(panel=PANEL)] = Field(default=1, le=LARGEST)
    """Frames from one decision to the next."""
    nfe: Annotated[Depth | None, Flag(panel="Episodes", default="the checkpoint's own")] = None
    """Network evaluations per decision; None for the checkpoint's own (``Checkpoint.nfe``)."""
    weights: Annotated[Weights, Flag(panel="Episodes")] = "ema"
    """Weights of the checkpoint: their moving average, or as trained."""
    seed: Seed = 0
    """Of the policy's noise and of the bootstrap."""
    threads: Threads = 1
    """Torch threads."""
    label: Annotated[str | None, Flag(panel="Episodes", default="method and derivative")] = Field(
        default=None, min_length=1
    )
    """Name of the policy in reports."""
