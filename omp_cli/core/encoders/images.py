"""What image encoders share: pixels as floats, and random-shift augmentation.

Legend: M pictures (batch times frames), H height, W width, C channels of all cameras together.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
