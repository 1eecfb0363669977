"""ResNet-18 with group norm, one per camera, and the state: the image encoder of Diffusion Policy.

Batch norm is replaced by group norm (16 channels a group), because it does not live with a moving average of weights
(Diffusion Policy, section 3.2). Nothing is pre-trained.

Legend: B batch, T observation steps, M = B T pictures, C channels, H height, W width, S state dimension, D embedding.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from omp_cli.core.base.errors import UsageError
from omp_cli.core.encoders.base import ENCODERS
from omp_cli.core.encoders.images import ImageConfig, ImageEncoder
from omp_cli.core.spec import Spec

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Channels and stride of the four stages of two residual blocks each (He et al. 2016)."""


class ResNet18Config(ImageConfig):
    """Settings of the ResNet encoder; see ``ImageConfig``."""

    name: Literal["resnet18"] = "resnet18"


@ENCODERS.register("resnet18")
class ResNet18Encoder(ImageEncoder):
    """One network per camera (three channels each), mean over the picture; D = T (512 cameras + S)."""

    Config = ResNet18Config

    def __init__(self, config: ResNet18Config, spec: Spec, n_obs: int) -> None:
        super().__init__(config, spec, n_obs)
        assert spec.image is not None
        if spec.image[2] % 3:
            raise UsageError(
                f"encoder resnet18: pictures of {spec.image[2]} channels are not RGB", "use another encoder"
            )
        self.cameras = nn.ModuleList(resnet18() for _ in range(spec.image[2] // 3))
        self.out_dim = n_obs * (STAGES[-1][0] * len(self.cameras) + spec.seen_state_dim)

    def features(self, pictures: Tensor, state: Tensor) -> Tensor:
        """pictures (M, C, H, W) -> (M, 512 cameras); the state joins behind it."""
        views = pictures.chunk(len(self.cameras), dim=1)
        return torch.cat([camera(view) for camera, view in zip(self.cameras, views, strict=True)], dim=-1)


def resnet18() -> nn.Sequential:
    """(M, 3, H, W) -> (M, 512); 11.2 M parameters."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), norm(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for channels, stride in STAGES:
        layers += [Residual(inputs, channels, stride), Residual(channels, channels, 1)]
        inputs = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def norm(channels: int) -> nn.GroupNorm:
    """Group norm, 16 channels a group."""
    return nn.GroupNorm(channels // 16, channels)


class Residual(nn.Module):
    """The basic block of ResNet: (M, C, H, W) -> (M, C', H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            norm(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            norm(outputs),
        )
        same = inputs == outputs and stride == 1
        self.skip = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))
        )
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Features (M, C, h, w) -> (M, C', h / stride, w / stride), rounded up."""
        return self.act(self.body(x) + self.skip(x))
