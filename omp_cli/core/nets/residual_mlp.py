"""DMPO's head: a residual MLP over chunk, times and condition.

Legend: B batch, H horizon, A action dimension, D condition dimension, W hidden width, E time embedding dimension.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from omp_cli.core.base.config import Above0, Depth, Settings, Width
from omp_cli.core.nets.base import NETS, Net
from omp_cli.core.nets.embedding import time_mlp


class ResidualMlpConfig(Settings):
    """Settings of the residual MLP; the defaults are DMPO's for RoboMimic (Gym: 512, Kitchen: 256)."""

    name: Literal["residual-mlp"] = "residual-mlp"
    hidden: Width = 768
    """W, width of the network."""
    depth: Depth = 1
    """Number of residual blocks."""
    time_dim: int = Field(16, ge=4, le=2**16, multiple_of=2)
    """E, size of the time embedding, for t and for r each."""
    time_scale: Above0 = 1.0
    """Highest angular frequency of the sinusoids; 1 feeds raw times, as DMPO does."""


class ResidualBlock(nn.Module):
    """x + W2 mish(W1 mish(x)): (B, W) -> (B, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Mish(), nn.Linear(width, width), nn.Mish(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, W) -> (B, W)."""
        return x + self.layers(x)


@NETS.register("residual-mlp")
class ResidualMlp(Net):
    """1.36 M parameters at DMPO's sizes (lift). Taps the output of the middle block as hidden feature (B, W)."""

    Config = ResidualMlpConfig

    def __init__(self, config: ResidualMlpConfig, horizon: int, action_dim: int, cond_dim: int) -> None:
        super().__init__(config, horizon, action_dim, cond_dim)
        width, chunk = config.hidden, horizon * action_dim
        self.embed_t = time_mlp(config.time_dim, config.time_scale, widening=2)
        self.embed_r = time_mlp(config.time_dim, config.time_scale, widening=2)
        self.inlet = nn.Linear(chunk + 2 * config.time_dim + cond_dim, width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(config.depth))
        self.outlet = nn.Linear(width, chunk)

    def forward(self, z: Tensor, r: Tensor, t: Tensor, c: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """z (B, H, A), r (B,), t (B,), c (B, D) -> (B, H, A)."""
        x = self.inlet(torch.cat([z.flatten(1), self.embed_t(t), self.embed_r(r), c], dim=-1))
        for index, block in enumerate(self.blocks):
            x = block(x)
            if features is not None and index == len(self.blocks) // 2:
                features.append(x)
        return self.outlet(x).view_as(z)
