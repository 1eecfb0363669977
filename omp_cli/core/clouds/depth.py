"""From the depth pictures of a real camera to points; crop and sampling are those of simulated clouds.

Convention of the pose and of the intrinsics: OpenCV's, which cameras' drivers and calibrations use (x to the right of
the picture, y down, z forward), so depth is the distance along z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def not_a_pose(matrix: NDArray[np.floating]) -> str:
    """What keeps a matrix (4, 4) from being a rotation and a translation, to follow its name; "" where it is one."""
    if not np.isfinite(matrix).all():
        return "has numbers that are not finite"
    if matrix[3].tolist() != [0, 0, 0, 1]:
        return "does not end with the row 0, 0, 0, 1"
    turn = matrix[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn) < 0:
        return "has a 3 x 3 part that is no rotation"
    return ""


@dataclass(frozen=True)
class DepthCamera:
    """A calibrated depth camera.

    Attributes:
        focal: fx, fy, pixels.
        centre: cx, cy, pixels; (0, 0) is the centre of the first pixel.
        pose: (4, 4) camera to world, metres.
    """

    focal: tuple[float, float]
    centre: tuple[float, float]
    pose: NDArray[np.float64]

    def points(self, depth: NDArray[np.floating]) -> NDArray[np.float64]:
        """World points (M, 3) of a depth picture (H, W) in metres, row by row; pixels without depth give none."""
        row, column = np.nonzero(np.isfinite(depth) & (depth > 0))
        z = depth[row, column].astype(np.float64)
        x = (column - self.centre[0]) / self.focal[0] * z
        y = (row - self.centre[1]) / self.focal[1] * z
        return np.stack([x, y, z], axis=1) @ self.pose[:3, :3].T + self.pose[:3, 3]
