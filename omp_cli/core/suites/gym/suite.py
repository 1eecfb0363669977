"""Gym locomotion: MuJoCo robots that are to run far; the metric is the return.

An environment is named by robot and version ("hopper-v4"), because versions differ in observation, reward and physics.
A public data set is a task by its own name ("hopper-medium") and is rolled out in the environment whose observation it
holds: that of ``GymConfig.environment``, else the robot's usual one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.clouds.camera import look_at
from omp_cli.core.clouds.picture import Painter
from omp_cli.core.clouds.raycast import Marker
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES, Metric, Outcome, Suite, TaskEnv, Views, loading

IMAGE_SIZE = 84
MAX_STEPS = 1000

_CAMERA, _TARGET, _FOVY = (0.8, -3.6, 1.5), (0.0, 0.0, 0.65), 42.0
_MILESTONES = range(-4, 5)
"""Balls on the floor, one per metre along the track, show that the robot moves; metres from the nearest one."""


@dataclass(frozen=True)
class Environment:
    """What is known of an environment without building it.

    Attributes:
        id: Gymnasium's name.
        state_dim: S.
        action_dim: A.
        control_hz: control steps per second of simulated time.
        zeros: number of the S numbers, at their end, that are always 0.
    """

    id: str
    state_dim: int
    action_dim: int
    control_hz: float
    zeros: int = 0


ENVIRONMENTS: Mapping[str, Environment] = {
    "hopper-v4": Environment("Hopper-v4", 11, 3, 125.0),
    "hopper-v5": Environment("Hopper-v5", 11, 3, 125.0),
    "walker2d-v4": Environment("Walker2d-v4", 17, 6, 125.0),
    "walker2d-v5": Environment("Walker2d-v5", 17, 6, 125.0),
    "halfcheetah-v4": Environment("HalfCheetah-v4", 17, 6, 20.0),
    "halfcheetah-v5": Environment("HalfCheetah-v5", 17, 6, 20.0),
    # D4RL's ant shows 84 contact forces besides, which its simulator left at 0
    "ant-d4rl": Environment("Ant-v4", 111, 8, 20.0, zeros=84),
    "ant-v4": Environment("Ant-v4", 27, 8, 20.0),
    "ant-v5": Environment("Ant-v5", 105, 8, 20.0),
    "humanoid-v4": Environment("Humanoid-v4", 376, 17, 200.0 / 3.0),
    "humanoid-v5": Environment("Humanoid-v5", 348, 17, 200.0 / 3.0),
}
"""By task name; of a robot the first is the usual one: D4RL's data are of v2, whose layout and reward are v4's."""


class GymConfig(Settings):
    """Where data sets are rolled out."""

    name: Literal["gym"] = "gym"
    environment: str | None = None
    """Task name of the environment for the tasks that are data sets; None takes the robot's usual one."""


@SUITES.register("gym")
class Gym(Suite):
    """Hopper, Walker2d, HalfCheetah, Ant and Humanoid of Gymnasium, v4 and v5."""

    Config: ClassVar[type[Settings]] = GymConfig
    default_task: ClassVar[str] = "hopper-v5"
    metric: ClassVar[Metric] = "return"
    scripted: ClassVar[bool] = False
    from_files: ClassVar[bool] = False
    needs = ("mujoco", "MuJoCo", "pip install mujoco")
    config: GymConfig

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The tasks of each version of the environments."""
        return {version: tuple(t for t in ENVIRONMENTS if t.endswith(f"-{version}")) for version in ("v4", "v5")}

    def tasks(self) -> tuple[str, ...]:
        """The environments; a data set's name ("hopper-medium") is a task too."""
        return tuple(ENVIRONMENTS)

    def environment(self, task: str) -> str:
        """The environment of a task; UsageError when there is none."""
        if task in ENVIRONMENTS:
            return task
        usual = self._of_robot(task)
        chosen = self.config.environment
        if not usual:
            raise UsageError(f"unknown task {task!r} of gym", did_you_mean(task, ENVIRONMENTS))
        if chosen is None:
            return usual[0]
        if chosen not in usual:
            raise UsageError(f"{task}: environment {chosen!r} is not one of its robot", f"known: {', '.join(usual)}")
        return chosen

    def spec(self, task: str) -> Spec:
        """State: the environment's own observation. Action: in [-1, 1], which stands for the range of the motors."""
        environment = ENVIRONMENTS[self.environment(task)]
        return Spec(
            suite="gym",
            task=task,
            action_dim=environment.action_dim,
            state_dim=environment.state_dim,
            max_steps=MAX_STEPS,
            control_hz=environment.control_hz,
        )

    def for_data(self, spec: Spec, notes: Mapping[str, Any], environment: str | None) -> Settings | None:
        """See the base class; without a name in the file, the robot's first environment of those dimensions."""
        named = environment or (spec.task if spec.task in ENVIRONMENTS else None)
        if named is not None:
            config = GymConfig(environment=named)
            Gym(config).spec(spec.task).same_layout(spec)
            return config
        fitting = [
            task
            for task in self._of_robot(spec.task)
            if (ENVIRONMENTS[task].state_dim, ENVIRONMENTS[task].action_dim) == (spec.state_dim, spec.action_dim)
        ]
        by_name = [task for task in fitting if ENVIRONMENTS[task].id == notes.get("env_id")]
        return GymConfig(environment=(by_name or fitting)[0]) if fitting else None

    def make(self, task: str) -> GymEnv:
        """A fresh simulator."""
        name = self.environment(task)
        return GymEnv(self.spec(task), name, ENVIRONMENTS[name])

    def _of_robot(self, task: str) -> list[str]:
        robot = task.partition("-")[0]
        return [name for name in ENVIRONMENTS if name.partition("-")[0] == robot]


