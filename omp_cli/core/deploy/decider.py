"""What decides: noise and history in, a chunk out; the members are a checkpoint's policy and an exported one.

Legend: B batch, T observation steps, H horizon, E executed steps, A action dimension (of
noise that of ``Signature.noise_shape``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omp_cli.core.base.errors import diverged_action
from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.data.topics import RosTopics
from omp_cli.core.deploy.frames import Arrays, AsRead, Signature, as_read_by, topics_by
from omp_cli.core.deploy.parity import Difference
from omp_cli.core.policy_config import Graph, Precision, Weights
from omp_cli.core.spec import Spec


class Decider(ABC):
    """Decides for whole histories.

    Attributes:
        signature: what goes in and what comes out.
        path: the checkpoint, or the file of the graph.
        kind: "checkpoint" or "export".
        device: where it decides.
        weights: which weights of a checkpoint are used, or were exported; None where nothing says so.
        spec: of the policy's data; None where nothing says so, as of an export by an earlier omp.
        suite: as plain data, the settings with which the policy's data were shown; None where nothing says so.
        reference: as plain data, a picture that an environment has to repeat (``data.reference``); None for none.
        precision: of a checkpoint's network.
        graph: whether a checkpoint's decisions on CUDA are replayed graphs.
        against_float32: how far the lower precision of a checkpoint's network moves its actions; None in float32.
        generative: whether noise plays a part in its decisions.
    """

    signature: Signature
    path: Path
    kind: str
    device: torch.device
    weights: Weights | None = None
    spec: Spec | None = None
    suite: Mapping[str, Any] | None = None
    reference: Mapping[str, Any] | None = None
    precision: Precision = "fp32"
    graph: Graph = "auto"
    against_float32: Difference | None = None
    generative: bool = True

    @cached_property
    def sensing(self) -> tuple[AsRead, Mapping[str, tuple[str, ...]]]:
        """``frames.as_read_by`` of its suite."""
        return as_read_by(self.suite)

    @cached_property
    def topics(self) -> RosTopics | None:
        """``frames.topics_by`` of its suite."""
        return topics_by(self.suite)

    @abstractmethod
    def decide(self, history: Arrays, noise: Tensor) -> NDArray[np.float32]:
        """Arrays (B, T, ...) and noise z_1 (B, H, A) -> actions to execute (B, E, A), in the data's units."""

    @abstractmethod
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that it is, or was made of; DataError where that is gone, or is another one by now."""

    @abstractmethod
    def sha256(self) -> str:
        """Hash of the file that is executed, for a manifest."""

    def drawn_noise(self, generators: Sequence[torch.Generator | None], scale: float) -> Tensor:
        """z_1 (B, H, A) of the next decisions: normal of standard deviation ``scale``, or zeros without a generator."""
        shape = self.signature.noise_shape
        drawn = [torch.zeros(shape) if each is None else torch.randn(shape, generator=each) for each in generators]
        return scale * torch.stack(drawn)

    def figures(self) -> dict[str, Any]:
        """For a manifest: what executes decisions, "runtime", and what a lower precision changed in the actions."""
        return {}

    def chunk(self, history: Arrays, noise: Tensor) -> NDArray[np.float32]:
        """``decide``; Diverged when an action is not finite: nothing may be moved by it."""
        actions = self.decide(history, noise)
        if not np.isfinite(actions).all():
            raise diverged_action(str(self.path), "take")
        return actions
