"""What picture encoders share: pixels as floats, random-shift augmentation, the state beside the picture.

Legend: B batch, T observation steps, M = B T pictures, H height, W width, C channels of all cameras together, S state
dimension, F features of a frame's picture, D = T (F + S) embedding dimension.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from omp_cli.core.base.config import CountOrZero
from omp_cli.core.base.errors import UsageError
from omp_cli.core.encoders.base import Encoder, EncoderConfig, StateLimits
from omp_cli.core.spec import Spec


class ImageConfig(EncoderConfig):
    """Settings of a picture encoder: training pictures are shifted by up to ``shift`` pixels; 0 turns it off."""

    name: str
    shift: CountOrZero = 4
    """Largest random shift of a picture in training, pixels; 0 shifts nothing."""


class ImageEncoder(Encoder):
    """Features of each frame's picture, with the normalised state appended.

    Args:
        config: settings of the member.
        spec: UsageError when it has no picture.
        n_obs: T.
    """

    config: ImageConfig
    keys = ("state", "img")

    def __init__(self, config: ImageConfig, spec: Spec, n_obs: int) -> None:
        super().__init__(config, spec, n_obs)
        if spec.image is None:
            raise UsageError(f"encoder {config.name}: {spec.suite} {spec.task} has no picture", "use another encoder")
        self.state_limits = StateLimits(spec)

    def fit(self, arrays: Mapping[str, Tensor]) -> None:
        """Take the limits from the state."""
        self.state_limits.fit(arrays["state"])

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """state (B, T, S), img (B, T, H, W, C) uint8 -> (B, D)."""
        state = self.state_limits(obs["state"]).flatten(0, 1)
        pictures = to_floats(obs["img"].flatten(0, 1), state)
        if self.training and self.config.shift:
            pictures = random_shift(pictures, self.config.shift)
        embedded = torch.cat([self.features(pictures, state), state], dim=-1)
        return self.scaled(embedded.unflatten(0, obs["state"].shape[:2]).flatten(1))

    @abstractmethod
    def features(self, pictures: Tensor, state: Tensor) -> Tensor:
        """pictures (M, C, H, W) in [-0.5, 0.5], normalised state (M, S) -> (M, F)."""


def to_floats(img: Tensor, like: Tensor) -> Tensor:
    """uint8 pictures (M, H, W, C) to (M, C, H, W) in [-0.5, 0.5], in the dtype of ``like``."""
    return img.permute(0, 3, 1, 2).to(like.dtype) / 255 - 0.5


def random_shift(x: Tensor, pad: int) -> Tensor:
    """Each picture of x (M, C, H, W) moved by up to ``pad`` pixels in both directions, edges repeated (DrQ-v2).

    All channels of a picture move together. Draws from torch's global generator on the device of x.
    """
    m, _, height, width = x.shape
    shift = torch.randint(-pad, pad + 1, (2, m, 1), device=x.device)
    rows = (torch.arange(height, device=x.device) + shift[0]).clamp(0, height - 1)  # (M, H)
    columns = (torch.arange(width, device=x.device) + shift[1]).clamp(0, width - 1)  # (M, W)
    picture = torch.arange(m, device=x.device)[:, None, None]
    return x[picture, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def shifted(img: Tensor, pad: int) -> Tensor:
    """``random_shift`` of raw pictures (B, T, H, W, C) uint8, each by itself; the same shape and type."""
    pictures = random_shift(img.flatten(0, 1).permute(0, 3, 1, 2), pad)
    return pictures.permute(0, 2, 3, 1).unflatten(0, img.shape[:2])
