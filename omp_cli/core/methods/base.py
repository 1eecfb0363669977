"""The contract of a generative method.

Legend: B batch, H horizon, A action dimension, D condition dimension, K function evaluations (NFE).
Time: t = 0 is data, t = 1 is noise, 0 <= r <= t <= 1 (math.md section 1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from omp_cli.core.base.config import Settings
from omp_cli.core.families import METHODS as METHODS


class VelocityField(Protocol):
    """A conditioned mean-velocity field; a network with the observation bound in, or a closed form in a test."""

    def __call__(self, z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """u(z, r, t): z (B, H, A), r (B,), t (B,) -> (B, H, A); a list given as ``features`` receives hidden layers."""
        ...


class Conditioned:
    """A network's field with the embeddings h (B, D) bound in, a row each; it can be had for some of the rows alone.

    Args:
        net: net(z, r, t, h, features) -> (B, H, A).
        h: condition embeddings, (B, D).
    """

    def __init__(self, net: Callable[..., Tensor], h: Tensor) -> None:
        self._net, self._h = net, h

    def __call__(self, z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """See ``VelocityField``."""
        return self._net(z, r, t, self._h, features)

    def of_rows(self, index: Tensor) -> Conditioned:
        """The field of the rows ``index`` (M,), which may name a row more than once."""
        return Conditioned(self._net, self._h.index_select(0, index))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one loss evaluation, made apart from it so that a loss is a function.

    Attributes:
        noise: z_1, (B, H, A), standard normal.
        r: interval start, (B,).
        t: interval end, (B,); r <= t.
        second: further standard normal numbers, (B, H, A), of the methods that need two kinds.
        moving: rows (M,), ascending, outside of which r = t, so that du/dt counts for nothing there; M depends on B and
            the settings alone. None where no such rows are known.
    """

    noise: Tensor
    r: Tensor
    t: Tensor
    second: Tensor | None = None
    moving: Tensor | None = None

    def to(self, like: Tensor) -> Draws:
        """The same numbers on the device and in the dtype of ``like``."""
        return self.map(lambda x: x.to(like) if x.is_floating_point() else x.to(like.device))

    def part(self, start: int, stop: int) -> Draws:
        """Rows start..stop: what one of several processes works on."""
        rows = replace(self, moving=None).map(lambda x: x[start:stop])
        if self.moving is None:
            return rows
        return replace(rows, moving=self.moving[(self.moving >= start) & (self.moving < stop)] - start)

    def map(self, change: Callable[[Tensor], Tensor]) -> Draws:
        """The draws with each tensor changed."""
        second, moving = (None if x is None else change(x) for x in (self.second, self.moving))
        return Draws(change(self.noise), change(self.r), change(self.t), second, moving)


@dataclass(frozen=True)
class LossReport:
    """A loss and what it is made of.

    Attributes:
        total: scalar to differentiate.
        parts: detached scalars for the log, unweighted terms and diagnostics.
        terms: weighted, differentiable terms whose gradient share a run logs (a dead term must be visible).
        diagnostics: computes further detached scalars; called only for steps that are logged.
    """

    total: Tensor
    parts: dict[str, Tensor]
    terms: dict[str, Tensor]
    diagnostics: Callable[[], dict[str, Tensor]] = dict


@dataclass(frozen=True)
class Jump:
    """One step of the sampling chain z^0, ..., z^K; a Gaussian around ``mean`` once noise is added (fine-tuning).

    Attributes:
        t: time at which it starts.
        mean: (u, z) -> where the step leads, (B, H, A) -> (B, H, A).
        std: standard deviation that the method's own noise has there; 0 where the step is deterministic.
    """

    t: float
    mean: Callable[[VelocityField, Tensor], Tensor]
    std: float = 0.0


def mean_end(u: VelocityField, jumps: Sequence[Jump], noise: Tensor) -> Tensor:
    """Where the jumps lead from z^0 (B, H, A) without noise between them, not clipped: (B, H, A)."""
    z = noise
    for jump in jumps:
        z = jump.mean(u, z)
    return z


@dataclass(frozen=True)
class Measured:
    """Settings that a method found by itself on the first batch of a run.

    Attributes:
        settings: values by the name of the setting; the run keeps them in its checkpoints and logs them.
        note: one line for the user.
    """

    settings: dict[str, float]
    note: str


Gather = Callable[[Tensor], Tensor]


def same(x: Tensor) -> Tensor:
    """The identity: features of a single process need no gathering."""
    return x


class Method(ABC):
    """One way to train and sample an action chunk. Holds its configuration and nothing else.

    Attributes:
        generative: False where the noise plays no part: one chunk per observation, by one evaluation.
        distils: whether the loss learns from a trained policy, which it gets as a further argument ``teacher``
            (``methods.teaching.Teacher``).
        needs_score: whether that has to come with a copy of the teacher's network that learns beside the policy.
        usual_nfe: K of a decision unless somebody asks for another; checkpoints keep it.
        policy_rate: learning rate of the policy in units of the run's, which the score network beside it has.
        warm_start: whether a method that distils starts from the teacher's weights where net and encoder are the same.
        to_measure: settings that the configuration leaves to ``measure`` on the first batch of a run.
    """

    Config: ClassVar[type[Settings]]
    generative: ClassVar[bool] = True
    distils: ClassVar[bool] = False
    needs_score: bool = False
    usual_nfe: int = 1
    policy_rate: float = 1.0
    warm_start: bool = True
    to_measure: tuple[str, ...] = ()

    def __init__(self, config: Settings) -> None:
        self.config = config

    @abstractmethod
    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Noise and times for a batch of shape (B, H, A), float32 on the generator's device."""

    @abstractmethod
    def loss(self, u: VelocityField, z_0: Tensor, h: Tensor, draws: Draws, gather: Gather = same) -> LossReport:
        """Training loss.

        Args:
            u: velocity field with the condition bound in.
            z_0: normalised action chunks, (B, H, A).
            h: condition embeddings, (B', D), B' <= B (one per observation; B = m B' with m draws each).
            draws: noise and times, B rows.
            gather: brings the rows of all processes together, with gradient, for terms over the whole batch.
        """

    def measure(self, u: VelocityField, z_0: Tensor, draws: Draws) -> Measured:
        """Find the settings ``to_measure`` on a batch; see ``loss`` for the arguments."""
        raise NotImplementedError(f"{type(self).__name__} names settings to measure, so it has to measure them")

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """The same method with some settings replaced."""
        return type(self)(self.config.model_copy(update=dict(settings)))

    def check_compilable(self) -> None:
        """UsageError where ``torch.compile`` of the network is known to fail under this method's loss."""
        return  # it works for a loss that differentiates the network by autograd alone

    @abstractmethod
    def jumps(self, nfe: int, eta: float = 0.0) -> tuple[Jump, ...]:
        """The K = ``nfe`` steps from noise to data; sampling, log-probabilities and evaluation take them from here.

        Args:
            nfe: K; UsageError where the method cannot take that many.
            eta: share of the method's own noise (DDIM's eta); 0 is the deterministic sampler. Flows have none.
        """

    def sample(self, u: VelocityField, noise: Tensor, nfe: int) -> Tensor:
        """K deterministic jumps, K = ``nfe``: z_1 (B, H, A) -> z_0 (B, H, A) in [-1, 1]."""
        return mean_end(u, self.jumps(nfe), noise).clamp(-1, 1)
