"""Noise between the jumps of a policy: the Gaussian chain that PPO sees, and its log-probability (math.md section 7).

Legend: z^0 initial noise, z^k points of the chain, mu_k where jump k leads, sigma_k its standard deviation, K jumps,
B batch, H horizon, A action dimension, D embedding dimension. DMPO equations 6, 7 and 31; DPPO (arXiv 2409.00588) for
diffusion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from omp_cli.core.base.config import Above0, Settings, Share, Width
from omp_cli.core.methods import Jump, VelocityField
from omp_cli.core.methods.base import mean_end

LOG_2_PI = math.log(2 * math.pi)


class SigmaConfig(Settings):
    """Exploration noise, in normalised actions."""

    kind: Literal["fixed", "vector", "net"] = "fixed"
    """"fixed" (DMPO), "vector" (a learnable number per action dimension: Gaussian PPO), or "net" (learnable, of
    observation and time: ReinFlow).
    """
    value: Above0 = 0.1
    """Sigma, or where a learnable one begins. A jump with more noise of its own (diffusion) keeps that."""
    low: Above0 = 0.05
    """Least sigma of a learnable one."""
    high: Above0 = 0.2
    """Largest sigma of a learnable one."""
    hidden: Width = 64
    """Width of the two hidden layers of "net"."""
    end: Share = 1.0
    """Where between ``low`` (0) and ``high`` (1) the upper bound of a learnable one is at the end of the run."""
    hold: Share = 0.35
    """Share of the run's iterations for which the upper bound stays at ``high``; then half a cosine takes it on."""

    def passed_over(self) -> dict[str, str]:
        """The settings that another kind of sigma has, and why this one passes them over."""
        idle = {"fixed": ("low", "high", "hidden", "end", "hold"), "vector": ("hidden",), "net": ()}[self.kind]
        found = dict.fromkeys(idle, f"sigma's kind is {self.kind}")
        return {"hold": "the upper bound stays at high (end = 1)", **found} if self.end == 1 else found

    def largest(self, done: float) -> float:
        """Upper bound after the share ``done`` of the run: ReinFlow's decaying noise.

        high (1 - w) + (low + end (high - low)) w, with w = (1 - cos(pi (done - hold) / (1 - hold))) / 2 after ``hold``.
        """
        if done <= self.hold or self.end == 1:
            return self.high
        w = (1 - math.cos(math.pi * (done - self.hold) / (1 - self.hold))) / 2
        return self.high - w * (1 - self.end) * (self.high - self.low)

    @model_validator(mode="after")
    def _ordered(self) -> SigmaConfig:
        if self.kind != "fixed" and not self.low < self.value < self.high:
            raise ValueError(f"low < value < high is needed (got {self.low}, {self.value}, {self.high})")
        if self.kind != "fixed" and self.end == 0:
            raise ValueError("end has to be above 0: the upper bound stays above the lower one")
        return self


class Sigma(nn.Module):
    """sigma_k(o) > 0; learnable ones stay between their bounds by a tanh in the logarithm, never by a clamp.

    The bounds are a buffer, for a recorded update sees the numbers that there were.

    Args:
        config: kind and bounds of sigma.
        horizon: H.
        action_dim: A.
        embedding: D.
    """

    bounds: Tensor
    """Middle and half width of the logarithm of a learnable one."""

    def __init__(self, config: SigmaConfig, horizon: int, action_dim: int, embedding: int) -> None:
        super().__init__()
        self.config, self._shape = config, (horizon, action_dim)
        self.register_buffer("bounds", torch.zeros(2), persistent=False)
        self.at(0.0)
        if config.kind == "fixed":
            return
        centre, half = _middle(config.low, config.high)
        start = math.atanh((math.log(config.value) - centre) / half)
        if config.kind == "vector":
            self.raw = nn.Parameter(torch.full((action_dim,), start))
            return
        width = config.hidden
        self.net = nn.Sequential(
            nn.Linear(embedding + 1, width),
            nn.Mish(),
            nn.Linear(width, width),
            nn.Mish(),
            nn.Linear(width, horizon * action_dim),
        )
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, start)

    def at(self, done: float) -> None:
        """Take the bounds of a run of which the share ``done`` is over; all of an iteration has the same."""
        self.bounds.copy_(torch.tensor(_middle(self.config.low, self.config.largest(done))))

    def forward(self, h: Tensor, jump: Jump) -> Tensor:
        """Embeddings (B, D), of which none learns through sigma, -> what broadcasts to (B, H, A)."""
        if self.config.kind == "fixed":
            return h.new_full((), max(self.config.value, jump.std))
        if self.config.kind == "vector":
            raw = self.raw
        else:
            time = h.new_full((len(h), 1), jump.t)
            raw = self.net(torch.cat([h.detach(), time], dim=-1)).unflatten(-1, self._shape)
        centre, half = self.bounds
        return (centre + half * torch.tanh(raw)).exp().clamp_min(jump.std)


