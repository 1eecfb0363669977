"""Pinhole camera in MuJoCo's convention: x to the right of the picture, y up, z backward (it looks along -z)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXEL_CENTRE = 0.5
"""Offset of a pixel's centre from its integer coordinate."""


@dataclass(frozen=True)
class Camera:
    """A square picture seen from a point. Row 0 of the picture is its top, column 0 its left.

    Attributes:
        position: (3,) focal point, metres, world frame.
        rotation: (3, 3) camera axes as columns, world frame: x right, y up, z backward.
        fovy: vertical (= horizontal) opening angle, degrees.
        size: width = height, pixels.
    """

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    fovy: float
    size: int

    @property
    def focal(self) -> float:
        """Focal length, pixels."""
        return self.size / (2.0 * float(np.tan(np.radians(self.fovy) / 2.0)))

    def slopes(self, offset: float = PIXEL_CENTRE) -> NDArray[np.float64]:
        """Camera-frame points (size * size, 3) at depth 1 (z = -1), one per pixel, row by row.

        Args:
            offset: where in its pixel the ray passes; 0.5 is the centre, 0 the corner that the public pipelines use.
        """
        across = (np.arange(self.size) + offset - self.size / 2.0) / self.focal
        slopes = np.empty((self.size, self.size, 3))
        slopes[..., 0] = across[None, :]
        slopes[..., 1] = -across[:, None]
        slopes[..., 2] = -1.0
        return slopes.reshape(-1, 3)

    def directions(self) -> NDArray[np.float64]:
        """Unit ray directions (size * size, 3) in the world frame, row by row."""
        slopes = self.slopes()
        return (slopes / np.linalg.norm(slopes, axis=1, keepdims=True)) @ self.rotation.T

    def to_camera(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """World points (M, 3) to the camera frame (M, 3); depth along the axis is minus the last component."""
        return (np.asarray(points, np.float64) - self.position) @ self.rotation

    def upside_down(self) -> bool:
        """Whether the world's up points to the lower half of the picture (true of Meta-World's ``corner2``)."""
        return bool(self.rotation[2, 1] < 0.0)

    def describe(self) -> dict[str, Any]:
        """JSON form of the camera for a data set's provenance."""
        return {
            "position": [round(float(v), 6) for v in self.position],
            "rotation": [[round(float(v), 6) for v in row] for row in self.rotation],
            "fovy": self.fovy,
            "size": self.size,
        }


def look_at(position: tuple[float, float, float], target: tuple[float, float, float], fovy: float, size: int) -> Camera:
    """Upright camera at ``position`` that looks at ``target`` (metres, world frame)."""
    back = np.subtract(position, target).astype(np.float64)
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    return Camera(np.array(position, np.float64), np.stack([right, np.cross(back, right), back], axis=1), fovy, size)
