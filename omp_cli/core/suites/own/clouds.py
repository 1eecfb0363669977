"""The point clouds of recorded data: made of depth pictures, cropped, and sampled to one number of points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.progress import Progress
from omp_cli.core.clouds import fps
from omp_cli.core.clouds.crop import Box
from omp_cli.core.clouds.depth import DepthCamera, not_a_pose
from omp_cli.core.data.large import held
from omp_cli.core.data.readers.roles import DEPTH, POSE
from omp_cli.core.data.store import Arrays
from omp_cli.core.envs.jobs import Kept, in_order
from omp_cli.core.suites.base import TaskEnv
from omp_cli.core.suites.own.camera import CameraConfig, Crop

POINTS = 512
"""Points of a cloud that is made of a depth picture, unless told otherwise."""
_AT_ONCE = 50_000_000
"""Distances between points that a worker computes at once, for half a second or so."""


def check_cloud_settings(
    first: Arrays, points: int | None, crop: Crop | None, camera: CameraConfig, name: str = "episode 0"
) -> None:
    """Compare the settings with the first episode, and make the cloud of its first frame; messages call it ``name``.

    Raises:
        UsageError: clouds are asked for that it has no arrays for, the camera is told of where there is no depth, or
            not told of where there is.
        DataError: the frame has too few points.
    """
    if DEPTH not in first and camera != CameraConfig():
        raise UsageError(
            "camera: the data have no depth pictures that it could have taken",
            "name their array: --set 'format.depth=[\"NAME\"]'; clouds that are there need no camera",
        )
    if "point_cloud" not in first and DEPTH not in first:
        if points is not None or crop is not None:
            raise UsageError(
                f"--{'points' if points is not None else 'crop'}: the data have no clouds",
                "name their array: --set 'format.cloud=[\"NAME\"]', or depth pictures: 'format.depth=[\"NAME\"]'",
            )
        return
    frame = {name: array[:1] for name, array in first.items()}
    if (making := _making([frame], points, crop, camera)) is not None:
        make(_Frames(making, frame, 0, name, 0))


def with_clouds(
    episodes: Sequence[Arrays],
    points: int | None,
    crop: Crop | None,
    camera: CameraConfig,
    progress: Progress,
    workers: int = 1,
    name_of: Callable[[int], str] = "episode {}".format,
) -> tuple[list[Arrays], bool, list[str]]:
    """The episodes with the clouds that are wanted, and without depth pictures; ``check_cloud_settings`` was there.

    Args:
        episodes: with "point_cloud" (T, N, 3), "depth" (T, H, W), maybe with "camera_pose" (T, 4, 4), or neither.
        points: number of points of each cloud; None keeps the number that there is.
        crop: what is kept, in the frame of the cloud; None keeps all.
        camera: the camera of the depth pictures.
        progress: advances with every frame.
        workers: processes; the clouds do not depend on their number.
        name_of: what messages call an episode, by its index.

    Returns:
        The episodes, whether their clouds are in the order of farthest point sampling, and what the user has to know.

    Raises:
        UsageError: the camera was not told of, or the clouds differ in size and no number of points was said.
        DataError: a frame has too few points.
    """
    if (making := _making(episodes, points, crop, camera)) is None:
        return list(episodes), False, []
    frames = sum(len(episode["action"]) for episode in episodes)
    progress.start("clouds", frames)
    parts: dict[int, list[NDArray[np.float32]]] = {}
    counts = Counter[str]()
    for made in in_order(make, _jobs(making, episodes, name_of), workers, progress.note):
        parts.setdefault(made.episode, []).append(made.clouds)
        counts.update(made.counts)
        progress.advance(len(made.clouds))
    shown = []
    for number, episode in enumerate(episodes):
        kept = {name: array for name, array in episode.items() if name not in (DEPTH, POSE)}
        shown.append({**kept, "point_cloud": held(np.concatenate(parts[number]))})
    return shown, True, _said(making, episodes, frames, counts)


@dataclass(frozen=True)
class Making:
    """How a cloud is made of what was recorded."""

    wanted: int
    box: Box | None
    camera: DepthCamera | None
    config: CameraConfig

    def taken(self, episode: Arrays) -> Arrays:
        """What of an episode the clouds are made of."""
        names = ("point_cloud",) if self.camera is None else (DEPTH, POSE)
        return {name: episode[name] for name in names if name in episode}


@dataclass(frozen=True)
class _Frames:
    """Frames of an episode that become clouds: T frames from ``at`` on; messages call the episode ``name``."""

    making: Making
    arrays: Arrays
    episode: int
    name: str
    at: int


def _jobs(making: Making, episodes: Sequence[Arrays], name_of: Callable[[int], str]) -> Iterator[_Frames]:
    """All frames, in order; those of an episode that take little are one job."""
    for index, episode in enumerate(episodes):
        taken = making.taken(episode)
        seen = next(iter(taken.values()))
        points = seen.shape[1] if making.camera is None else seen[0].size // (making.config.stride or 1) ** 2
        together = max(_AT_ONCE // max(points * making.wanted, 1), 1)
        for at in range(0, len(seen), together):
            yield _Frames(
                making, {name: array[at : at + together] for name, array in taken.items()}, index, name_of(index), at
            )


@dataclass(frozen=True)
class _Made:
    """Clouds (T, N, 3) of frames of an episode; how many points are not finite or repeated, and in how many frames."""

    episode: int
    clouds: NDArray[np.float32]
    counts: Counter[str]


def _making(episodes: Sequence[Arrays], points: int | None, crop: Crop | None, camera: CameraConfig) -> Making | None:
    """How the clouds are made; None where there are none, or they stay as they are."""
    sizes = _sizes(episodes)
    if not sizes:
        return making_of(points or POINTS, crop, camera) if DEPTH in episodes[0] else None
    if points is None and len(sizes) > 1:
        raise UsageError(
            f"the clouds of the episodes have {sizes[0]} to {sizes[-1]} points",
            f"take as many of each: --points {sizes[0]}",
        )
    whole = all(np.isfinite(episode["point_cloud"]).all() for episode in episodes)
    if whole and crop is None and len(sizes) == 1 and points in (None, sizes[0]):
        return None
    return making_of(points or sizes[0], crop, None)


def _sizes(episodes: Sequence[Arrays]) -> list[int]:
    """The different numbers of points of recorded clouds, ascending."""
    return sorted({episode["point_cloud"].shape[1] for episode in episodes if "point_cloud" in episode})


def making_of(points: int, crop: Crop | None, camera: CameraConfig | None) -> Making:
    """How clouds of so many points are made of depth pictures of a camera, or without one of larger clouds."""
    box = None if crop is None else Box(crop[:3], crop[3:])
    return Making(points, box, None if camera is None else camera.build(), camera or CameraConfig())


def make(job: _Frames, kept: Kept[TaskEnv] | None = None) -> _Made:
    """The clouds of some frames; DataError where one has too few points."""
    counts, clouds = Counter[str](), []
    for t in range(len(next(iter(job.arrays.values())))):
        frame = {name: array[t] for name, array in job.arrays.items()}
        clouds.append(cloud_of(job.making, frame, f"{job.name}, frame {job.at + t}", counts))
    return _Made(job.episode, np.stack(clouds), counts)


def cloud_of(making: Making, frame: Arrays, where: str, counts: Counter[str]) -> NDArray[np.float32]:
    """The cloud (N, 3) of one frame: a cloud (M, 3), or a depth picture (H, W) and maybe the pose (4, 4) of its camera.

    Args:
        making: how it is made.
        frame: the arrays, by the names of an episode's.
        where: which frame that is, for messages.
        counts: what was left out and filled in is added to them.

    Raises:
        DataError: it has too few points, or the pose is none.
    """
    if making.camera is None:
        cloud = frame["point_cloud"]
        points = cloud[np.isfinite(cloud).all(axis=1)]
        counts["not finite"] += len(cloud) - len(points)
    else:
        points = _seen(making, making.camera, frame, where)
    if making.box is not None:
        points = points[making.box.contains(points)]
    try:
        cloud, missing = fps.sample(points, making.wanted)
    except DataError:
        raise DataError(
            f"{where}: {len(points)} points are left where {making.wanted} are wanted, less than half",
            "take fewer with --points" + ("" if making.box is None else ", or a larger --crop"),
        ) from None
    counts["filled"] += missing
    counts["frames filled"] += missing > 0
    return cloud


def _seen(making: Making, camera: DepthCamera, frame: Arrays, where: str) -> NDArray[np.float64]:
    """All points (M, 3) that a depth picture shows.

    Raises:
        DataError: the frame's pose is none, or hardly a pixel is near enough, as with millimetres that are not said.
    """
    if POSE in frame:
        if wrong := not_a_pose(carrier := frame[POSE]):
            raise DataError(f"{where}: the pose of format.pose {wrong}", "expected camera to world")
        camera = replace(camera, pose=carrier @ camera.pose)
    stride = making.config.stride or 1
    depth = frame[DEPTH][::stride, ::stride] * making.config.depth_scale
    seen, farthest = depth[np.isfinite(depth) & (depth > 0)], making.config.farthest
    near = int((seen <= farthest).sum())
    if len(seen) > near and 2 * near < making.wanted:
        raise DataError(
            f"{where}: of {len(seen)} pixels with depth {near} lie within camera.farthest = {farthest:g} m; their "
            f"median is {np.median(seen):g} m",
            "--set camera.depth_scale=0.001, if the pictures hold millimetres; or a larger camera.farthest",
        )
    return camera.points(np.where(depth <= farthest, depth, 0.0))


def _said(making: Making, episodes: Sequence[Arrays], frames: int, counts: Mapping[str, int]) -> list[str]:
    """What was done, in sentences."""
    sizes = _sizes(episodes)
    of = f"clouds of {' to '.join(map(str, sizes[:: len(sizes) - 1 or 1]))} points" if sizes else "depth pictures"
    inside = "" if making.box is None else " that lie in the crop"
    said = [f"{of}: {making.wanted} points{inside} are kept of each, by exact farthest point sampling"]
    if counts["not finite"]:
        said.append(f"{counts['not finite']} points of the clouds are not finite and are left out")
    if counts["frames filled"]:
        said.append(
            f"{counts['frames filled']} of {frames} frames have fewer points than that: {counts['filled']} in all are "
            "repetitions of others"
        )
    return said
