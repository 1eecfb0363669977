"""Sinusoidal embedding of times. Legend: B batch, E embedding dimension; t = 0 is data, t = 1 is noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Sinusoidal(nn.Module):
    """t (B,) -> (B, E): sines, then cosines, of E/2 geometrically spaced angular frequencies, scale ... scale/period.

    A frequency w makes the curvature of u in t grow with w^2, and with it both du/dt and the error of its central
    difference: a large ``scale`` is not free.

    Args:
        dim: E, even and at least 4.
        scale: highest angular frequency; 1 on raw t in [0, 1] is what MP1 does.
        period: ratio of the highest frequency to the lowest.
    """

    frequencies: Tensor

    def __init__(self, dim: int, scale: float = 1.0, period: float = 10_000.0) -> None:
        super().__init__()
        half = dim // 2
        exponents = torch.arange(half) / (half - 1)
        self.register_buffer("frequencies", scale * torch.exp(-math.log(period) * exponents), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """t (B,), any real number -> (B, E)."""
        angles = t[:, None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def time_mlp(dim: int, scale: float, widening: int) -> nn.Sequential:
    """Sinusoids, then a two-layer MLP with ``widening`` * E hidden units: (B,) -> (B, E)."""
    wide = widening * dim
    return nn.Sequential(Sinusoidal(dim, scale), nn.Linear(dim, wide), nn.Mish(), nn.Linear(wide, dim))
