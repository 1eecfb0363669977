"""A suite of one's own in one file, and what demonstrations cannot teach: a point must find a goal that it cannot see.

The goal is always at the same place, but it is no part of the observation, and the expert believes it to be elsewhere.
A policy trained on its demonstrations goes there and fails; only the reward tells where the goal is. With
``suite.expert_knows`` the expert goes to the goal, and a policy learns it from demonstrations alone: add_a_suite.py.

    omp prepare hidden --demos 20 --plugin examples/hidden_goal.py
    omp pretrain --preset dmpo-state --steps 300 --plugin examples/hidden_goal.py
    omp finetune --config examples/hidden_goal.toml --plugin examples/hidden_goal.py
    omp eval RUN --plugin examples/hidden_goal.py

Its data have a source of their own, too: ``--source shaken`` shakes the expert's hand (``Shaken``), and ``--shake`` is
an option of ``omp prepare`` that this file brings along.

    omp prepare hidden --source shaken --shake 0.5 --plugin examples/hidden_goal.py
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.base.config import Flag, Settings
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.seeds import demo_seed
from omp_cli.core.data.store import Arrays
from omp_cli.core.prepare.own import OwnConfig, OwnSource
from omp_cli.core.prepare.source import SOURCES
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES, Outcome, Suite, TaskEnv

ARENA = 0.5
"""Half the side of the square in which the point moves, metres."""
SPEED = 0.05
"""Largest step along each axis, metres per environment step."""
GOAL, RADIUS = np.array([0.25, 0.2]), 0.06
"""An episode succeeds while the point is this near to the goal, metres."""
BELIEF = np.array([-0.2, -0.2])
"""Where the expert takes the goal to be, unless it knows."""


class HiddenConfig(Settings):
    """Settings of the suite: what is declared here becomes ``--set suite.<name>=<value>`` of ``omp prepare``.

    Attributes:
        expert_knows: whether the expert goes to the goal instead of to where it believes the goal to be.
    """

    name: Literal["hidden"] = "hidden"
    expert_knows: bool = False


@SUITES.register("hidden")
class Hidden(Suite):
    """One task, whose demonstrations may fail and are recorded all the same."""

    Config: ClassVar[type[Settings]] = HiddenConfig
    config: HiddenConfig
    default_task: ClassVar[str] = "goal"
    keeps_failures: ClassVar[bool] = True

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """A suite of one task has no groups of tasks."""
        return {}

    def tasks(self) -> tuple[str, ...]:
        """The task names."""
        return ("goal",)

    def spec(self, task: str) -> Spec:
        """State: x, y of the point; action: the step along x and y."""
        return Spec(suite="hidden", task=task, action_dim=2, state_dim=2, max_steps=40, control_hz=20.0)

    def make(self, task: str) -> HiddenEnv:
        """A fresh arena."""
        return HiddenEnv(self.spec(task), GOAL if self.config.expert_knows else BELIEF)


class HiddenEnv(TaskEnv):
    """The arena.

    Args:
        spec: the task.
        belief: where the expert goes, (2,) metres.
    """

    def __init__(self, spec: Spec, belief: NDArray[np.float64]) -> None:
        self.spec, self._belief = spec, belief
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start on this side of the diagonal below the goal: nobody meets it by chance."""
        random = np.random.default_rng(seed)
        while (start := random.uniform(-0.4, 0.4, 2)).sum() > 0.1:
            pass
        self._position, self._start = start, start.copy()

    def step(self, action: NDArray[np.floating[Any]]) -> Outcome:
        """Move by ``SPEED`` times the clipped action. Reward: minus the distance to the goal, metres."""
        move = SPEED * np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        self._position = np.clip(self._position + move, -ARENA, ARENA)
        distance = float(np.linalg.norm(self._position - GOAL))
        return Outcome(-distance, distance < RADIUS)

    def observe(self, keys: Iterable[str]) -> dict[str, NDArray[Any]]:
        """The point's place, whatever it is called."""
        return {key: self._position.astype(np.float32) for key in keys}

    def expert(self) -> NDArray[np.float32]:
        """Straight to where the expert takes the goal to be."""
        wanted = (self._belief - self._position) / SPEED
        return (wanted / max(1.0, float(np.abs(wanted).max()))).astype(np.float32)

    def start_state(self) -> NDArray[np.float64]:
        """Where the point began."""
        return self._start.copy()

    def picture(self, size: int) -> NDArray[np.uint8]:
        """The arena from above, x to the right, y up: goal green, belief grey, point red."""
        along = ((np.arange(size) + 0.5) / size * 2.0 - 1.0) * ARENA
        x, y = np.meshgrid(along, -along)
        picture = np.full((size, size, 3), 250, np.uint8)
        discs = ((self._belief, (170, 170, 170)), (GOAL, (60, 170, 90)), (self._position, (210, 60, 50)))
        for centre, colour in discs:
            picture[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < RADIUS**2] = colour
        return picture


class ShakenConfig(OwnConfig):
    """What decides the content of the data: a field with a ``Flag`` is an option of ``omp prepare``."""

    shake: Annotated[float, Flag(panel="Recording"), Field(ge=0, le=10)] = 0.3
    """Standard deviation of what is added to the executed actions."""


@SOURCES.register("hidden/shaken")
class Shaken(OwnSource):
    """Demonstrations that show how to come back (Laskey et al., DART, CoRL 2017): what is executed is the expert's
    action and noise, what is stored is what the expert wanted.
    """

    Config: ClassVar[type[OwnConfig]] = ShakenConfig
    name: ClassVar[str] = "shaken"
    config: ShakenConfig

    def episodes(self, workers: int, progress: Progress) -> list[tuple[Arrays, NDArray[np.float64]]]:
        """One after the other, in this process."""
        env, made = self.suite.make(self.origin.task), []
        progress.start(f"{self.origin.task}: demonstrations", self.config.demos)
        for index in range(self.config.demos):
            seed = demo_seed(self.config.seed, self.origin.task, index)
            random = np.random.default_rng(seed)
            env.reset(seed)
            rows: dict[str, list[Any]] = {"state": [], "action": [], "reward": []}
            pictures = {"first_picture": env.picture(96)}
            for _ in range(env.spec.max_steps):
                rows["state"].append(env.observe(["state"])["state"])
                rows["action"].append(env.expert())
                outcome = env.step(rows["action"][-1] + random.normal(0.0, self.config.shake, 2))
                rows["reward"].append(np.float32(outcome.reward))
            pictures["last_picture"] = env.picture(96)
            made.append(({name: np.stack(row) for name, row in rows.items()} | pictures, env.start_state()))
            progress.advance()
        return made
