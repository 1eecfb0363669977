"""The point-cloud sensor: camera, rays, crop and farthest point sampling in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, sqrt
from time import perf_counter
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer, model_validator

from omp_cli.core.base.config import COMPLETE, Settings
from omp_cli.core.base.errors import DataError
from omp_cli.core.clouds import fps
from omp_cli.core.clouds.bounds import Bounds
from omp_cli.core.clouds.camera import Camera
from omp_cli.core.clouds.crop import Box
from omp_cli.core.clouds.fovea import Fovea, thinned
from omp_cli.core.clouds.raycast import MARKER, Hits, Marker, RayCaster, geoms_made_of, geoms_of
from omp_cli.core.clouds.trees import MeshTrees

Frame = Literal["world", "dp3"]
Robot = Literal["shown", "gripper", "hidden"]
SIZE, MAX_SIZE = 84, 2048
"""Pixels: of the smallest camera that sees enough of a task for a policy, and of the largest."""
MAX_FOVEA = 16
_FINE_RAYS, _RAYS_PER_POINT = 1024, 2  # 768 see fewer than 512 points of seven of Meta-World's tasks, 896 of none
_ROBOT: dict[Robot, str] = {
    "shown": "all links",
    "gripper": "hand and fingers; the arm's links stop rays and their points are left out",
    "hidden": "no links; they stop rays and their points are left out",
}
_FOVEA = {
    "where": "pixels that show what is kept, their neighbours, and goal markers",
    "rays": "thinned on large things",
}


class CloudConfig(Settings):
    """What a point cloud looks like."""

    LATER: ClassVar[tuple[str, ...]] = ("robot", "fovea")
    """Settings that data sets made before them lack: left out of recipes while they are what they were then."""

    points: int = Field(512, ge=1, le=2**20)
    """N, points per cloud."""
    camera_size: int | None = Field(None, ge=8, le=MAX_SIZE)
    """Width = height of the depth camera in pixels; None chooses one that sees enough points."""
    frame: Frame = "world"
    """"world" is the true world frame and a tight crop; "dp3" the frame and crop of the public pipelines."""
    fps_backend: fps.FpsBackend = "numpy"
    """Implementation of farthest point sampling; all give the same set of points."""
    robot: Robot = "shown"
    """Which of the robot's links are shown: all, "gripper": its hand and fingers, or "hidden": none, for a policy that
    knows them from its state. Rays stop at the others all the same, as they do at the table, and their points are left
    out.
    """
    fovea: int = Field(1, ge=1, le=MAX_FOVEA)
    """K: where the camera's picture shows something that is kept, its pixels are seen again as k x k finer ones, and
    the cloud is made of those; 1 leaves the picture as it is. Rays are thinned at even steps where they are too many.
    """

    @model_validator(mode="after")
    def _fovea_fits(self) -> CloudConfig:
        if self.fovea > 1 and self.frame != "world":
            raise ValueError("fovea: a finer camera is known of the world frame alone; leave it at 1 with frame = dp3")
        if self.size * self.fovea > MAX_SIZE:
            raise ValueError(
                f"fovea: a camera of {self.size} pixels {self.fovea} times finer has more than {MAX_SIZE}; "
                "take a smaller camera_size or fovea"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        found = dump(self)
        if info.context == COMPLETE:
            return found
        usual = {name: type(self).model_fields[name].default for name in self.LATER}
        return {key: value for key, value in found.items() if key not in usual or value != usual[key]}

    @property
    def size(self) -> int:
        """The camera size in use: 84 up to 512 points, 128 up to 1024, then growing with the square root.

        A camera with a fovea sees points enough from 84.
        """
        if self.camera_size is not None:
            return self.camera_size
        if self.frame == "world" and (self.points <= 512 or self.fovea > 1):
            return SIZE
        # the public pipelines always take 128; with it changes how much of the table their half-pixel shift leaves
        return 128 * ceil(sqrt(self.points / 1024))


@dataclass(frozen=True)
class RobotBodies:
    """Names of the bodies of a robot; names that a model lacks are ignored.

    Attributes:
        arm: what carries the gripper.
        gripper: hand and fingers.
    """

    arm: tuple[str, ...] = ()
    gripper: tuple[str, ...] = ()

    def left_out(self, robot: Robot) -> tuple[str, ...]:
        """The bodies whose points are left out of clouds that show that much of the robot."""
        return {"shown": (), "gripper": self.arm, "hidden": self.arm + self.gripper}[robot]


class CloudSensor:
    """Makes clouds (N, 3) float32 of one MuJoCo scene.

    Where links are left out and what is shown leaves the camera's picture for a while, so that fewer than half of N
    points remain, the cloud shows the whole robot: it tells where the hand went, and an episode goes on. A camera that
    has never yet seen half of N without those links is not right for them, and the cloud is refused.

    Args:
        model: ``mujoco.MjModel``.
        camera: the depth camera, world frame.
        box: the crop, in the frame of the cloud.
        config: number of points, frame, backend, what is shown of the robot, fovea.
        hidden: bodies that rays pass through.
        dropped: materials that stop rays but whose points are left out (the table).
        robot: the robot's bodies, of which ``config.robot`` leaves out some.
    """

    def __init__(
        self,
        model: Any,
        camera: Camera,
        box: Box,
        config: CloudConfig,
        hidden: Iterable[str] = (),
        dropped: Iterable[str] = (),
        robot: RobotBodies = RobotBodies(),
    ) -> None:
        fps.require(config.fps_backend)
        self._config = config
        self._camera = camera
        self._box = box
        hidden, dropped = tuple(hidden), tuple(dropped)
        directions = camera.directions()
        left_out = np.union1d(geoms_made_of(model, dropped), geoms_of(model, robot.left_out(config.robot)))
        self._dropped = np.zeros(model.ngeom + 2, np.bool_)  # by geom; the last two are never dropped: MARKER, nothing
        self._dropped[left_out] = True
        self._bounds: Bounds | None = None
        self._fovea: Fovea | None = None
        if config.frame == "world":
            self._pixels = np.flatnonzero(box.meets(camera.position, directions))
            self._to_cloud = None
            self._bounds = Bounds(model, camera.position, box, np.union1d(left_out, geoms_of(model, hidden)))
        else:
            self._pixels = np.arange(len(directions))
            # depth times this is the public pipelines' point: they project through pixel corners
            self._to_cloud = camera.slopes(offset=0.0) @ DP3_ROTATION.T
            self._per_distance = 1.0 / np.linalg.norm(camera.slopes(), axis=1)
        trees = MeshTrees(model)
        self._caster = RayCaster(model, camera.position, directions, hidden, trees)
        # what a geom belongs to, its body; the last entry is that of MARKER (-2) and of nothing (-1)
        self._things = np.concatenate([model.geom_bodyid, [model.nbody, model.nbody]]).astype(np.int32) + 1
        if config.fovea > 1:
            self._fovea = Fovea(camera, config.fovea, box)
            self._finer = RayCaster(model, camera.position, self._fovea.directions, hidden, trees)
        with_arm = config.model_copy(update={"robot": "shown", "fovea": 1})
        self._make_fallback = partial(CloudSensor, model, camera, box, with_arm, hidden, dropped, robot)
        self._fallback: CloudSensor | None = None
        self._names = [*_names(model, robot), "marker"]
        self._on = np.zeros(len(self._names) + 1, np.int64)
        self.first: int | None = None
        self.filled = 0
        self.frames = 0
        self.seconds = {"rays": 0.0, "crop": 0.0, "fps": 0.0}

    def capture(self, data: Any, markers: Sequence[Marker] = ()) -> NDArray[np.float32]:
        """Cloud (N, 3) float32 of the present state of ``data``, in the configured frame; updates ``filled``.

        With ``first`` set, the cloud has only that many points, from its start on. Also adds to ``frames`` and
        ``seconds`` (wall time of rays, crop and fps).
        """
        points, geom = self._visible(data, markers)
        self._on += np.bincount(self._things[geom], minlength=len(self._on))
        start = perf_counter()
        try:
            cloud, self.filled = fps.sample(points, self._config.points, self._config.fps_backend, self.first)
        except DataError as error:
            finer = "--fovea above 1, " if self._fovea is None and self._to_cloud is None else ""
            hint = f"use {finer}a camera size above {self._camera.size} or fewer points"
            raise DataError(error.message, hint) from None
        self.frames += 1
        self.seconds["fps"] += perf_counter() - start
        return cloud

    @property
    def points_on(self) -> dict[str, int]:
        """Points of all clouds so far, before sampling, by what they lay on: "arm", "gripper", "marker", a body."""
        counts: dict[str, int] = {}
        for name, count in zip(self._names, self._on[1:].tolist(), strict=True):
            if count:
                counts[name] = counts.get(name, 0) + count
        return counts

    def lying_on(self, geom: NDArray[np.int32]) -> list[str]:
        """What points lie on, by the geom ids (M,) that ``cropped`` gives: names as in ``points_on``."""
        return [self._names[thing - 1] for thing in self._things[geom]]

    def _visible(self, data: Any, markers: Sequence[Marker]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """What ``cropped`` sees, or, where that is too little for once, what it sees together with the arm."""
        points, geom = self.cropped(data, markers)
        if self._config.robot == "shown" or 2 * len(points) >= self._config.points or self.frames == 0:
            return points, geom
        if self._fallback is None:
            self._fallback = self._make_fallback()
        return self._fallback.cropped(data, markers)

    def cropped(self, data: Any, markers: Sequence[Marker] = ()) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Every point inside the crop (M, 3) and the geom id it lies on (M,), before sampling."""
        rays, points, geom = self._look(self._caster, data, markers, self._pixels)
        if self._fovea is None:
            return points, geom
        start = perf_counter()
        finer, things = self._fovea.around(rays, self._things[geom], markers)
        self.seconds["rays"] += perf_counter() - start
        _, points, geom = self._look(self._finer, data, markers, finer, things)
        return points, geom

    def _look(
        self,
        caster: RayCaster,
        data: Any,
        markers: Sequence[Marker],
        rays: NDArray[np.intp],
        things: NDArray[np.int32] | None = None,
    ) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.int32]]:
        """Of those rays of a caster (K,), by index, which are kept, their points and geoms.

        With ``things`` (K,), what they were chosen for, they are thinned where they are too many.
        """
        start = perf_counter()
        if self._bounds is not None:
            # Thinning counts rays, so what finer clouds hold depends on which are left out before it: by spheres alone.
            useful = self._bounds.meet(data, markers, caster.directions[rays], closely=things is None)
            rays, things = rays[useful], None if things is None else things[useful]
        if things is not None:
            rays = rays[thinned(things, max(_FINE_RAYS, _RAYS_PER_POINT * self._config.points))]
        hits = caster.cast(data, markers, rays)
        after_rays = perf_counter()
        keep, points = self._kept(caster.directions, rays, hits)
        self.seconds["rays"] += after_rays - start
        self.seconds["crop"] += perf_counter() - after_rays
        return rays[keep], points, hits.geom[keep]

    def _kept(
        self, directions: NDArray[np.float64], rays: NDArray[np.intp], hits: Hits
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Which of the hits (K,) a cloud keeps, by index, and their points (M, 3) in its frame."""
        met = np.flatnonzero(np.isfinite(hits.distance))
        geom = hits.geom[met]
        distance = hits.distance[met, None]
        if self._to_cloud is None:
            points = self._camera.position + distance * directions[rays[met]]
            # a marker lying on the table is cut by the floor of the box: the goal counts as a whole
            keep = self._box.contains(points) | (geom == MARKER)
        else:
            points = distance * self._per_distance[rays[met], None] * self._to_cloud[rays[met]]
            keep = self._box.contains(points)
        keep &= ~self._dropped[geom]
        return met[keep], points[keep]

    def describe(self) -> dict[str, Any]:
        """JSON form for a data set's provenance."""
        frame: dict[str, Any] = {"name": self._config.frame}
        if self._to_cloud is not None:
            frame["rotation_from_world"] = np.round(DP3_ROTATION @ self._camera.rotation.T, 6).tolist()
            frame["origin"] = self._camera.position.tolist()
            frame["pixel_offset"] = 0.0
        fovea = {} if self._fovea is None else {"fovea": {"factor": self._config.fovea, **_FOVEA}}
        return {
            "camera": self._camera.describe() | fovea,
            "crop": self._box.describe(),
            "frame": frame,
            "robot": _ROBOT[self._config.robot],
        }


def _names(model: Any, robot: RobotBodies) -> list[str]:
    """What each body counts as: part of the robot, or itself, by its own name or that of what it is fixed to."""
    parts = dict.fromkeys(robot.arm, "arm") | dict.fromkeys(robot.gripper, "gripper")
    names: list[str] = []
    for body in range(model.nbody):
        name = model.body(body).name or names[model.body_parentid[body]]
        names.append(parts.get(name, name))
    return names


def _dp3_rotation() -> NDArray[np.float64]:
    about_x, about_y = np.radians(61.4), np.radians(-7.0)
    cx, sx, cy, sy = np.cos(about_x), np.sin(about_x), np.cos(about_y), np.sin(about_y)
    return np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])


DP3_ROTATION = _dp3_rotation()
"""(3, 3) camera frame to the public pipelines' frame: the hand-tuned angles that stand in for the camera's own pose."""

DP3_BOX = Box((-0.5, -1.5, -0.795), (1.0, -0.4, 100.0))
"""The public pipelines' Meta-World crop, in their frame."""
