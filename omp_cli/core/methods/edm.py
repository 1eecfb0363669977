"""EDM (Karras et al. 2022, arXiv 2206.00364): a preconditioned denoiser over noise levels sigma, Heun's step along it.

Legend: z_0 data chunk, eps noise, x = z_0 + sigma eps, D(x, sigma) denoised chunk, F network, sigma_d deviation of the
data; B batch, H horizon, A action dimension, K function evaluations. On the linear path t = sigma / (1 + sigma) and
z_t = x / (1 + sigma); the network sees c_in x and that t. t = 1 stands for the largest sigma.

The teacher of Consistency Policy (arXiv 2405.07503) is one with sigma from 0.02 to 80, whose steps are Heun's.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor

from omp_cli.core.base.config import Above0, Settings
from omp_cli.core.methods.base import METHODS, Draws, Gather, Jump, LossReport, VelocityField, same
from omp_cli.core.methods.path import at_least_float32, check_nfe, rows, step
from omp_cli.core.methods.teaching import Teaching
from omp_cli.core.methods.times import Mean


class EdmConfig(Settings):
    """Settings of EDM; the noise levels are those of Consistency Policy, the rest is the paper's."""

    name: Literal["edm"] = "edm"
    sigma_min: Above0 = 0.02
    """Least noise level."""
    sigma_max: Above0 = 80.0
    """Largest one, which stands for pure noise."""
    rho: Above0 = 7.0
    """How much closer the levels of a grid lie at its low end."""
    sigma_data: Above0 = 0.5
    """Sigma_d, the deviation of normalised actions that the preconditioning counts on."""
    log_mean: Mean = -1.2
    """Mean of ln sigma in training."""
    log_std: Above0 = 1.2
    """Deviation of ln sigma in training."""

    @model_validator(mode="after")
    def _ordered(self) -> EdmConfig:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min has to be less than sigma_max (got {self.sigma_min} and {self.sigma_max})")
        return self


@METHODS.register("edm")
class Edm(Teaching):
    """Denoising loss with preconditioning; sampled by Euler's step (DDIM) on the paper's grid, one evaluation each."""

    Config = EdmConfig
    config: EdmConfig
    usual_nfe = 10

    @property
    def largest_sigma(self) -> float:
        """See the base class."""
        return self.config.sigma_max

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Noise (B, H, A) and times t = r (B,) of log-normal noise levels, float32."""
        noise = torch.randn(shape, generator=generator, device=generator.device)
        drawn = torch.randn(shape[0], generator=generator, device=generator.device)
        sigma = (self.config.log_mean + self.config.log_std * drawn).exp()
        sigma = sigma.clamp(self.config.sigma_min, self.config.sigma_max)
        return Draws(noise, (t := sigma / (1 + sigma)), t)

    def loss(self, u: VelocityField, z_0: Tensor, h: Tensor, draws: Draws, gather: Gather = same) -> LossReport:
        """Equation 8: lambda(sigma) |D(x, sigma) - z_0|^2, mean; see ``Method.loss`` for the arguments."""
        draws = draws.to(z_0)
        loss = self.fit(u, z_0, draws.noise, draws.t)
        return LossReport(total=loss, parts={"edm": loss.detach()}, terms={"edm": loss})

    def jumps(self, nfe: int, eta: float = 0.0) -> tuple[Jump, ...]:
        """K = ``nfe`` Euler steps over the grid of equation 5; see the base class."""
        check_nfe(nfe)

        def jump(t: float, r: float) -> Jump:
            return Jump(t, lambda u, z: step(self.flow(u), z, t, r))

        return tuple(jump(t, r) for t, r in pairwise(reversed(self.times(nfe))))

    def flow(self, u: VelocityField) -> VelocityField:
        """The velocity on the linear path, v = (z_t - D) / t: equation 1's (x - D) / sigma in our time."""

        def v(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
            sigma = rows(level(t, self.config.sigma_max), z)
            return (z - self._denoised(u, (1 + sigma) * z, sigma, features)) / rows(t, z)

        return v

    def times(self, count: int) -> tuple[float, ...]:
        """0, and ``count`` levels by equation 5 as times of the linear path; the last one is 1."""
        low, high = (s ** (1 / self.config.rho) for s in (self.config.sigma_min, self.config.sigma_max))
        levels = [(low + i / max(count - 1, 1) * (high - low)) ** self.config.rho for i in range(count - 1)]
        return (0.0, *(sigma / (1 + sigma) for sigma in levels), 1.0)

    def fit(self, u: VelocityField, z_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The loss at times t of the linear path, as a regression of F: lambda c_out^2 is 1."""
        sigma = rows(level(t, self.config.sigma_max), z_0)
        x = z_0 + sigma * noise
        skip, out = self._skip_and_out(sigma)
        return (self._raw(u, x, sigma) - (z_0 - skip * x) / out).square().mean()

    def _denoised(self, u: VelocityField, x: Tensor, sigma: Tensor, features: list[Tensor] | None) -> Tensor:
        """D(x, sigma) = c_skip x + c_out F(c_in x, t), equation 7: x (B, H, A), sigma (B, 1, 1)."""
        skip, out = self._skip_and_out(sigma)
        return skip * x + out * self._raw(u, x, sigma, features)

    def _raw(self, u: VelocityField, x: Tensor, sigma: Tensor, features: list[Tensor] | None = None) -> Tensor:
        scale = (sigma.square() + self.config.sigma_data**2).rsqrt()
        time = (sigma / (1 + sigma)).flatten()
        return at_least_float32(u(scale * x, time, time, features))

    def _skip_and_out(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """c_skip and c_out of table 1."""
        data = self.config.sigma_data
        total = sigma.square() + data**2
        return data**2 / total, sigma * data * total.rsqrt()


def level(t: Tensor, largest: float) -> Tensor:
    """The noise level of times of the linear path, sigma = t / (1 - t), at most ``largest`` (at t = 1), (B,)."""
    return (t / (1 - t)).clamp_max(largest)


Velocity = Callable[[Tensor, Tensor], Tensor]


def heun(v: Velocity, z_t: Tensor, w: Tensor, t: Tensor, largest: float) -> Tensor:
    """One step of Heun's method in sigma from t down to w, EDM's algorithm 1 without churn; Euler's where w = 0.

    With d = (x - D) / sigma and D = z_t - t v: x_w = x + (sigma_w - sigma_t) (d(x, t) + d(x', w)) / 2, x' after
    Euler's step. It is of second order in the steps of sigma, and costs two evaluations of ``v``.

    Args:
        v: velocity of the linear path, (z (B, H, A), t (B,)) -> (B, H, A).
        z_t: (B, H, A).
        w: (B,).
        t: (B,), above w.
        largest: the sigma that t = 1 stands for, ``Teaching.largest_sigma``.

    Returns:
        z_w, (B, H, A).
    """
    above, below = rows(level(t, largest), z_t), rows(level(w, largest), z_t)

    def slope(z: Tensor, time: Tensor, sigma: Tensor) -> Tensor:
        return ((1 + sigma) * z - (z - rows(time, z) * v(z, time))) / sigma

    x, first = (1 + above) * z_t, slope(z_t, t, above)
    euler = (x + (below - above) * first) / (1 + below)
    ends = below == 0
    inner = torch.where(w == 0, t, w)  # a velocity at t = 0 is asked of no teacher
    second = slope(euler, inner, rows(level(inner, largest), z_t))
    return torch.where(ends, euler, (x + (below - above) * (first + second) / 2) / (1 + below))
