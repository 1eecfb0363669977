"""Franka Kitchen: a robot arm is to finish four sub-tasks in one episode; what counts is how many it finishes.

A task is a data set (complete, partial, mixed), which names the sub-tasks. It is shown in one of two layouts, which are
never mixed. The simulator of both is FrankaKitchen-v1 of gymnasium-robotics:

* ``d4rl``, 60 numbers as D4RL's kitchen-*-v0 (d4rl/kitchen, ``KitchenV0._get_obs``): 9 joint positions of the robot,
  21 of the objects, 30 of the goal, with D4RL's measurement noise (10 % of ``franka_config.xml``'s amplitudes, which
  move the joint targets too, as there).
* ``v1``, 59 numbers: FrankaKitchen-v1's own observation (9 + 9 of the robot, 21 + 20 of the objects) and noise.

The goal of ``d4rl`` is what the data show, where it is the same in all of their frames. Otherwise it is built as D4RL's
``KitchenBase._get_task_goal`` builds it: 30 zeros, and for each of the four sub-tasks its ``OBS_ELEMENT_GOALS`` at its
``OBS_ELEMENT_INDICES``, tables of gymnasium-robotics that equal those of D4RL's code. None of these 30 numbers was
compared with a file of D4RL, and no return with D4RL's simulator (MuJoCo 2, an earlier model): that is unverified.
D4RL judges sub-tasks by the noisy positions, this simulator by the true ones.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.base.config import LARGEST, Count, Settings
from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.clouds.camera import look_at
from omp_cli.core.clouds.picture import Painter
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES, Metric, Outcome, Suite, TaskEnv, Views, loading

IMAGE_SIZE = 84
SUBTASKS: Mapping[str, tuple[str, ...]] = {
    "complete": ("microwave", "kettle", "light switch", "slide cabinet"),
    "partial": ("microwave", "kettle", "light switch", "slide cabinet"),
    "mixed": ("microwave", "kettle", "bottom burner", "light switch"),
}
"""By task, gymnasium-robotics' names; complete and partial differ in their demonstrations alone."""
STATE_DIM: Mapping[str, int] = {"d4rl": 60, "v1": 59}
"""Numbers of the state by environment; the first environment is the usual one."""

_ROBOT, _POSITIONS = 9, 30
_NOISE = 0.1  # of the amplitudes, robot and objects (D4RL, KitchenV0.robot_noise_ratio)
_CAMERA, _TARGET, _FOVY = (-1.1, -1.6, 3.1), (-0.15, 0.6, 1.95), 45.0
_HINT = "pip install 'omp-cli[kitchen]'"

Joint = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]


class KitchenConfig(Settings):
    """What a policy is shown."""

    name: Literal["kitchen"] = "kitchen"
    environment: Literal["d4rl", "v1"] | None = None
    """"d4rl" or "v1"; None takes "d4rl"."""
    goal: tuple[Joint, ...] | None = Field(None, min_length=_POSITIONS, max_length=_POSITIONS)
    """The last 30 numbers of the state of "d4rl"; None builds them."""
    max_steps: Count = 280
    """After which an episode ends: D4RL's and FrankaKitchen-v1's; Minari's data were recorded with 450."""


@SUITES.register("kitchen")
class Kitchen(Suite):
    """The three data sets of D4RL's kitchen."""

    Config: ClassVar[type[Settings]] = KitchenConfig
    default_task: ClassVar[str] = "complete"
    metric: ClassVar[Metric] = "return"
    counts: ClassVar[str | None] = "finished sub-tasks"
    scripted: ClassVar[bool] = False
    needs = ("gymnasium_robotics", "gymnasium-robotics", _HINT)
    config: KitchenConfig

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """One group with all tasks."""
        return {"all": self.tasks()}

    def tasks(self) -> tuple[str, ...]:
        """The data sets."""
        return tuple(SUBTASKS)

    @property
    def environment(self) -> str:
        """The layout."""
        return self.config.environment or next(iter(STATE_DIM))

    def spec(self, task: str) -> Spec:
        """State: see the module. Action: velocities of the 9 joints, of at most 2 rad/s (m/s for the fingers)."""
        if task not in SUBTASKS:
            raise UsageError(f"unknown task {task!r} of kitchen", did_you_mean(task, SUBTASKS))
        return Spec(
            suite="kitchen",
            task=task,
            action_dim=_ROBOT,
            state_dim=STATE_DIM[self.environment],
            max_steps=self.config.max_steps,
            control_hz=12.5,
        )

    def for_data(self, spec: Spec, notes: Mapping[str, Any], environment: str | None) -> Settings | None:
        """The layout with the data's dimensions, the one asked for has to have them; and the goal that they show."""
        fitting = [name for name, dim in STATE_DIM.items() if (dim, _ROBOT) == (spec.state_dim, spec.action_dim)]
        if environment is None and not fitting:
            return None
        chosen = environment or fitting[0]
        if chosen not in STATE_DIM:
            raise UsageError(f"unknown environment {chosen!r} of kitchen", did_you_mean(chosen, STATE_DIM))
        constant = notes.get("constant_state", {})
        goal = [constant.get(index) for index in range(_POSITIONS, 2 * _POSITIONS)]
        known = {} if chosen != "d4rl" or None in goal else {"goal": goal}
        config = KitchenConfig.model_validate({"environment": chosen, "max_steps": spec.max_steps, **known})
        Kitchen(config).spec(spec.task).same_layout(spec)
        return config

    def make(self, task: str) -> KitchenEnv:
        """A fresh simulator."""
        self.require()
        return KitchenEnv(self.spec(task), self.environment, self.config.goal)


