"""LeRobot's names for what a policy reads and answers.

Legend: S state dimension, A action dimension, N points, H, W height and width, C channels of one camera.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from omp_cli.core.spec import Channels, Spec

STATE = "observation.state"
CLOUD = "observation.point_cloud"
IMAGES = "observation.images."
ACTION = "action"


@dataclass(frozen=True)
class Feature:
    """One of LeRobot's features.

    Attributes:
        key: LeRobot's name of it.
        array: the policy's name of the array that it is, or, of a camera, is a part of.
        kind: LeRobot's type of it; to LeRobot a cloud is a state.
        shape: (S,), (N, 3), (A,), or of a camera (C, H, W).
        names: names of its numbers, where the data say them.
        unit: unit of its numbers, where the data say it.
    """

    key: str
    array: str
    kind: Literal["STATE", "VISUAL", "ACTION"]
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    unit: str = ""


def read_features(spec: Spec, arrays: tuple[str, ...]) -> list[Feature]:
    """What a policy reads, cameras in the order of the picture's channels.

    Args:
        spec: the spec of the policy's task.
        arrays: those that the policy reads.
    """
    found: list[Feature] = []
    if "state" in arrays:
        found.append(Feature(STATE, "state", "STATE", (spec.state_dim,), *_said(spec.state_channels)))
    if "point_cloud" in arrays and spec.points is not None:
        found.append(Feature(CLOUD, "point_cloud", "STATE", (spec.points, 3)))
    if "img" in arrays and spec.image is not None:
        height, width, channels = spec.image
        cameras = _cameras(spec, channels)
        shape = (channels // len(cameras), height, width)
        found += [Feature(_camera_key(name), "img", "VISUAL", shape) for name in cameras]
    return found


def action_feature(spec: Spec) -> Feature:
    """What a policy answers."""
    return Feature(ACTION, "action", "ACTION", (spec.action_dim,), *_said(spec.action_channels))


def _said(channels: Channels | None) -> tuple[tuple[str, ...], str]:
    """Names and unit; a name that only says the place ("state[3]") is none."""
    if channels is None:
        return (), ""
    named = any(re.search(r"\[\d+\]$", name) is None for name in channels.names)
    return channels.names if named else (), channels.unit


def _cameras(spec: Spec, channels: int) -> tuple[str, ...]:
    """Names of the cameras whose pictures lie in the channels; numbered, of RGB each, where the data have none."""
    if spec.cameras and channels % len(spec.cameras) == 0:
        return spec.cameras
    return tuple(f"camera{n}" for n in range(1, max(channels // 3, 1) + 1)) if channels % 3 == 0 else ("camera1",)


def _camera_key(name: str) -> str:
    """A camera that shares its name with another one is called by the whole of its feature's name already."""
    return name if name.startswith("observation.") else IMAGES + name
