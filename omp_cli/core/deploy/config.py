"""Configuration of ``omp export``."""

from __future__ import annotations

from typing import Annotated, Literal

from omp_cli.core.base.config import Count, Depth, Flag, Seed, Settings, Threads
from omp_cli.core.policy_config import Weights


class ExportConfig(Settings):
    """What is exported."""

    format: Annotated[Literal["both", "pt2", "onnx"], Flag(panel="Graph")] = "both"
    """Files to write."""
    nfe: Annotated[Depth | None, Flag(panel="Graph", default="the checkpoint's own")] = None
    """Network evaluations per decision, unrolled in the graph; None for the checkpoint's own."""
    weights: Annotated[Weights, Flag(panel="Graph")] = "ema"
    """Weights of the checkpoint: their moving average, or as trained."""
    batch: Annotated[Count, Flag(panel="Graph")] = 1
    """Decisions per call, B."""
    dynamic_batch: Annotated[bool, Flag(panel="Graph", only_on=True)] = False
    """Whether a call takes any number of decisions instead."""
    seed: Seed = 0
    """Of the observations and the noise on which the files are compared with the policy."""
    threads: Threads = 1
    """Torch's and ONNX Runtime's while comparing."""
