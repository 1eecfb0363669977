"""LeRobot's frame as a policy reads it: names, pictures from 0 to 255 with the channels last, one array of all cameras.

Legend: B batch, C channels, H, W height and width.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from omp_cli.core.base.errors import DataError, did_you_mean
from omp_cli.core.deploy.frames import Arrays
from omp_cli.core.deploy.lerobot.features import Feature

LOG = logging.getLogger(__name__)
SLACK = 1e-3
"""How far a colour may be beyond 0 and 1: resizing with other filters overshoots."""
_said: set[tuple[str, tuple[int, ...]]] = set()


def frame_of(batch: Mapping[str, Any], features: Sequence[Feature]) -> Arrays:
    """The arrays that a policy reads, each (B, ...), or without a batch as ``batch`` has them.

    Args:
        batch: LeRobot's observation, tensors by name; what the policy does not read is passed over.
        features: what it reads.

    Raises:
        DataError: one is missing, or has another shape, or colours out of range.
    """
    arrays: Arrays = {}
    pictures: list[Tensor] = []
    for feature in features:
        x = _found(batch, feature)
        if feature.kind == "VISUAL":
            pictures.append(_picture(x, feature))
        else:
            arrays[feature.array] = x.float().cpu().numpy()
    if pictures:
        sizes = {tuple(x.shape[:-3]) for x in pictures}
        if len(sizes) > 1:
            keys = ", ".join(f"{f.key} {tuple(batch[f.key].shape)}" for f in features if f.kind == "VISUAL")
            raise DataError(f"the batch differs: {keys}")
        arrays["img"] = np.ascontiguousarray(torch.cat(pictures, -1).cpu().numpy())
    return arrays


def _found(batch: Mapping[str, Any], feature: Feature) -> Tensor:
    """The tensor of a feature, its shape checked."""
    if feature.key not in batch:
        rest = [key for key in batch if key.startswith("observation.")]
        hint = (
            did_you_mean(feature.key, rest)
            if feature.kind == "STATE"
            else "give the camera this name, or map it: --rename_map"
        )
        raise DataError(f"{feature.key} is missing, which the policy reads; there are {', '.join(rest)}", hint)
    x = torch.as_tensor(batch[feature.key])
    wanted = feature.shape[:1] if feature.kind == "VISUAL" else feature.shape  # pictures are resized
    shown = tuple(x.shape)
    end = shown[len(shown) - len(feature.shape) :]
    if end[: len(wanted)] != wanted or not 0 <= len(shown) - len(feature.shape) <= 1 or 0 in shown:
        like = ("C", "H", "W") if feature.kind == "VISUAL" else feature.shape
        like = (*wanted, *like[len(wanted) :])
        shapes = f"({', '.join(map(str, like))}), or (B, {', '.join(map(str, like))}) in a batch"
        raise DataError(f"{feature.key} has shape {shown}, expected {shapes}")
    return x


def _picture(x: Tensor, feature: Feature) -> Tensor:
    """A camera's pictures (..., C, H, W), float from 0 to 1 or uint8 -> (..., H, W, C) uint8 of the policy's size.

    Another size is averaged over areas, as the pictures of a data set are whose ``format.size`` was set.
    """
    if x.dtype != torch.uint8:
        low, high = (float(end) for end in x.aminmax())
        if not (x.is_floating_point() and low >= -SLACK and high <= 1 + SLACK):  # also where one is not a number
            raise DataError(
                f"{feature.key} has colours from {low:g} to {high:g} ({x.dtype}), expected float from 0 to 1, or uint8"
            )
    size = feature.shape[1:]
    if tuple(x.shape[-2:]) != size:
        _say_once(feature, tuple(x.shape[-2:]))
        scaled = x.float() / 255 if x.dtype == torch.uint8 else x
        rows = scaled.reshape(-1, *scaled.shape[-3:])
        x = functional.interpolate(rows, size, mode="area").reshape(*scaled.shape[:-2], *size)
    if x.dtype != torch.uint8:
        x = (x * 255).round().clamp(0, 255).to(torch.uint8)
    return x.movedim(-3, -1)


def _say_once(feature: Feature, shown: tuple[int, ...]) -> None:
    if (feature.key, shown) not in _said:
        _said.add((feature.key, shown))
        height, width = feature.shape[1:]
        LOG.warning(
            "%s: pictures of %dx%d are resized to the policy's %dx%d, by area averaging",
            feature.key,
            *shown,
            height,
            width,
        )
