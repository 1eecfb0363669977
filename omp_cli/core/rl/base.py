"""The contract of a fine-tuning algorithm. Legend: N environments, K function evaluations per decision (NFE)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import Diverged
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.families import ALGORITHMS as ALGORITHMS
from omp_cli.core.methods import Method
from omp_cli.core.methods.diffusion import Diffusion
from omp_cli.core.policy import Policy
from omp_cli.core.policy_config import Graph
from omp_cli.core.rl.rollout import Collector
from omp_cli.core.train.graph import Replays, why_eager
from omp_cli.core.train.optim import eager_at_first


@dataclass(frozen=True)
class Start:
    """What a fine-tuning algorithm begins with.

    Attributes:
        policy: the policy that is fine-tuned, in evaluation mode: acting or learning, no dropout and no augmentation.
        pretrained: the same policy, frozen.
        nfe: K, the number of function evaluations.
        envs: N, the number of environments.
        seed: seed of the run.
        device: where both policies live.
        watch: receives the time of the parts.
        note: called with a line for the user.
        checkpoint: the checkpoint that both come from, whose run names the demonstrations; None for a policy that was
            never saved.
        reward: what the environments reward, as ``FinetuneConfig`` has it.
        end_on_success: whether success ends an episode.
        iterations: number of iterations of the whole run.
        graph: whether updates are CUDA graphs.
        synchronise: whether the host waits for a GPU at every part.
    """

    policy: Policy
    pretrained: Policy
    nfe: int
    envs: int
    seed: int
    device: torch.device
    watch: Stopwatch
    note: Callable[[str], None]
    checkpoint: Checkpoint | None = None
    reward: Literal["environment", "success"] = "environment"
    end_on_success: bool = False
    iterations: int = 1
    graph: Graph = "auto"
    synchronise: bool = False


class Algorithm(ABC):
    """One way to improve a policy by what the environments answer.

    A *method* says how a policy was pre-trained and how it samples; an algorithm says how experience improves it.

    Args:
        config: the algorithm's settings.
        start: see ``Start``.

    Attributes:
        nfe: default K; None for the policy's own.
        general: whether it is for policies of many methods, and so not the natural one of any.
        recording: the repeated part of an update, replayed where it can be.
    """

    Config: ClassVar[type[Settings]]
    nfe: ClassVar[int | None] = 1
    general: ClassVar[bool] = False
    recording: Replays[dict[str, Tensor]]

    def __init__(self, config: Settings, start: Start) -> None:
        self.config, self.start = config, start

    def replays(self, step: Callable[[Any, Any], dict[str, Tensor]]) -> Replays[dict[str, Tensor]]:
        """A part of an update, which returns figures, as something that a GPU can record; see ``Replays``.

        Raises:
            UsageError: a graph is asked for, and there can be none.
        """
        start = self.start
        eager = why_eager("graph", start.graph, start.device, start.synchronise)
        return Replays(step, "graph", start.graph, eager, start.device, start.note)

    @classmethod
    @abstractmethod
    def fits(cls, method: type[Method]) -> bool:
        """Whether a policy pre-trained with this method can be fine-tuned."""

    @property
    def augments(self) -> bool:
        """Whether pictures are shifted as in pre-training."""
        return False

    @abstractmethod
    def iterate(self, iteration: int, collector: Collector) -> dict[str, float]:
        """Collect experience and learn from it; figures for the log.

        All randomness comes from torch's global generator, which the caller seeds for the iteration.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Everything besides the policy that a resumed run needs."""

    @abstractmethod
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of ``tensors``; DataError when they are of another run."""


def is_flow(method: type[Method]) -> bool:
    """Whether a policy is generative and its jumps have no noise of their own."""
    return method.generative and not issubclass(method, Diffusion)


def refuse_diverged(iteration: int, figures: Mapping[str, float], hint: str) -> None:
    """Diverged where one of an iteration's figures is not finite."""
    if not all(math.isfinite(value) for value in figures.values()):
        shown = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
        raise Diverged(f"diverged at iteration {iteration + 1}: {shown}", hint)


def adamw(module: nn.Module, lr: float, weight_decay: float = 0.0, recorded: bool = False) -> torch.optim.AdamW:
    """AdamW over what learns; without decay that is Adam. Steps at a rate that stays can be ``recorded``."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr, weight_decay=weight_decay, fused=True, capturable=recorded)
    return eager_at_first(optimizer) if recorded else optimizer


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix/``, by their names without it."""
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}


def named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by their names with ``prefix/`` before them."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}
