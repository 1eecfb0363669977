"""ResNet-18 with group norm, one per camera, and the state: the image encoder of Diffusion Policy.

Batch norm is replaced by group norm (16 channels a group), because it does not live with a moving average of weights
(Diffusion Policy, section 3.2). Nothing is pre-trained.

Legend: B batch, T observation steps, M = B T pictures, C channels, H height, W width, S state dimension, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from omp_cli.core.config import Settings
from omp_cli.core.encoders.base import ENCODERS, Encoder, Limits
from omp_cli.core.encoders.images import random_shift, to_floats
from omp_cli.core.errors import UsageError
from omp_cli.core.spec import Spec

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Channels and stride of the four stages of two residual blocks each (He et al. 2016)."""


class ResNet18Config(Settings):
    """Settings of the ResNet encoder: ``shift`` moves training pictures by up to so many pixels."""

    name: Literal["resnet18"] = "resnet18"
    shift: int = Field(4, ge=0)


@ENCODERS.register("resnet18")
class ResNet18Encoder(Encoder):
    """One network per camera (three channels each), mean over the picture; D = T (512 cameras + S)."""

    Config = ResNet18Config
    config: ResNet18Config
    keys = ("state", "img")

    def __init__(self, config: ResNet18Config, spec: Spec, n_obs: int) -> None:
        super().__init__(config, spec, n_obs)
        if spec.image is None or spec.image[2] % 3:
            raise UsageError(f"encoder resnet18: {spec.suite} {spec.task} has no RGB picture", "use another encoder")
        self.state_limits = Limits(spec.state_dim)
        self.cameras = nn.ModuleList(resnet18() for _ in range(spec.image[2] // 3))
        self.out_dim = n_obs * (STAGES[-1][0] * len(self.cameras) + spec.state_dim)

    def fit(self, arrays: Mapping[str, Tensor]) -> None:
        """Take the limits from state (frames, S)."""
        self.state_limits.fit(arrays["state"])

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """state (B, T, S), img (B, T, H, W, C) uint8 -> (B, D)."""
        state = self.state_limits(obs["state"]).flatten(0, 1)
        pictures = to_floats(obs["img"].flatten(0, 1), state)
        if self.training and self.config.shift:
            pictures = random_shift(pictures, self.config.shift)
        views = pictures.chunk(len(self.cameras), dim=1)
        features = [camera(view) for camera, view in zip(self.cameras, views, strict=True)]
        return torch.cat([*features, state], dim=-1).unflatten(0, obs["state"].shape[:2]).flatten(1)


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
        return self.act(self.body(x) + self.skip(x))
