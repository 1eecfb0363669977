"""What an evaluation without an environment is asked for (``omp eval --offline``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from omp_cli.core.base.config import Count, Depth, Flag, Seed, Settings, Threads
from omp_cli.core.policy_config import Weights

PANEL = "Recorded episodes (--offline)"
PICTURE = "actions.png"
"""The file of an evaluation without an environment that shows actions over an episode."""


class OfflineConfig(Settings):
    """How a policy's actions are compared with those of recorded episodes."""

    dataset: Annotated[Path | None, Flag(panel=PANEL)] = None
    """Data set to compare with; None for the one that the policy was trained on."""
    on: Annotated[Literal["held-out", "train"], Flag(panel=PANEL)] = "held-out"
    """Which episodes of the data set that it was trained on: held-out, or train for those that it learned from."""
    samples: Annotated[int, Flag(panel=PANEL)] = Field(default=16, ge=2, le=4096)
    """Chunks that a generative policy draws for each observation."""
    stride: Annotated[Count, Flag(panel=PANEL)] = 1
    """Frames from one decision to the next."""
    nfe: Annotated[Depth | None, Flag(panel="Episodes")] = None
    """Network evaluations per decision; None for the checkpoint's own."""
    weights: Annotated[Weights, Flag(panel="Episodes")] = "ema"
    """Weights of the checkpoint: their moving average (ema), or as trained (raw)."""
    seed: Seed = 0
    """Seed of the policy's noise and of the bootstrap."""
    threads: Threads = 1
    """Torch threads."""
    label: Annotated[str | None, Flag(panel="Episodes")] = Field(default=None, min_length=1)
    """Name of the policy in reports; None takes its method and derivative."""
