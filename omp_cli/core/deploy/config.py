"""Configuration of ``omp export``."""

from __future__ import annotations

from typing import Literal

from omp_cli.core.config import Count, Depth, Seed, Settings, Threads
from omp_cli.core.policy_config import Weights


class ExportConfig(Settings):
    """What is exported.

    Attributes:
        format: the files to write.
        nfe: evaluations of the network per decision, unrolled in the graph.
        weights: moving average, or as trained.
        batch: B, decisions per call.
        dynamic_batch: any B instead.
        seed: of the observations and the noise on which the files are compared with the policy.
        threads: torch's and ONNX Runtime's while comparing.
    """

    format: Literal["both", "pt2", "onnx"] = "both"
    nfe: Depth = 1
    weights: Weights = "ema"
    batch: Count = 1
    dynamic_batch: bool = False
    seed: Seed = 0
    threads: Threads = 1