class KitchenEnv(TaskEnv):
    """The kitchen with the sub-tasks of one data set. Every episode starts alike but for the measurement noise.

    Args:
        spec: the task.
        environment: the layout.
        goal: that "d4rl" shows; None builds it.
    """

    def __init__(self, spec: Spec, environment: str, goal: tuple[Joint, ...] | None = None) -> None:
        self.spec = spec
        self._environment = environment
        self._sim, goals = _make(SUBTASKS[spec.task], {"robot_noise_ratio": _NOISE} if environment == "d4rl" else {})
        self._goal = np.zeros(_POSITIONS)
        for indices, values in goals:
            self._goal[indices] = values
        if goal is not None:
            self._goal[:] = goal
        amplitudes = self._sim.robot_env.robot_pos_noise_amp  # per degree of freedom: one less than positions
        self._noise = _NOISE * np.append(amplitudes, amplitudes[-1])[_ROBOT:]
        self._painter: Painter | None = None
        self.reset(0)

    def reset(self, seed: int) -> None:
        """The one start position, with the measurement noise of ``seed``."""
        observation, _ = self._sim.reset(seed=seed)
        self._state = self._shown(observation)
        self._start = self._state.astype(np.float64)

    def step(self, action: NDArray[np.floating[Any]]) -> Outcome:
        """One control step; the reward is the number of sub-tasks that it finished, each counted once.

        A success, and the end, once all are finished; a sub-task stays finished whatever becomes of its object.
        """
        clipped = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        observation, reward, finished, _, _ = self._sim.step(clipped)
        self._state = self._shown(observation)
        return Outcome(float(reward), bool(finished), bool(finished))

    def observe(self, keys: Iterable[str]) -> dict[str, NDArray[Any]]:
        """See the base class. "full_state" is all joint positions and velocities, without noise."""
        make: Views = {
            "state": self._state.copy,
            "full_state": self._full_state,
            "img": lambda: self.picture(IMAGE_SIZE),
        }
        return {key: make[key]() for key in keys}

    def start_state(self) -> NDArray[np.float64]:
        """The first observation, which is what data sets hold of a start state."""
        return self._start

    def picture(self, size: int) -> NDArray[np.uint8]:
        """The kitchen over the robot's shoulder."""
        if self._painter is None or self._painter.size != size:
            self._painter = Painter(self._sim.model, look_at(_CAMERA, _TARGET, _FOVY, size))
        return self._painter.paint(self._sim.data)

    def provenance(self) -> dict[str, Any]:
        """Layout, sub-tasks, versions."""
        return {
            "environment": self._environment,
            "gymnasium_id": "FrankaKitchen-v1",
            "subtasks": list(SUBTASKS[self.spec.task]),
            "simulator": {name: metadata.version(name) for name in ("gymnasium-robotics", "gymnasium", "mujoco")},
        }

    def close(self) -> None:
        """Free the simulator."""
        self._sim.close()

    def _shown(self, observation: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float32]:
        """The state (S,) from what the simulator shows; draws the noise, so once for each step."""
        seen = observation["observation"]
        if self._environment == "d4rl":
            robot = self._sim.robot_env
            noise = self._noise * robot.np_random.uniform(-1.0, 1.0, len(self._noise))
            seen = np.concatenate([seen[:_ROBOT], self._sim.data.qpos[_ROBOT:] + noise, self._goal])
        return seen.astype(np.float32)

    def _full_state(self) -> NDArray[np.float32]:
        return np.concatenate([self._sim.data.qpos, self._sim.data.qvel]).astype(np.float32)


def _make(subtasks: tuple[str, ...], noise: dict[str, float]) -> tuple[Any, list[tuple[Any, Any]]]:
    """The bare simulator, and indices and values of the sub-tasks' goals; MissingDependency when it does not load."""
    with loading("FrankaKitchen-v1", _HINT):
        with contextlib.redirect_stderr(io.StringIO()):  # a notice about other environments at every import
            from gymnasium_robotics.envs.franka_kitchen import kitchen_env
        simulator = kitchen_env.KitchenEnv(tasks_to_complete=list(subtasks), **noise)
    return simulator, [(kitchen_env.OBS_ELEMENT_INDICES[s], kitchen_env.OBS_ELEMENT_GOALS[s]) for s in subtasks]
