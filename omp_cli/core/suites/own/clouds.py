"""The point clouds of recorded data: made of depth pictures, cropped, and sampled to one number of points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from omp_cli.core.base.config import LARGEST, Above0, Settings, from_commas
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.progress import Progress
from omp_cli.core.clouds import fps
from omp_cli.core.clouds.crop import Box
from omp_cli.core.clouds.depth import DepthCamera, not_a_pose
from omp_cli.core.data.readers.roles import DEPTH, POSE
from omp_cli.core.data.store import Arrays

POINTS = 512
"""Points of a cloud that is made of a depth picture, unless told otherwise."""

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
        return DepthCamera(self._focal(), (centre[0], centre[1]), pose)


def check_cloud_settings(first: Arrays, points: int | None, crop: Crop | None, camera: CameraConfig) -> None:
    """UsageError where clouds are asked for that the first episode has no arrays for, or the camera was not said."""
    if "point_cloud" not in first and DEPTH not in first:
        if points is not None or crop is not None:
            raise UsageError(
                f"--{'points' if points is not None else 'crop'}: the data have no clouds",
                "name their array: --set 'format.cloud=[\"NAME\"]', or depth pictures: 'format.depth=[\"NAME\"]'",
            )
    elif "point_cloud" not in first:
        camera.build()


def with_clouds(
    episodes: Sequence[Arrays], points: int | None, crop: Crop | None, camera: CameraConfig, progress: Progress
) -> tuple[list[Arrays], bool, list[str]]:
    """The episodes with the clouds that are wanted, and without depth pictures.

    Args:
        episodes: with "point_cloud" (T, N, 3), "depth" (T, H, W), maybe with "camera_pose" (T, 4, 4), or neither.
        points: number of points of each cloud; None keeps the number that there is.
        crop: what is kept, in the frame of the cloud; None keeps all.
        camera: the camera of the depth pictures.
        progress: advances with every episode.

    Returns:
        The episodes, whether their clouds are in the order of farthest point sampling, and what the user has to know.

    Raises:
        UsageError: as ``check_cloud_settings``, or the clouds differ in size and no number of points was said.
        DataError: a frame has too few points.
    """
    first = episodes[0]
    check_cloud_settings(first, points, crop, camera)
    box = None if crop is None else Box(crop[:3], crop[3:])
    if "point_cloud" not in first and DEPTH not in first:
        return list(episodes), False, []
    sizes = sorted({e["point_cloud"].shape[1] for e in episodes if "point_cloud" in e})
    found = sizes[0] if sizes else None
    if points is None and len(sizes) > 1:
        raise UsageError(
            f"the clouds of the episodes have {sizes[0]} to {sizes[-1]} points",
            f"take as many of each: --points {found}",
        )
    whole = all(np.isfinite(e["point_cloud"]).all() for e in episodes) if found is not None else False
    if whole and box is None and len(sizes) == 1 and points in (None, found):
        return list(episodes), False, []
    wanted = points or found or POINTS
    maker = _Maker(wanted, box, camera.build() if found is None else None, camera)
    made = []
    progress.start("clouds", len(episodes))
    for number, episode in enumerate(episodes):
        kept = {name: array for name, array in episode.items() if name not in (DEPTH, POSE)}
        made.append({**kept, "point_cloud": maker.clouds(episode, number)})
        progress.advance()
    return made, True, maker.said(sizes, sum(len(e["action"]) for e in episodes))


class _Maker:
    """Makes the clouds of one frame after the other, and counts."""

    def __init__(self, wanted: int, box: Box | None, camera: DepthCamera | None, config: CameraConfig) -> None:
        self._wanted, self._box, self._camera, self._config = wanted, box, camera, config
        self._filled = self._frames_filled = self._not_finite = 0

    def clouds(self, episode: Arrays, number: int) -> NDArray[np.float32]:
        """(T, N, 3) of an episode."""
        made = []
        for t, seen in enumerate(self._seen(episode, f"episode {number}")):
            made.append(self._cloud(seen, f"episode {number}, frame {t}"))
        return np.stack(made)

    def _cloud(self, points: NDArray[np.floating], where: str) -> NDArray[np.float32]:
        """(N, 3) of all points (M, 3) of a frame."""
        if self._box is not None:
            points = points[self._box.contains(points)]
        try:
            cloud, missing = fps.sample(points, self._wanted)
        except DataError:
            raise DataError(
                f"{where}: {len(points)} points are left where {self._wanted} are wanted, less than half",
                "take fewer with --points, or a larger --crop",
            ) from None
        self._filled += missing
        self._frames_filled += missing > 0
        return cloud

    def _seen(self, episode: Arrays, where: str) -> Iterator[NDArray[np.floating]]:
        """All points (M, 3) of each frame."""
        if self._camera is None:
            for cloud in episode["point_cloud"]:
                finite = np.isfinite(cloud).all(axis=1)
                self._not_finite += int((~finite).sum())
                yield cloud[finite]
            return
        for t, picture in enumerate(episode[DEPTH]):
            camera = self._camera
            if POSE in episode:
                if wrong := not_a_pose(carrier := episode[POSE][t]):
                    raise DataError(f"{where}, frame {t}: the pose of format.pose {wrong}", "expected camera to world")
                camera = replace(camera, pose=carrier @ camera.pose)
            depth = picture * self._config.depth_scale
            yield camera.points(np.where(depth <= self._config.farthest, depth, 0.0))

    def said(self, sizes: Sequence[int], frames: int) -> list[str]:
        """What was done, in sentences."""
        of = f"clouds of {' to '.join(map(str, sizes[:: len(sizes) - 1 or 1]))} points" if sizes else "depth pictures"
        inside = "" if self._box is None else " that lie in the crop"
        said = [f"{of}: {self._wanted} points{inside} are kept of each, by exact farthest point sampling"]
        if self._not_finite:
            said.append(f"{self._not_finite} points of the clouds are not finite and are left out")
        if self._frames_filled:
            said.append(
                f"{self._frames_filled} of {frames} frames have fewer points than that: {self._filled} in all are "
                "repetitions of others"
            )
        return said
