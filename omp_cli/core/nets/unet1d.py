"""The papers' net: a conditional 1-D U-Net over the time steps of the chunk (DP3, FlowPolicy, MP1).

Legend: B batch, H horizon, A action dimension, D condition dimension, C channels of a level, L length at a level,
E = 128 time embedding dimension. Convolutions see the chunk as (B, A, H).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from omp_cli.core.base.config import Above0, Depth, Settings, Width
from omp_cli.core.base.errors import UsageError
from omp_cli.core.nets.base import NETS, Net
from omp_cli.core.nets.embedding import time_mlp
from omp_cli.core.nets.short_conv import SeenTaps, ShortConv1d, ShortConvTranspose1d


class Unet1dConfig(Settings):
    """Settings of the U-Net; the defaults are MP1's net."""

    name: Literal["unet1d"] = "unet1d"
    dims: tuple[Width, ...] = Field((512, 1024, 2048), min_length=1)
    """Channels of the levels; the horizon must be divisible by 2 ** (levels - 1)."""
    kernel: Width = 5
    """Kernel size of the convolutions, odd."""
    groups: Width = 8
    """Groups of the group norms; divides every entry of ``dims``."""
    blocks: Depth = 2
    """Residual blocks per level and in the middle (Simple DP3 has 1, with dims 128, 256, 384)."""
    time_dim: int = Field(128, ge=4, le=2**16, multiple_of=2)
    """E, size of the time embedding."""
    time_scale: Above0 = 1.0
    """Factor on t and r before the sinusoids; 1 feeds them raw, as MP1 does."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Unet1dConfig:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {self.kernel}")
        if any(dim % self.groups for dim in self.dims):
            raise ValueError(f"groups = {self.groups} does not divide every one of dims = {list(self.dims)}")
        return self


def conv_block(inputs: int, outputs: int, length: int, config: Unet1dConfig) -> nn.Sequential:
    """Convolution, group norm, Mish: (B, C, L) -> (B, C', L)."""
    convolution = ShortConv1d(inputs, outputs, config.kernel, length)
    return nn.Sequential(convolution, nn.GroupNorm(config.groups, outputs), nn.Mish())


class FilmResidual(nn.Module):
    """Two convolution blocks with FiLM (scale * x + shift, without 1 +) between them, plus a skip connection.

    Args:
        inputs: C of the input.
        outputs: C of the output.
        length: L.
        cond_dim: dimension of the condition, E + D.
        config: kernel and groups.
    """

    def __init__(self, inputs: int, outputs: int, length: int, cond_dim: int, config: Unet1dConfig) -> None:
        super().__init__()
        self.first = conv_block(inputs, outputs, length, config)
        self.second = conv_block(outputs, outputs, length, config)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(cond_dim, 2 * outputs))
        self.skip = ShortConv1d(inputs, outputs, 1, length) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """x (B, C, L), cond (B, E + D) -> (B, C', L)."""
        scale, shift = self.film(cond).unsqueeze(-1).chunk(2, dim=1)
        return self.second(scale * self.first(x) + shift) + self.skip(x)


class Stage(nn.Module):
    """Residual blocks of one level, (B, C, L) -> (B, C', L)."""

    def __init__(self, inputs: int, outputs: int, length: int, cond_dim: int, config: Unet1dConfig) -> None:
        super().__init__()
        sizes = [inputs] + [outputs] * config.blocks
        self.blocks = nn.ModuleList(FilmResidual(a, b, length, cond_dim, config) for a, b in pairwise(sizes))

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """x (B, C, L), cond (B, E + D) -> (B, C', L)."""
        for block in self.blocks:
            x = block(x, cond)
        return x


@NETS.register("unet1d")
class Unet1d(Net):
    """255.3 M parameters by default. Taps the output of every level but the last, before it is downsampled.

    The upward half concatenates the outputs of all levels but the first, as in the published nets, and so has one
    stage less than the downward half.
    """

    Config = Unet1dConfig
    untrained = ": taps of convolutions that see nothing but padding at this horizon"

    def __init__(self, config: Unet1dConfig, horizon: int, action_dim: int, cond_dim: int) -> None:
        super().__init__(config, horizon, action_dim, cond_dim)
        dims, factor = config.dims, 2 ** (len(config.dims) - 1)
        if horizon % factor:
            raise UsageError(
                f"net unet1d: the horizon must be divisible by {factor} (got {horizon})",
                "choose another horizon or fewer entries in net.dims",
            )
        cond = config.time_dim + cond_dim
        self.embed_t = time_mlp(config.time_dim, config.time_scale, widening=4)
        self.embed_r = time_mlp(config.time_dim, config.time_scale, widening=4)
        lengths = [horizon >> level for level in range(len(dims))]
        steps = list(zip((action_dim, *dims[:-1]), dims, lengths, strict=True))
        self.down = nn.ModuleList(Stage(a, b, length, cond, config) for a, b, length in steps)
        self.shrink = nn.ModuleList(ShortConv1d(b, b, 3, length, stride=2) for _, b, length in steps[:-1])
        self.middle = Stage(dims[-1], dims[-1], lengths[-1], cond, config)
        self.up = nn.ModuleList(Stage(2 * b, a, length, cond, config) for a, b, length in reversed(steps[1:]))
        self.grow = nn.ModuleList(ShortConvTranspose1d(a, length) for a, _, length in reversed(steps[1:]))
        self.outlet = nn.Sequential(
            conv_block(dims[0], dims[0], horizon, config), ShortConv1d(dims[0], action_dim, 1, horizon)
        )

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """As of every module, but for the taps that see nothing."""
        super().requires_grad_(requires_grad)
        for module in self.modules():
            if isinstance(module, SeenTaps) and module.unseen is not None:
                module.unseen.requires_grad_(False)
        return self

    def forward(self, z: Tensor, r: Tensor, t: Tensor, c: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """z (B, H, A), r (B,), t (B,), c (B, D) -> (B, H, A); taps (B, C, L)."""
        cond = torch.cat([self.embed_t(t) + self.embed_r(r), c], dim=-1)
        x = z.transpose(1, 2)
        levels: list[Tensor] = []
        for index, stage in enumerate(self.down):
            x = stage(x, cond)
            levels.append(x)
            if index < len(self.shrink):
                if features is not None:
                    features.append(x)
                x = self.shrink[index](x)
        x = self.middle(x, cond)
        for stage, grow in zip(self.up, self.grow, strict=True):
            x = grow(stage(torch.cat([x, levels.pop()], dim=1), cond))
        return self.outlet(x).transpose(1, 2)
