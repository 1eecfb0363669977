"""Velocity fields in closed form, so that the mathematics is tested without a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def _column(t: Tensor) -> Tensor:
    return t[:, None, None]


@dataclass
class ToPoint:
    """All data at one chunk x: paths are straight, u(z, r, t) = (z - x) / t, and the MeanFlow loss at u is zero.

    Yet both partial derivatives of u are not zero; they cancel only with tangent (v, 0, 1).
    """

    x: Tensor  # (H, A)

    def __call__(self, z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        if features is not None:
            features.append(z)
        return (z - self.x) / _column(t)


@dataclass
class Gaussian:
    """Data N(m, s^2) per element: z_t ~ N((1 - t) m, sigma_t^2), sigma_t^2 = (1 - t)^2 s^2 + t^2.

    The flow keeps quantiles, z_r = (1 - r) m + (sigma_r / sigma_t) (z_t - (1 - t) m), hence the mean velocity; where
    r = t it is the velocity.
    """

    mean: float | Tensor = 0.2
    std: float | Tensor = 0.1

    def sigma(self, t: Tensor) -> Tensor:
        return ((1 - t).square() * self.std**2 + t.square()).sqrt()

    def __call__(self, z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        now = self.velocity(z, t)
        r, t = _column(r), _column(t)
        z_r = (1 - r) * self.mean + self.sigma(r) / self.sigma(t) * (z - (1 - t) * self.mean)
        return torch.where(t > r, (z - z_r) / torch.where(t > r, t - r, 1), now)

    def velocity(self, z: Tensor, t: Tensor) -> Tensor:
        """Marginal instantaneous velocity E[v | z_t = z]."""
        t = _column(t)
        return (t - (1 - t) * self.std**2) / self.sigma(t).square() * (z - (1 - t) * self.mean) - self.mean

    def dudt(self, z: Tensor, r: Tensor, t: Tensor) -> Tensor:
        """Total derivative along the marginal flow: there z_r is constant, so (v - u) / (t - r)."""
        return (self.velocity(z, t) - self(z, r, t)) / _column(t - r)


@dataclass
class Mixture:
    """Data in one dimension: Gaussians N(m, s^2) with weights. In one dimension too the flow keeps quantiles.

    F_t(z_t) is the same all along a path, F_t the distribution function of z_t, so the flow map is F_r^-1(F_t(z)).
    """

    weights: tuple[float, ...] = (0.5, 0.5)
    means: tuple[float, ...] = (-0.6, 0.6)
    std: float = 0.1

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples (count, 1, 1), float64."""
        chosen = torch.multinomial(torch.tensor(self.weights), count, replacement=True, generator=generator)
        spread = self.std * torch.randn(count, generator=generator, dtype=torch.float64)
        return (torch.tensor(self.means, dtype=torch.float64)[chosen] + spread)[:, None, None]

    def __call__(self, z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        if torch.equal(r, t):
            return self.velocity(z, t)
        length = _column(t - r)
        mean = (z - self.at(r, self.below(z, t))) / torch.where(length == 0, 1, length)
        return torch.where(length == 0, self.velocity(z, t), mean)

    def velocity(self, z: Tensor, t: Tensor) -> Tensor:
        """E[v | z_t = z]: the components' velocities by their posterior probabilities."""
        return self._mixed(z, t, lambda m: Gaussian(m, self.std).velocity(z, t))

    def clean(self, z: Tensor, t: Tensor) -> Tensor:
        """E[z_0 | z_t = z] = z - t E[v | z_t = z]."""
        return z - _column(t) * self.velocity(z, t)

    def below(self, z: Tensor, t: Tensor) -> Tensor:
        """F_t(z), the probability of a smaller z_t."""
        sigma, t = Gaussian(0.0, self.std).sigma(_column(t)), _column(t)
        parts = [
            w * torch.special.ndtr((z - (1 - t) * m) / sigma) for w, m in zip(self.weights, self.means, strict=True)
        ]
        return torch.stack(parts).sum(0)

    def at(self, t: Tensor, probability: Tensor) -> Tensor:
        """F_t^-1, by bisection."""
        low, high = torch.full_like(probability, -9.0), torch.full_like(probability, 9.0)
        for _ in range(42):  # to 4e-12
            middle = (low + high) / 2
            left = self.below(middle, t) < probability
            low, high = torch.where(left, middle, low), torch.where(left, high, middle)
        return (low + high) / 2

    def _mixed(self, z: Tensor, t: Tensor, value: Callable[[float], Tensor]) -> Tensor:
        sigma, column = Gaussian(0.0, self.std).sigma(_column(t)), _column(t)
        logs = [
            math.log(w) - 0.5 * ((z - (1 - column) * m) / sigma) ** 2
            for w, m in zip(self.weights, self.means, strict=True)
        ]
        shares = torch.stack(logs).softmax(0)
        return (shares * torch.stack([value(m) for m in self.means])).sum(0)


@dataclass
class Recorded:
    """A parameter times another field, with a count of the calls that recorded a graph."""

    field: Gaussian | ToPoint
    theta: Tensor
    recorded: int = 0
    calls: int = 0

    def __call__(self, z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        self.calls += 1
        self.recorded += torch.is_grad_enabled()
        return self.theta * self.field(z, r, t, features)
