"""The depth camera of a recording and the box of its clouds, as settings."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from omp_cli.core.base.config import LARGEST, Above0, Count, Settings, from_commas
from omp_cli.core.base.errors import UsageError
from omp_cli.core.clouds.depth import DepthCamera, not_a_pose

Coordinate = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]


def _flat(value: Any) -> Any:
    """Numbers between commas, or a matrix given as rows, row by row."""
    value = from_commas(value)
    rows = isinstance(value, list | tuple) and value and all(isinstance(row, list | tuple) for row in value)
    return [x for row in value for x in row] if rows else value


def _box(value: tuple[float, ...]) -> tuple[float, ...]:
    """ValueError for a box that no point can be in."""
    if any(low >= high for low, high in zip(value[:3], value[3:], strict=True)):
        raise ValueError("expected the lowest x, y, z, then the highest x, y, z, each above its lowest")
    return value


Crop = Annotated[
    tuple[Coordinate, Coordinate, Coordinate, Coordinate, Coordinate, Coordinate],
    BeforeValidator(from_commas),
    AfterValidator(_box),
]
"""Lowest x, y, z and highest x, y, z."""


class CameraConfig(Settings):
    """The camera of the depth pictures, in OpenCV's convention: x to the right, y down, z forward."""

    intrinsics: Annotated[tuple[Coordinate, ...], BeforeValidator(_flat)] | None = None
    """fx, fy, cx, cy in pixels, or the 3 x 3 matrix by rows."""
    pose: Annotated[tuple[Coordinate, ...], BeforeValidator(_flat)] | None = None
    """Camera to world, the 4 x 4 matrix by rows, metres; None leaves the clouds in the camera's frame. With
    ``format.pose``, camera to that of which each frame's pose is there (a hand); None for the camera itself.
    """
    depth_scale: Above0 = 1.0
    """Metres that one unit of the depth pictures stands for: 0.001 for millimetres."""
    farthest: Above0 = 10.0
    """Metres beyond which depth does not count."""
    stride: Count | None = None
    """Takes every so-manieth row and column of the depth pictures: 4 leaves a sixteenth of the points, which a robot
    samples in a sixteenth of the time. None takes all.
    """

    @model_validator(mode="after")
    def _matrices(self) -> CameraConfig:
        if self.intrinsics is not None and (len(self.intrinsics) not in (4, 9) or min(self._focal()) <= 0):
            raise ValueError(
                "intrinsics: expected fx, fy, cx, cy, or 9 numbers of a 3 x 3 matrix, with fx and fy above 0"
            )
        if self.pose is not None:
            if len(self.pose) != 16:
                raise ValueError("pose: expected 16 numbers, a 4 x 4 matrix by rows")
            if wrong := not_a_pose(np.array(self.pose).reshape(4, 4)):
                raise ValueError(f"pose: the matrix {wrong}")
        return self

    def _focal(self) -> tuple[float, float]:
        assert self.intrinsics is not None
        return (self.intrinsics[0], self.intrinsics[1 if len(self.intrinsics) == 4 else 4])

    def build(self) -> DepthCamera:
        """The camera; UsageError where the intrinsics were not said."""
        if self.intrinsics is None:
            raise UsageError(
                "depth pictures become clouds only with the camera's intrinsics",
                "--set 'camera.intrinsics=[fx, fy, cx, cy]', and --set 'camera.pose=[...]' for the world frame",
            )
        centre = self.intrinsics[2:] if len(self.intrinsics) == 4 else (self.intrinsics[2], self.intrinsics[5])
        pose = np.eye(4) if self.pose is None else np.array(self.pose).reshape(4, 4)
        (fx, fy), (cx, cy), stride = self._focal(), centre, self.stride or 1
        return DepthCamera((fx / stride, fy / stride), (cx / stride, cy / stride), pose)