class GymEnv(TaskEnv):
    """One robot.

    Args:
        spec: the task.
        name: task name of the environment.
        environment: which one that is.
    """

    def __init__(self, spec: Spec, name: str, environment: Environment) -> None:
        self.spec = spec
        self._name, self._environment = name, environment
        self._sim = _make(environment.id)
        space = self._sim.action_space
        self._centre, self._half = (space.high + space.low) / 2.0, (space.high - space.low) / 2.0
        self._padding = np.zeros(environment.zeros, np.float32)
        self._painter: Painter | None = None
        self._shown: Any = None
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start state of ``seed``: a standing robot, slightly disturbed."""
        self._observation, _ = self._sim.reset(seed=seed)
        self._start = self._state()

    def step(self, action: NDArray[np.floating[Any]]) -> Outcome:
        """One control step; never a success. Terminates where the environment does: the robot has fallen."""
        scaled = self._centre + self._half * np.clip(np.asarray(action, np.float32), -1.0, 1.0)
        self._observation, reward, terminated, _, _ = self._sim.step(scaled)
        return Outcome(float(reward), False, bool(terminated))

    def observe(self, keys: Iterable[str]) -> dict[str, NDArray[Any]]:
        """See the base class. "full_state" is all joint positions and velocities, the place on the track included."""
        make: Views = {
            "state": self._state,
            "full_state": self._full_state,
            "img": lambda: self.picture(IMAGE_SIZE),
        }
        return {key: make[key]() for key in keys}

    def start_state(self) -> NDArray[np.float64]:
        """The first observation, which is what data sets hold of a start state; all but the place on the track."""
        return self._start.astype(np.float64)

    def picture(self, size: int) -> NDArray[np.uint8]:
        """The robot from the side, in the middle of the picture; balls on the floor pass it by, one each metre."""
        import mujoco

        model, data = self._sim.model, self._sim.data
        if self._painter is None or self._painter.size != size:
            self._painter = Painter(model, look_at(_CAMERA, _TARGET, _FOVY, size))
        if self._shown is None:
            self._shown = mujoco.MjData(model)  # the simulator's own state stays as it is
        self._shown.qpos[:] = data.qpos
        self._shown.qpos[: self._track_axes] = 0.0
        mujoco.mj_kinematics(model, self._shown)
        ahead = -float(data.qpos[0]) % 1.0
        return self._painter.paint(self._shown, [Marker((ahead + i, 0.9, 0.05), 0.05) for i in _MILESTONES])

    def provenance(self) -> dict[str, Any]:
        """Environment, scale of the actions, versions."""
        return {
            "environment": self._name,
            "gymnasium_id": self._environment.id,
            "action_centre": self._centre.tolist(),
            "action_half_range": self._half.tolist(),
            "state": "the environment's own observation"
            + (f", then {self._environment.zeros} zeros" if self._environment.zeros else ""),
            "simulator": {name: metadata.version(name) for name in ("gymnasium", "mujoco")},
        }

    def close(self) -> None:
        """Free the simulator."""
        self._sim.close()

    @property
    def _track_axes(self) -> int:
        """How many of the first joint positions say where on the floor the robot is: x, and y if it is free."""
        import mujoco

        return 2 if self._sim.model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE else 1

    def _state(self) -> NDArray[np.float32]:
        return np.concatenate([self._observation.astype(np.float32), self._padding])

    def _full_state(self) -> NDArray[np.float32]:
        return np.concatenate([self._sim.data.qpos, self._sim.data.qvel]).astype(np.float32)


def _make(name: str) -> Any:
    """The bare environment, without a step limit; MissingDependency when MuJoCo does not load."""
    import gymnasium

    with loading(name, "pip install mujoco", gymnasium.error.DependencyNotInstalled), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium asks to use v5, whose layout the data do not have
        return gymnasium.make(name, disable_env_checker=True).unwrapped
