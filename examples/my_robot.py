"""The hook of ``omp deploy`` for a robot of your own; here a point in the plane stands for it.

    omp prepare toy --demos 20
    omp pretrain --preset dmpo-state --steps 300
    omp deploy --env examples/my_robot.py:make --episodes 2

Replace what ``observe`` and ``act`` do by your sensors and your controller. ``act`` is called once per tick and must
not wait for the motion to end. ``make_led`` is the same robot with somebody who takes over where the policy is lost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.suites.base import recorded_suite

LONGEST = 60
"""Steps of an episode."""


class MyRobot:
    """What ``omp deploy`` asks of a robot; only ``observe`` and ``act`` are needed."""

    def __init__(self, first: int = 0) -> None:
        self._plane = recorded_suite({"name": "toy"}).make("reach")
        self._first, self._steps, self._reached = first, 0, False

    def reset(self, start: int) -> None:
        """Go to the start of an episode; whoever does not want to know which leaves ``start`` out."""
        self._plane.reset(seed=self._first + start)
        self._steps, self._reached = 0, False

    def observe(self) -> dict[str, NDArray[Any]]:
        """The newest frame, with the names, shapes and units of the demonstrations."""
        return self._plane.observe(["state"])

    def act(self, action: NDArray[np.float32]) -> Any:
        """Command an action (A,), in the units of the demonstrations."""
        self._reached = self._plane.step(action).success
        self._steps += 1

    def done(self) -> bool:
        """Whether the episode is over."""
        return self._reached or self._steps >= LONGEST

    def pause(self) -> None:
        """Stand still, at the end of an episode; this one moves by steps alone."""

    def succeeded(self) -> bool:
        """Whether the episode succeeded, where a robot can say so; with ``--judge`` a person does."""
        return self._reached

    def close(self) -> None:
        """Stop and let go of the robot, whatever happened: its last action stands unless this ends it."""
        self._plane.close()


class LedRobot(MyRobot):
    """The robot with a second device by which somebody takes over, such as a leader arm or a space mouse.

    Here it is a rule: after half of the episode's time somebody leads the point to the goal.
    """

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Command the action, or what the other device says; the latter is returned, so that it can be learned from."""
        led = self._led() if self._steps >= LONGEST // 2 else None
        super().act(action if led is None else led)
        return led

    def _led(self) -> NDArray[np.float32]:
        """What the other device says, in the same units."""
        state = self._plane.observe(["state"])["state"]
        return np.clip((state[3:5] - state[:2]) / 0.04, -1, 1).astype(np.float32)


def make() -> MyRobot:
    """The function that ``--env`` names."""
    return MyRobot()


def make_led() -> LedRobot:
    """The same of the robot with somebody beside it, from other starts."""
    return LedRobot(first=1000)
