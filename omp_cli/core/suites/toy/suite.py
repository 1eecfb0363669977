"""A point that must reach a goal in the plane: the whole pipeline in seconds, without a simulator.

"reach" is a straight way. In "detour" a pillar stands in it and the demonstrations pass it left or right with equal
probability, so that the average of the two leads nowhere: a policy has to represent both. In "fork" all
stands on one line and they go left with probability 0.4: nothing that a policy sees says which way to take, so that
it has to represent both, and in their proportion. The average there leads to the right alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.base.config import Settings
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES, Outcome, Suite, TaskEnv, Views

ARENA = 0.5
"""Half the side of the square in which the point moves, metres."""
SPEED = 0.04
"""Largest step along each axis, metres per environment step."""
GOAL_RADIUS = 0.05
"""The episode succeeds while the point is this near to the goal, metres."""
PILLAR_RADIUS = 0.15
"""The pillar, metres; a step that would end inside it is not taken."""
CLEARANCE = 0.13
"""How far beside the pillar its demonstrations pass, metres."""
LEFT = {"detour": 0.5, "fork": 0.4}
"""Tasks with a pillar, and how probably their demonstrations pass it on the left, y above the pillar's."""
CONTROL_HZ = 20.0
MAX_STEPS = 60
IMAGE_SIZE = 84

_AGENT_RADIUS = 0.03
_PILLAR_HEIGHT = 0.1


class ToyCloud(Settings):
    """The point cloud of the toy."""

    points: int = Field(128, ge=16, le=2**20)
    """N, points per cloud."""


class ToyConfig(Settings):
    """What changes the observations of the toy."""

    name: Literal["toy"] = "toy"
    cloud: ToyCloud = ToyCloud()


@SUITES.register("toy")
class Toy(Suite):
    """Three tasks in the plane."""

    Config: ClassVar[type[Settings]] = ToyConfig
    default_task: ClassVar[str] = "reach"
    config: ToyConfig

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """One group with everything."""
        return {"toy": self.tasks()}

    def tasks(self) -> tuple[str, ...]:
        """The task names."""
        return ("detour", "fork", "reach")

    def spec(self, task: str) -> Spec:
        """State: x, y, z = 0 of the point, x, y of the goal, and x, y of the pillar where there is one."""
        return Spec(
            suite="toy",
            task=task,
            action_dim=2,
            state_dim=7 if task in LEFT else 5,
            points=self.config.cloud.points,
            end_effector=(0, 1, 2),
            max_steps=MAX_STEPS,
            control_hz=CONTROL_HZ,
        )

    def make(self, task: str) -> ToyEnv:
        """A fresh arena."""
        return ToyEnv(self.spec(task))


