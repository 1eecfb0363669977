"""Denoising diffusion: DDPM training on a squared-cosine schedule, DDIM sampling (DP and DP3).

Legend: z_0 data chunk, eps noise, alpha_bar(t) share of the signal's variance at time t, T training steps,
K function evaluations; B batch, H horizon, A action dimension. Time as everywhere: the network sees t = k / T of step
k = 0 .. T - 1, so that t = 0 is (nearly) data; z_t = sqrt(alpha_bar) z_0 + sqrt(1 - alpha_bar) eps.
"""

from __future__ import annotations

import math
import operator
from functools import cached_property
from itertools import accumulate
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods.base import METHODS, Draws, Gather, Jump, LossReport, VelocityField, same
from omp_cli.core.methods.path import at_least_float32, constants, rows
from omp_cli.core.methods.teaching import Teaching

USUAL_NFE = 10


class DiffusionConfig(Settings):
    """Settings of the diffusion family."""

    name: str = "diffusion"
    """Registered name."""
    train_steps: int = Field(100, ge=1, le=10_000)
    """T, number of noise levels in training."""
    prediction: Literal["noise", "sample"] = "noise"
    """What the network regresses: the noise (DP), or the clean chunk (DP3)."""


@METHODS.register("diffusion")
class Diffusion(Teaching):
    """DDPM loss; deterministic DDIM with any number of steps that is at most T."""

    Config = DiffusionConfig
    config: DiffusionConfig

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(config)
        self.alpha_bar = squared_cosine(config.train_steps)
        self.usual_nfe = min(USUAL_NFE, config.train_steps)

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Noise (B, H, A) and times (B,), t = r uniform over the T training steps; float32."""
        noise = torch.randn(shape, generator=generator, device=generator.device)
        steps = self.config.train_steps
        t = torch.randint(steps, shape[:1], generator=generator, device=generator.device) / steps
        return Draws(noise, t, t)

    def loss(self, u: VelocityField, z_0: Tensor, h: Tensor, draws: Draws, gather: Gather = same) -> LossReport:
        """Mean square error of the noise or of the clean chunk; see ``Method.loss`` for the arguments."""
        index = (draws.t * self.config.train_steps).round().long().to(z_0.device)
        draws = draws.to(z_0)
        loss = self._regression(u, z_0, draws.noise, index, draws.t)
        return LossReport(total=loss, parts={"diffusion": loss.detach()}, terms={"diffusion": loss})

    def jumps(self, nfe: int, eta: float = 0.0) -> tuple[Jump, ...]:
        """K DDIM steps, K = ``nfe`` (Song et al. 2021, equations 12 and 16; eta 1 with K = T is DDPM).

        The noise of a step is the one that the clipped clean chunk leaves, as in DDPM's posterior mean (Ho et al. 2020,
        equation 7) and in DPPO. DDIM in diffusers does the same with ``use_clipped_model_output``; its default, with
        which DP and DP3 were released, keeps the predicted noise, so that a clipped step is none of DDPM's.

        Raises:
            UsageError: more steps than the T of training.
        """
        steps = ddim_steps(self.config.train_steps, nfe)
        return tuple(self._jump(k, following, eta) for k, following in zip(steps, [*steps[1:], None], strict=True))

    def _jump(self, k: int, following: int | None, eta: float) -> Jump:
        t, here = k / self.config.train_steps, self.alpha_bar[k]
        there = 1.0 if following is None else self.alpha_bar[following]
        std = eta * math.sqrt((1 - there) / (1 - here) * (1 - here / there))

        def mean(u: VelocityField, z: Tensor) -> Tensor:
            times = z.new_full(z.shape[:1], t)
            z_0 = self._clean(u(z, times, times), z, here)
            eps = (z - math.sqrt(here) * z_0) / math.sqrt(1 - here)
            return math.sqrt(there) * z_0 + math.sqrt(max(1 - there - std**2, 0.0)) * eps

        return Jump(t, mean, std)

    def flow(self, u: VelocityField) -> VelocityField:
        """The velocity of a DDIM step on the linear path, v = (z_t - z_0) / t with z_0 the clipped clean chunk.

        Times sqrt(alpha_bar) + sqrt(1 - alpha_bar), z_t is the diffused chunk of the trained step with the same ratio
        of noise to signal: the one next to t. t = 1 is the last, as in sampling.
        """

        def v(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
            index = self._nearest(t)
            alpha_bar = rows(constants(self.alpha_bar, z)[index], z)
            x, time = (alpha_bar.sqrt() + (1 - alpha_bar).sqrt()) * z, index.to(t) / self.config.train_steps
            z_0 = self._clean(at_least_float32(u(x, time, time, features)), x, alpha_bar)
            return (z - z_0) / rows(t, z)

        return v

    def times(self, count: int) -> tuple[float, ...]:
        """0 and the trained steps on the linear path, ``count`` of them or all, evenly spread; the last one is 1."""
        total = self.config.train_steps
        count = min(count, total)
        chosen = (k * total // count - 1 for k in range(1, count))
        return (0.0, *(self._linear_times[k] for k in chosen), 1.0)

    def fit(self, u: VelocityField, z_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The training loss at times t of the linear path; see the base class."""
        index = self._nearest(t)
        return self._regression(u, z_0, noise, index, index.to(t) / self.config.train_steps)

    @cached_property
    def _linear_times(self) -> tuple[float, ...]:
        """The time on the linear path with each trained step's ratio of noise to signal."""
        return tuple(1 / (1 + math.sqrt(share / (1 - share))) for share in self.alpha_bar)

    def _nearest(self, t: Tensor) -> Tensor:
        """The trained step next to each time of the linear path: (B,) -> (B,), int64."""
        return (t[:, None] - constants(self._linear_times, t)).abs().argmin(1)

    def _regression(self, u: VelocityField, z_0: Tensor, noise: Tensor, index: Tensor, t: Tensor) -> Tensor:
        """Mean square error of the prediction at steps ``index`` (B,), which the network is told as t (B,)."""
        alpha_bar = rows(constants(self.alpha_bar, z_0)[index], z_0)
        z_t = alpha_bar.sqrt() * z_0 + (1 - alpha_bar).sqrt() * noise
        target = noise if self.config.prediction == "noise" else z_0
        return (at_least_float32(u(z_t, t, t)) - target).square().mean()

    def _clean(self, predicted: Tensor, z: Tensor, alpha_bar: float | Tensor) -> Tensor:
        """The clean chunk that a prediction at z implies, clipped to [-1, 1]: (B, H, A)."""
        if self.config.prediction == "noise":
            predicted = (z - (1 - alpha_bar) ** 0.5 * predicted) / alpha_bar**0.5
        return predicted.clamp(-1, 1)


def squared_cosine(steps: int) -> tuple[float, ...]:
    """alpha_bar of steps 0 .. T - 1 (Nichol and Dhariwal 2021, equation 17; beta at most 0.999)."""

    def f(k: int) -> float:
        return math.cos((k / steps + 0.008) / 1.008 * math.pi / 2) ** 2

    kept = (1 - min(1 - f(k + 1) / f(k), 0.999) for k in range(steps))
    return tuple(accumulate(kept, operator.mul))


def ddim_steps(total: int, nfe: int) -> list[int]:
    """Training steps that K evaluations visit, from noise to data: multiples of T // K, as the published policies."""
    if not 1 <= nfe <= total:
        raise UsageError(f"nfe: a diffusion policy trained with {total} steps takes 1 to {total} (got {nfe})")
    return [k * (total // nfe) for k in reversed(range(nfe))]