def _middle(low: float, high: float) -> tuple[float, float]:
    """Middle and half width of the logarithms."""
    return (math.log(low) + math.log(high)) / 2, (math.log(high) - math.log(low)) / 2


@dataclass(frozen=True)
class Chain:
    """What the present weights say of a chain.

    Attributes:
        log_probs: log N(z^{k+1}; mu_k, sigma_k^2) summed over the entries that count, (B, K), float64.
        entropy: mean entropy per entry, (B,): DMPO's equation 36 divided by its K H A terms.
        end: where the jumps lead without noise, not clipped, (B, H, A); only where asked for.
        sigma: mean sigma, a scalar.
    """

    log_probs: Tensor
    entropy: Tensor
    end: Tensor | None
    sigma: Tensor


def sample_chain(
    u: VelocityField, jumps: Sequence[Jump], sigma: Sigma, h: Tensor, noise: Sequence[Tensor], executed: slice
) -> tuple[Tensor, Tensor]:
    """Draw a chain.

    Args:
        u: the policy's field with the embeddings h bound in.
        jumps: K of them.
        sigma: exploration noise.
        h: embeddings, (B, D).
        noise: z^0 and one standard normal draw per jump, K + 1 of (B, H, A).
        executed: see ``evaluate_chain``.

    Returns:
        Points z^0 .. z^K, (B, K + 1, H, A), not clipped: clipping is part of the environment, so that densities stay
        exact; and their log-probabilities by jump, (B, K), float64, from the draws themselves.
    """
    points, log_probs = [noise[0]], []
    for k, jump in enumerate(jumps):
        mean, std = jump.mean(u, points[-1]), sigma(h, jump)
        points.append(mean + std * noise[k + 1])
        which = executed if k == len(jumps) - 1 else slice(None)
        log_probs.append(_normal(noise[k + 1], std.expand_as(mean), which)[0])
    return torch.stack(points, dim=1), torch.stack(log_probs, dim=1)


def evaluate_chain(
    u: VelocityField,
    jumps: Sequence[Jump],
    sigma: Sigma,
    h: Tensor,
    points: Tensor,
    executed: slice,
    want_end: bool = False,
) -> Chain:
    """Log-probability of a chain under the present weights, with gradient.

    Of the last point only the actions that are executed count: the others have no effect, and what is independent of
    the outcome only adds variance.

    Args:
        u: the policy's field with the embeddings h bound in.
        jumps: K of them, the same as in sampling.
        sigma: exploration noise.
        h: embeddings, (B, D).
        points: the chain, (B, K + 1, H, A).
        executed: actions of the horizon that are executed.
        want_end: also follow the jumps without noise from the same z^0 (for K = 1 that is mu_0, free of charge).
    """
    log_probs, entropies, sigmas = [], [], []
    mean = points[:, 0]
    for k, jump in enumerate(jumps):
        mean, std = jump.mean(u, points[:, k]), sigma(h, jump)
        which = executed if k == len(jumps) - 1 else slice(None)
        std = std.expand_as(mean)
        log_prob, entropy = _normal((points[:, k + 1] - mean) / std, std, which)
        log_probs.append(log_prob)
        entropies.append(entropy)
        sigmas.append(std.detach().mean())
    end = None
    if want_end:
        end = mean if len(jumps) == 1 else mean_end(u, jumps, points[:, 0])
    return Chain(torch.stack(log_probs, dim=1), torch.stack(entropies).mean(0), end, torch.stack(sigmas).mean())


def _normal(residual: Tensor, std: Tensor, which: slice) -> tuple[Tensor, Tensor]:
    """Joint log-density (B,), float64, and mean entropy per entry (B,), over the rows ``which`` of H.

    ``residual`` is (x - mean) / std, (B, H, A).
    """
    residual, log_std = residual[:, which].double(), std[:, which].double().log()
    log_prob = (-0.5 * residual.square() - log_std - 0.5 * LOG_2_PI).flatten(1).sum(1)
    return log_prob, (log_std + 0.5 * (1 + LOG_2_PI)).flatten(1).mean(1)


def reduced(log_probs: Tensor, entries: int, reduction: Literal["sum", "mean"]) -> Tensor:
    """Joint log-probability of chains, (B, K) -> (B,).

    "sum" is the true one; "mean" divides it by the (K + 1) H A entries of the chain, as DMPO's released code does. The
    density of z^0 is the same for all policies and left out of both: it cancels in the ratio.

    Args:
        log_probs: log-probabilities by jump, (B, K).
        entries: H A, the number of entries of a chunk.
        reduction: which of the two.
    """
    joint = log_probs.sum(1)
    return joint if reduction == "sum" else joint / ((log_probs.shape[1] + 1) * entries)