class ToyEnv(TaskEnv):
    """The arena. Everything lies in the plane z = 0 of a world frame in metres."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._shapes = _Shapes(spec.points or 0, pillar=spec.task in LEFT)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Point left, goal right, the pillar (if any) between them; the seed also picks the expert's side."""
        random = np.random.default_rng(seed)
        if self.spec.task in LEFT:
            self._position = np.array([-0.4, 0.0]) + random.uniform(-0.08, 0.08, 2)
            self._goal = np.array([0.4, 0.0]) + random.uniform(-0.08, 0.08, 2)
            self._pillars = [random.uniform(-0.03, 0.03, 2)]
            if self.spec.task == "fork":
                for place in (self._position, self._goal, *self._pillars):
                    place[1] = 0.0
        else:
            self._position = np.array([-0.35, 0.0]) + random.uniform(-0.1, 0.1, 2) * [1.0, 3.0]
            self._goal = np.array([0.25, 0.0]) + random.uniform(-0.2, 0.2, 2) * [1.0, 2.0]
            self._pillars = []
        self._side = 1.0 if random.random() < LEFT.get(self.spec.task, 0.5) else -1.0
        self._mode: str | None = None
        self._start = np.concatenate([self._position, self._goal, *self._pillars, [self._side]])

    def step(self, action: NDArray[np.floating[Any]]) -> Outcome:
        """Move by ``SPEED`` times the clipped action, unless a pillar is in the way.

        Reward: minus the distance. Mode: the side on which the pillar was passed.
        """
        move = SPEED * np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        target = np.clip(self._position + move, -ARENA, ARENA)
        if all(np.linalg.norm(target - pillar) >= PILLAR_RADIUS for pillar in self._pillars):
            self._position = target
        for pillar in self._pillars:
            if self._mode is None and self._position[0] >= pillar[0]:
                self._mode = "left" if self._position[1] > pillar[1] else "right"
        distance = float(np.linalg.norm(self._position - self._goal))
        return Outcome(-distance, distance < GOAL_RADIUS, mode=self._mode, ends={"distance": distance})

    def observe(self, keys: Iterable[str]) -> dict[str, NDArray[Any]]:
        """See the base class; "full_state" is the state."""
        make: Views = {
            "state": self._state,
            "point_cloud": lambda: self._shapes.cloud(self._position, self._goal, self._pillars),
            "full_state": self._state,
            "img": lambda: self.picture(IMAGE_SIZE),
        }
        return {key: make[key]() for key in keys}

    def expert(self) -> NDArray[np.float32]:
        """Straight to the goal; while a pillar is ahead, straight to the point beside it on the episode's side."""
        target = self._goal
        for pillar in self._pillars:
            if self._position[0] < pillar[0] - 1e-6:
                target = pillar + np.array([0.0, self._side * (PILLAR_RADIUS + CLEARANCE)])
        wanted = (target - self._position) / SPEED
        return (wanted / max(1.0, float(np.abs(wanted).max()))).astype(np.float32)

    def start_state(self) -> NDArray[np.float64]:
        """Point, goal, pillar and the expert's side."""
        return self._start.copy()

    def picture(self, size: int) -> NDArray[np.uint8]:
        """The arena from above, x to the right, y up: pillar grey, goal green, point red."""
        along = (np.arange(size) + 0.5) / size * 2.0 - 1.0
        x, y = np.meshgrid(along * 1.1 * ARENA, -along * 1.1 * ARENA)
        picture = np.full((size, size, 3), 235, np.uint8)
        picture[(np.abs(x) < ARENA) & (np.abs(y) < ARENA)] = (250, 250, 250)
        discs = [(pillar, PILLAR_RADIUS, (120, 124, 132)) for pillar in self._pillars]
        discs += [(self._goal, GOAL_RADIUS, (60, 170, 90)), (self._position, _AGENT_RADIUS, (210, 60, 50))]
        for centre, radius, colour in discs:
            picture[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2] = colour
        return picture

    def provenance(self) -> dict[str, Any]:
        """The geometry that the data depend on."""
        return {
            "frame": {"name": "world"},
            "speed": SPEED,
            "goal_radius": GOAL_RADIUS,
            "pillar_radius": PILLAR_RADIUS,
            "state": "point xyz, goal xy, pillar xy if any; metres",
        }

    def _state(self) -> NDArray[np.float32]:
        return np.concatenate([self._position, [0.0], self._goal, *self._pillars]).astype(np.float32)


class _Shapes:
    """Clouds of the arena: fixed patterns of points, moved to where the things are.

    Args:
        points: N; the pillar takes half if there is one, point and goal share the rest.
        pillar: whether there is one.
    """

    def __init__(self, points: int, pillar: bool) -> None:
        on_pillar = points // 2 if pillar else 0
        on_goal = (points - on_pillar) // 2
        self._patterns = [
            _sphere(points - on_pillar - on_goal) * _AGENT_RADIUS,
            _cylinder(on_goal) * [GOAL_RADIUS, GOAL_RADIUS, 0.0],
            _cylinder(on_pillar) * [PILLAR_RADIUS, PILLAR_RADIUS, _PILLAR_HEIGHT],
        ]
        # mixed once and for all: any prefix of a cloud shows a bit of everything, as with farthest point sampling
        self._order = np.random.default_rng(0).permutation(points)

    def cloud(
        self, agent: NDArray[np.float64], goal: NDArray[np.float64], pillars: list[NDArray[np.float64]]
    ) -> NDArray[np.float32]:
        """Points (N, 3) float32 on the point (a ball), the goal (a ring) and the pillar, world frame, metres."""
        places = [agent, goal, *pillars]
        parts = [pattern + np.append(place, 0.0) for pattern, place in zip(self._patterns, places, strict=False)]
        return np.concatenate(parts).astype(np.float32)[self._order]


def _sphere(points: int) -> NDArray[np.float64]:
    """Points (points, 3) spread evenly over the unit sphere (Fibonacci lattice)."""
    z = 1.0 - (2.0 * np.arange(points) + 1.0) / max(points, 1)
    return np.concatenate([_circle(points) * np.sqrt(1.0 - z**2)[:, None], z[:, None]], axis=1)


def _cylinder(points: int) -> NDArray[np.float64]:
    """Points (points, 3) spread evenly over the side of the unit cylinder 0 < z < 1."""
    z = (np.arange(points) + 0.5) / max(points, 1)
    return np.concatenate([_circle(points), z[:, None]], axis=1)


def _circle(points: int) -> NDArray[np.float64]:
    """Points (points, 2) on the unit circle, each the golden angle from the last."""
    angle = np.arange(points) * np.pi * (3.0 - np.sqrt(5.0))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
