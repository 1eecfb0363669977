"""The papers' net: a conditional 1-D U-Net over the time steps of the chunk (DP3, FlowPolicy, MP1).

Legend: B batch, H horizon, A action dimension, D condition dimension, C channels of a level, L length at a level,
E = 128 time embedding dimension. Convolutions see the chunk as (B, A, H).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from omp_cli.core.base.config import Above0, Depth, Settings, Width
from omp_cli.core.base.errors import UsageError
from omp_cli.core.nets.base import NETS, Net
from omp_cli.core.nets.embedding import time_mlp


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


def by_taps(weight: Tensor) -> nn.Parameter:
    """The same weight (X, Y, taps) with its memory in the order (X, taps, Y)."""
    return nn.Parameter(weight.detach().transpose(1, 2).contiguous().transpose(1, 2))


class ShortConv1d(nn.Conv1d):
    """Conv1d (odd kernel, padding kernel // 2) that is one matrix product where the input is short.

    The papers' net works at lengths 4, 2 and 1. There a convolution's kernels are several times slower than a product,
    and most taps see only the padding: at length 1 one of five sees anything. The weight has the shape and values of
    Conv1d's; its memory is ordered (C', taps, C), in which neighbouring taps are a matrix without being copied.
    """

    longest = 4
    """Longest input that becomes a product; a convolution over a longer one stores less for backward."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2)
        self.weight = by_taps(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, L) -> (B, C', L / stride), rounded up."""
        length = x.shape[-1]
        if length > self.longest:
            return super().forward(x)
        taps, stride, reach = self.kernel_size[0], self.stride[0], self.kernel_size[0] // 2
        outputs = (length - 1) // stride + 1
        first = max(0, reach - (outputs - 1) * stride)  # of the taps that see the input somewhere
        count = min(taps, reach + length) - first
        rows, weight = x.transpose(1, 2), self.weight.transpose(1, 2)  # (B, L, C), (C', taps, C)
        left = reach - first
        right = (outputs - 1) * stride + count - left - length
        if left or right:  # without padding torch would copy all the same
            rows = nn.functional.pad(rows, (0, 0, left, right))
        if count > 1 or outputs < length:
            rows = rows.unfold(1, count, stride).transpose(2, 3).flatten(2)  # (B, L', count C)
        if count < taps:
            weight = weight[:, first : first + count]
        # Of two matrices: for three dimensions torch may multiply row by row, with a copy of the weight for each.
        product = nn.functional.linear(rows.flatten(0, 1), weight.flatten(1), self.bias)
        return product.unflatten(0, (len(x), outputs)).transpose(1, 2)


class ShortConvTranspose1d(nn.ConvTranspose1d):
    """ConvTranspose1d that doubles the length (kernel 4, stride 2, padding 1), as one product where it is short.

    Output 2 j sees input j by tap 1 and j - 1 by tap 3, output 2 j + 1 sees j by tap 2 and j + 1 by tap 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 4, stride=2, padding=1)
        self.weight = by_taps(self.weight)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, L) -> (B, C, 2 L)."""
        if x.shape[-1] > ShortConv1d.longest:
            return super().forward(x, output_size)
        assert self.bias is not None
        product = x.transpose(1, 2).flatten(0, 1) @ self.weight.transpose(1, 2).flatten(1)  # (B L, 4 C')
        tap = product.view(len(x), x.shape[-1], 4, -1).unbind(2)  # each (B, L, C')
        even = tap[1] + nn.functional.pad(tap[3][:, :-1], (0, 0, 1, 0))
        odd = tap[2] + nn.functional.pad(tap[0][:, 1:], (0, 0, 0, 1))
        return (torch.stack([even, odd], 2).flatten(1, 2) + self.bias).transpose(1, 2)


def conv_block(inputs: int, outputs: int, kernel: int, groups: int) -> nn.Sequential:
    """Convolution, group norm, Mish: (B, C, L) -> (B, C', L)."""
    return nn.Sequential(ShortConv1d(inputs, outputs, kernel), nn.GroupNorm(groups, outputs), nn.Mish())


class FilmResidual(nn.Module):
    """Two convolution blocks with FiLM (scale * x + shift, without 1 +) between them, plus a skip connection.

    Args:
        inputs: C of the input.
        outputs: C of the output.
        cond_dim: dimension of the condition, E + D.
        config: kernel and groups.
    """

    def __init__(self, inputs: int, outputs: int, cond_dim: int, config: Unet1dConfig) -> None:
        super().__init__()
        self.first = conv_block(inputs, outputs, config.kernel, config.groups)
        self.second = conv_block(outputs, outputs, config.kernel, config.groups)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(cond_dim, 2 * outputs))
        self.skip = ShortConv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """x (B, C, L), cond (B, E + D) -> (B, C', L)."""
        scale, shift = self.film(cond).unsqueeze(-1).chunk(2, dim=1)
        return self.second(scale * self.first(x) + shift) + self.skip(x)


class Stage(nn.Module):
    """Residual blocks of one level, (B, C, L) -> (B, C', L)."""

    def __init__(self, inputs: int, outputs: int, cond_dim: int, config: Unet1dConfig) -> None:
        super().__init__()
        sizes = [inputs] + [outputs] * config.blocks
        self.blocks = nn.ModuleList(FilmResidual(a, b, cond_dim, config) for a, b in pairwise(sizes))

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
        steps = list(zip((action_dim, *dims[:-1]), dims, strict=True))
        self.down = nn.ModuleList(Stage(a, b, cond, config) for a, b in steps)
        self.shrink = nn.ModuleList(ShortConv1d(dim, dim, 3, stride=2) for dim in dims[:-1])
        self.middle = Stage(dims[-1], dims[-1], cond, config)
        self.up = nn.ModuleList(Stage(2 * b, a, cond, config) for a, b in reversed(steps[1:]))
        self.grow = nn.ModuleList(ShortConvTranspose1d(a) for a, _ in reversed(steps[1:]))
        self.outlet = nn.Sequential(
            conv_block(dims[0], dims[0], config.kernel, config.groups), ShortConv1d(dims[0], action_dim, 1)
        )

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
