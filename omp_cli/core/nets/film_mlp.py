"""The light net: a residual MLP over the flattened chunk, modulated (FiLM) by times and observation.

Legend: B batch, H horizon, A action dimension, D condition dimension, W hidden width, E time embedding dimension.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from omp_cli.core.base.config import Above0, Depth, Settings, Width
from omp_cli.core.nets.base import NETS, Net
from omp_cli.core.nets.embedding import Sinusoidal


class FilmMlpConfig(Settings):
    """Settings of the light net."""

    name: Literal["film-mlp"] = "film-mlp"
    hidden: Width = 256
    """W, width of the network."""
    depth: Depth = 4
    """Number of residual blocks."""
    time_dim: int = Field(32, ge=4, le=2**16, multiple_of=2)
    """E, size of the time embedding, for t and for t - r each."""
    time_scale: Above0 = 6.0
    """Highest angular frequency of the time embeddings."""


class FilmBlock(nn.Module):
    """x + W2 silu((1 + scale) * W1 norm(x) + shift), scale and shift linear in the condition.

    Args:
        width: W, of x and of the condition.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.film = nn.Linear(width, 2 * width)
        self.second = nn.Linear(width, width)
        self.act = nn.SiLU()

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """x (B, W), cond (B, W) -> (B, W)."""
        scale, shift = self.film(cond).chunk(2, dim=-1)
        return x + self.second(self.act((1 + scale) * self.first(self.norm(x)) + shift))


@NETS.register("film-mlp")
class FilmMlp(Net):
    """About 1.2 M parameters by default. Taps the output of the middle block as hidden feature (B, W)."""

    Config = FilmMlpConfig

    def __init__(self, config: FilmMlpConfig, horizon: int, action_dim: int, cond_dim: int) -> None:
        super().__init__(config, horizon, action_dim, cond_dim)
        width, chunk = config.hidden, horizon * action_dim
        # t and t - r rather than t and r: the interval's length is what the answer at r = t hinges on.
        self.embed = Sinusoidal(config.time_dim, config.time_scale, period=100.0)
        self.condition = nn.Sequential(nn.Linear(cond_dim + 2 * config.time_dim, width), nn.SiLU())
        self.inlet = nn.Linear(chunk, width)
        self.blocks = nn.ModuleList(FilmBlock(width) for _ in range(config.depth))
        self.outlet = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, chunk))

    def forward(self, z: Tensor, r: Tensor, t: Tensor, c: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """z (B, H, A), r (B,), t (B,), c (B, D) -> (B, H, A)."""
        cond = self.condition(torch.cat([c, self.embed(t), self.embed(t - r)], dim=-1))
        x = self.inlet(z.flatten(1))
        for index, block in enumerate(self.blocks):
            x = block(x, cond)
            if features is not None and index == len(self.blocks) // 2:
                features.append(x)
        return self.outlet(x).view_as(z)
