"""Velocity fields in closed form, so that the mathematics is tested without a network."""

from __future__ import annotations

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
