"""The point-cloud sensor: camera, rays, crop and farthest point sampling in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, sqrt
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.clouds import fps
from omp_cli.core.clouds.camera import Camera
from omp_cli.core.clouds.crop import Box
from omp_cli.core.clouds.raycast import MARKER, Hits, Marker, RayCaster, geoms_made_of
from omp_cli.core.config import Settings
from omp_cli.core.errors import DataError

Frame = Literal["world", "dp3"]


class CloudConfig(Settings):
    """What a point cloud looks like.

    Attributes:
        points: N, points per cloud.
        camera_size: width = height of the depth camera in pixels; None chooses one that sees enough points.
        frame: "world" is the true world frame and a tight crop; "dp3" the frame and crop of the public pipelines.
        fps_backend: implementation of farthest point sampling; all give the same set of points.
    """

    points: int = Field(512, ge=1, le=2**20)
    camera_size: int | None = Field(None, ge=8, le=2048)
    frame: Frame = "world"
    fps_backend: fps.FpsBackend = "numpy"

    @property
    def size(self) -> int:
        """The camera size in use: 84 up to 512 points, 128 up to 1024, then growing with the square root."""
        if self.camera_size is not None:
            return self.camera_size
        if self.points <= 512 and self.frame == "world":
            return 84
        # the public pipelines always take 128; with it changes how much of the table their half-pixel shift leaves
        return 128 * ceil(sqrt(self.points / 1024))


class CloudSensor:
    """Makes clouds (N, 3) float32 of one MuJoCo scene.

    Args:
        model: ``mujoco.MjModel``.
        camera: the depth camera, world frame.
        box: the crop, in the frame of the cloud.
        config: number of points, frame, backend.
        hidden: bodies that rays pass through.
        dropped: materials that stop rays but whose points are left out (the table).
    """

    def __init__(
        self,
        model: Any,
        camera: Camera,
        box: Box,
        config: CloudConfig,
        hidden: Iterable[str] = (),
        dropped: Iterable[str] = (),
    ) -> None:
        fps.require(config.fps_backend)
        self._config = config
        self._camera = camera
        self._box = box
        directions = camera.directions()
        if config.frame == "world":
            cast = np.flatnonzero(box.meets(camera.position, directions))
            self._to_cloud = None
        else:
            cast = np.arange(len(directions))
            # depth times this is the public pipelines' point: they project through pixel corners
            self._to_cloud = camera.slopes(offset=0.0) @ DP3_ROTATION.T
            self._per_distance = 1.0 / np.linalg.norm(camera.slopes(), axis=1)
        self._caster = RayCaster(model, camera.position, directions[cast], hidden)
        self._dropped = geoms_made_of(model, dropped)
        self.first: int | None = None
        self.filled = 0
        self.frames = 0
        self.seconds = {"rays": 0.0, "crop": 0.0, "fps": 0.0}

    def capture(self, data: Any, markers: Sequence[Marker] = ()) -> NDArray[np.float32]:
        """Cloud (N, 3) float32 of the present state of ``data``, in the configured frame; updates ``filled``.

        With ``first`` set, only the first so many points of it. Also adds to ``frames`` and ``seconds`` (wall time of
        rays, crop and fps).
        """
        start = perf_counter()
        hits = self._caster.cast(data, markers)
        after_rays = perf_counter()
        points, _ = self._cropped(hits)
        after_crop = perf_counter()
        try:
            cloud, self.filled = fps.sample(points, self._config.points, self._config.fps_backend, self.first)
        except DataError as error:
            raise DataError(error.message, f"use a camera size above {self._camera.size} or fewer points") from None
        done = perf_counter()
        self.frames += 1
        self.seconds["rays"] += after_rays - start
        self.seconds["crop"] += after_crop - after_rays
        self.seconds["fps"] += done - after_crop
        return cloud

    def cropped(self, data: Any, markers: Sequence[Marker] = ()) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Every point inside the crop (M, 3) and the geom id it lies on (M,), before sampling."""
        return self._cropped(self._caster.cast(data, markers))

    def _cropped(self, hits: Hits) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        met = np.flatnonzero(np.isfinite(hits.distance))
        geom = hits.geom[met]
        distance = hits.distance[met, None]
        if self._to_cloud is None:
            points = self._camera.position + distance * self._caster.directions[met]
            # a marker lying on the table is cut by the floor of the box: the goal counts as a whole
            keep = self._box.contains(points) | (geom == MARKER)
        else:
            points = distance * self._per_distance[met, None] * self._to_cloud[met]
            keep = self._box.contains(points)
        if len(self._dropped):
            keep &= ~np.isin(geom, self._dropped)
        return points[keep], geom[keep]

    def describe(self) -> dict[str, Any]:
        """JSON form for a data set's provenance."""
        frame: dict[str, Any] = {"name": self._config.frame}
        if self._to_cloud is not None:
            frame["rotation_from_world"] = np.round(DP3_ROTATION @ self._camera.rotation.T, 6).tolist()
            frame["origin"] = self._camera.position.tolist()
            frame["pixel_offset"] = 0.0
        return {"camera": self._camera.describe(), "crop": self._box.describe(), "frame": frame}


def _dp3_rotation() -> NDArray[np.float64]:
    about_x, about_y = np.radians(61.4), np.radians(-7.0)
    cx, sx, cy, sy = np.cos(about_x), np.sin(about_x), np.cos(about_y), np.sin(about_y)
    return np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])


DP3_ROTATION = _dp3_rotation()
"""(3, 3) camera frame to the public pipelines' frame: the hand-tuned angles that stand in for the camera's own pose."""

DP3_BOX = Box((-0.5, -1.5, -0.795), (1.0, -0.4, 100.0))
"""The public pipelines' Meta-World crop, in their frame."""
