"""What tasks share whose cloud comes from a simulated depth camera."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from math import ceil, sqrt
from typing import Any

from omp_cli.core.clouds.sensor import MAX_FOVEA, MAX_SIZE, SIZE, CloudConfig, CloudSensor, Robot
from omp_cli.core.suites.base import TaskEnv

_FOVEA, _ENOUGH = 4, 1024
"""A camera of 84 pixels, four times finer, sees 960 points and more of each of Meta-World's tasks without the arm."""


def recommended_cloud(cloud: CloudConfig | None, robot: Robot = "gripper") -> Mapping[str, Any]:
    """Points where they matter (``Suite.recommended``): ``robot`` says on which of its links; from a foveated camera.

    Nothing in a frame other than the world's, which has no finer camera. The camera is the finer the more points are
    asked for.
    """
    if cloud is None or cloud.frame != "world":
        return {}
    finer = min(MAX_FOVEA, MAX_SIZE // (cloud.camera_size or SIZE), _FOVEA * ceil(sqrt(cloud.points / _ENOUGH)))
    return {"cloud.robot": robot, "cloud.fovea": finer}


class CloudedEnv(TaskEnv):
    """A task with a ``CloudSensor``, which is built on first use."""

    _sensor: CloudSensor | None = None
    _first: int | None = None

    @abstractmethod
    def make_sensor(self) -> CloudSensor:
        """The sensor; UsageError where no clouds are configured."""

    @property
    def sensor(self) -> CloudSensor:
        """The cloud sensor."""
        if self._sensor is None:
            self._sensor = self.make_sensor()
            self._sensor.first = self._first
        return self._sensor

    def read_points(self, count: int | None) -> None:
        """Sample only the first ``count`` points of each cloud from now on."""
        self._first = count
        if self._sensor is not None:
            self._sensor.first = count

    @property
    def filled(self) -> int:
        """Points of the last cloud that are repetitions."""
        return self._sensor.filled if self._sensor else 0

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of rays, crop and farthest point sampling so far."""
        return dict(self._sensor.seconds) if self._sensor else {}

    @property
    def points_on(self) -> dict[str, int]:
        """Points before sampling so far, by what they lay on: "arm", "gripper", "marker", or a body's name."""
        return self._sensor.points_on if self._sensor else {}
