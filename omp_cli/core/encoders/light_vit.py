"""DMPO's light vision transformer: one block over the patches of a picture, and the state (DMPO; DPPO's "ViT").

Legend: B batch, T observation steps, M = B T pictures, C channels, L tokens, E token width, S state dimension, D
embedding dimension. 96x96 pictures give L = 121 tokens of E = 128; with 9 numbers of state D = 137 per frame.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from omp_cli.core.base.config import Count, Depth, Width
from omp_cli.core.base.errors import UsageError
from omp_cli.core.encoders.base import ENCODERS
from omp_cli.core.encoders.images import ImageConfig, ImageEncoder
from omp_cli.core.spec import Spec


class LightVitConfig(ImageConfig):
    """Settings of the light ViT; the defaults are DMPO's."""

    name: Literal["light-vit"] = "light-vit"
    width: Width = 128
    """E, and width of the picture's embedding."""
    heads: Count = 4
    """Attention heads; divides ``width``."""
    depth: Depth = 1
    """Transformer blocks."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """On the picture's embedding while training (0 in DPPO and ReinFlow, 0.1 in DMPO's code)."""

    @model_validator(mode="after")
    def _heads_fit(self) -> LightVitConfig:
        if self.width % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide width = {self.width}")
        return self


@ENCODERS.register("light-vit")
class LightVitEncoder(ImageEncoder):
    """Picture and state of each frame; D = T (E + S). 419,712 parameters at DMPO's sizes (lift)."""

    Config = LightVitConfig
    config: LightVitConfig

    def __init__(self, config: LightVitConfig, spec: Spec, n_obs: int) -> None:
        super().__init__(config, spec, n_obs)
        assert spec.image is not None
        height, width, channels = spec.image
        self.patches = PatchEmbedding(channels, config.width)
        tokens = self.patches.tokens(height) * self.patches.tokens(width)
        self.position = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, tokens, config.width), std=0.02))
        self.blocks = nn.Sequential(*(TransformerBlock(config.width, config.heads) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width)
        self.pool = SpatialEmbedding(tokens, spec.seen_state_dim, config.width, config.dropout)
        self.out_dim = n_obs * (config.width + spec.seen_state_dim)

    def features(self, pictures: Tensor, state: Tensor) -> Tensor:
        """pictures (M, C, H, W), state (M, S) -> (M, E)."""
        tokens = self.norm(self.blocks(self.patches(pictures) + self.position))
        return self.pool(tokens, state)


class PatchEmbedding(nn.Module):
    """Two convolutions, 8x8 with stride 4 and 3x3 with stride 2: (M, C, H, W) -> (M, L, E)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, width, 8, 4), nn.ReLU(), nn.Conv2d(width, width, 3, 2))

    @staticmethod
    def tokens(pixels: int) -> int:
        """Tokens along one side of a picture; UsageError when there is none."""
        count = ((pixels - 8) // 4 + 1 - 3) // 2 + 1
        if pixels < 8 or count < 1:
            raise UsageError(f"encoder light-vit: a picture of {pixels} pixels is too small", "at least 16 are needed")
        return count

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (M, C, H, W) -> tokens (M, L, E)."""
        return self.layers(x).flatten(2).transpose(1, 2)


class TransformerBlock(nn.Module):
    """Pre-norm transformer block without dropout: (M, L, E) -> (M, L, E)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        widen, narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(widen, nn.GELU(), narrow)
        for layer in (self.qkv, self.project, widen, narrow):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (M, L, E) -> (M, L, E)."""
        q, k, v = self.qkv(self.norm_1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = attention(q, k, v)  # (M, heads, L, E / heads)
        x = x + self.project(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_2(x))


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v over q, k, v (..., L, d).

    On a CPU it is written out: a hundred tokens need no tiling, and the backward pass of torch's fused kernel makes a
    training step in bfloat16 1.7 times slower there (2.13, AVX-512 with AMX).
    """
    if q.device.type != "cpu":
        return nn.functional.scaled_dot_product_attention(q, k, v)
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v


class SpatialEmbedding(nn.Module):
    """Learned spatial sum of each channel's map, the state appended to every map (DPPO's "SpatialEmb").

    Args:
        tokens: L.
        state_dim: S.
        width: E, also the width of the result.
        dropout: on the result, while training.
    """

    def __init__(self, tokens: int, state_dim: int, width: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(tokens + state_dim, width), nn.LayerNorm(width), nn.ReLU())
        self.weight = nn.Parameter(torch.randn(width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, state: Tensor) -> Tensor:
        """tokens (M, L, E), state (M, S) -> (M, E)."""
        maps = tokens.transpose(1, 2)
        maps = torch.cat([maps, state[:, None].expand(-1, maps.shape[1], -1)], dim=-1)
        return self.dropout((self.weight * self.project(maps)).sum(1))
