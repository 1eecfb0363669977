"""The hook of ``omp deploy`` for a robot of your own; here a point in the plane stands for it.

    omp prepare toy --demos 20
    omp pretrain --preset dmpo-state --steps 300
    omp deploy --env examples/my_robot.py:make --episodes 2

Replace what ``observe`` and ``act`` do by your sensors and your controller. ``act`` is called once per tick and must
not wait for the motion to end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.suites.base import recorded_suite


class MyRobot:
    """What ``omp deploy`` asks of a robot; only ``observe`` and ``act`` are needed."""

    def __init__(self) -> None:
        self._plane = recorded_suite({"name": "toy"}).make("reach")
        self._episode, self._steps = 0, 0

    def reset(self) -> None:
        """Go to the start of an episode."""
        self._plane.reset(seed=self._episode)
        self._episode, self._steps = self._episode + 1, 0

    def observe(self) -> dict[str, NDArray[Any]]:
        """The newest frame, with the names, shapes and units of the demonstrations."""
        return self._plane.observe(["state"])

    def act(self, action: NDArray[np.float32]) -> None:
        """Command an action (A,), in the units of the demonstrations."""
        self._reached = self._plane.step(action).success
        self._steps += 1

    def done(self) -> bool:
        """Whether the episode is over."""
        return self._steps > 0 and (self._reached or self._steps >= 60)

    def close(self) -> None:
        """Stop and let go of the robot, whatever happened: its last action stands unless this ends it."""
        self._plane.close()


def make() -> MyRobot:
    """The function that ``--env`` names."""
    return MyRobot()
