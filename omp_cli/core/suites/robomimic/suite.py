"""RoboMimic: tabletop manipulation by Panda arms in robosuite 1.4, as the metadata of robomimic's data sets ask for.

Every episode begins the way robomimic replays a demonstration (its ``reset_to``): the simulator is set to a state and
nothing of an earlier episode is left. A recorded start state and its actions give the same episode in robomimic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.base.config import Keys, Names, Settings
from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.clouds.camera import look_at
from omp_cli.core.clouds.opengl import Renderer
from omp_cli.core.clouds.picture import Painter
from omp_cli.core.data.readers.robomimic_actions import NOTE, NUMBERS, rotations_of_poses
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES, Outcome, Suite, TaskEnv
from omp_cli.core.suites.robomimic.controller import Control
from omp_cli.core.suites.robomimic.ends import ends_of
from omp_cli.core.suites.robomimic.model import load_scene, make_robosuite, numpy_seeded, refresh
from omp_cli.core.suites.robomimic.scene import completed
from omp_cli.core.suites.robomimic.step import control_step, goals
from omp_cli.core.suites.robomimic.tables import OBJECT, PROPRIOCEPTION, TASKS, length_of

RENDERING = "OpenGL without reflections and multisampling"
"""How a policy's pictures are made, for provenance; these scenes cast no shadows."""
_VIEW, _FOVY = ((1.15, -0.75, 1.65), (0.0, 0.0, 0.95)), 45.0


class RobomimicSuiteConfig(Settings):
    """What a policy is shown, and how its actions are executed."""

    name: Literal["robomimic"] = "robomimic"
    cameras: Names | None = None
    """Cameras of the picture, one after the other in its channels; None takes the paper's, an empty list none."""
    image_size: int = Field(96, ge=8, le=4096)
    """Height and width of the picture, pixels."""
    state: Keys = ()
    """Robosuite's observations that make the state; empty takes each arm's proprioception."""
    object_state: bool = False
    """Append the poses of the objects ("object"), as state-only policies see them."""
    control: Control = Control()
    """The controller of the arms."""


@SUITES.register("robomimic")
class Robomimic(Suite):
    """Lift, can, square and transport."""

    Config: ClassVar[type[Settings]] = RobomimicSuiteConfig
    default_task: ClassVar[str] = "lift"
    scripted: ClassVar[bool] = False
    needs = ("robosuite", "robosuite", "pip install 'omp-cli[robomimic]'")
    config: RobomimicSuiteConfig

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The tasks by number of arms."""
        return {
            "one-arm": tuple(name for name, info in TASKS.items() if info.arms == 1),
            "two-arm": tuple(name for name, info in TASKS.items() if info.arms == 2),
        }

    def tasks(self) -> tuple[str, ...]:
        """The four of the DMPO paper."""
        return tuple(TASKS)

    def cameras(self, task: str) -> tuple[str, ...]:
        """Cameras of the policy's picture."""
        return TASKS[task].cameras if self.config.cameras is None else self.config.cameras

    def state_keys(self, task: str) -> tuple[str, ...]:
        """Observations that make the state, in order, as robomimic names them."""
        arms = range(TASKS[task].arms)
        keys = self.config.state or tuple(f"robot{i}_{part}" for i in arms for part in PROPRIOCEPTION)
        return (*keys, OBJECT) if self.config.object_state and OBJECT not in keys else keys

    def spec(self, task: str) -> Spec:
        """State and picture by the configuration; of each arm 6 displacements, or the 6 of a pose, and gripper."""
        if task not in TASKS:
            raise UsageError(f"unknown task {task!r} of robomimic", did_you_mean(task, TASKS))
        info, keys, cameras = TASKS[task], self.state_keys(task), self.cameras(task)
        size, actions = self.config.image_size, NUMBERS * info.arms
        return Spec(
            suite="robomimic",
            task=task,
            action_dim=actions,
            action_rotations=() if self.config.control.control_delta else rotations_of_poses(actions),
            state_dim=sum(length_of(key, info) for key in keys),
            image=(size, size, 3 * len(cameras)) if cameras else None,
            end_effector=(0, 1, 2) if keys[0] == "robot0_eef_pos" else None,
            max_steps=info.max_steps,
            control_hz=self.config.control.control_freq,
        )

    def for_data(self, spec: Spec, notes: Mapping[str, Any], environment: str | None) -> Settings | None:
        """Shows the state and the cameras of the file, and moves the arms by its controller."""
        if environment is not None:
            return super().for_data(spec, notes, environment)
        cameras = notes.get("cameras") or TASKS[spec.task].cameras  # npz files do not name them
        config = RobomimicSuiteConfig(
            cameras=tuple(cameras) if spec.image is not None else (),
            image_size=spec.image[0] if spec.image is not None else 96,
            state=tuple(notes.get("state") or ()),
            control=Control.of(notes.get("env_kwargs") or {}, TASKS[spec.task].arms, NOTE in notes),
        )
        for shown in (config, config.model_copy(update={"object_state": True})):
            ours = Robomimic(shown).spec(spec.task)
            if (ours.state_dim, ours.action_dim, ours.image) == (spec.state_dim, spec.action_dim, spec.image):
                return shown
        return None

    def make(self, task: str) -> RobomimicEnv:
        """A fresh simulator."""
        self.require()
        return RobomimicEnv(self, task)


class RobomimicEnv(TaskEnv):
    """One task.

    Args:
        suite: the suite's configuration.
        task: which one.
    """

    def __init__(self, suite: Robomimic, task: str) -> None:
        self.spec = suite.spec(task)
        self.task, self.cameras, self._keys = task, suite.cameras(task), suite.state_keys(task)
        self.control = suite.config.control
        self.sim = make_robosuite(TASKS[task].env, TASKS[task].arms, self.control)
        known = [self.sim.sim.model.camera_id2name(i) for i in range(self.sim.sim.model.ncam)]
        for camera in self.cameras:
            if camera not in known:
                raise UsageError(f"{task}: no camera {camera!r}", did_you_mean(camera, known))
        self._renderers: dict[str, Renderer] = {}
        self._painter: Painter | None = None
        self._scene, self._own = "", self.sim.sim.model.get_xml()
        self.completed: tuple[str, ...] = ()
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start state of ``seed``: objects placed at random, joints slightly disturbed."""
        with numpy_seeded(seed):
            self.sim.reset()
        self.restore(self.simulator_state())

    def restore(self, state: NDArray[np.float64]) -> None:
        """Begin an episode in a simulator state, as robomimic's ``reset_to`` does; DataError when it is another's."""
        expected = self.simulator_state().shape
        if state.shape != expected:
            raise DataError(f"{self.task}: a simulator state of shape {state.shape}, the model here has {expected}")
        self.sim.deterministic_reset = True
        self.sim.reset()
        self.sim.deterministic_reset = False
        self.sim.sim.reset()
        self.show(state)
        self._start = state.copy()

    def show(self, state: NDArray[np.float64]) -> None:
        """Put the simulator into a state to observe it, in the middle of an episode too."""
        self.sim.sim.set_state_from_flattened(state)
        self.sim.sim.forward()

    def img_in(self, state: NDArray[np.float64]) -> NDArray[np.uint8]:
        """See the base class."""
        self.restore(np.asarray(state, np.float64))
        return self.observe(["img"])["img"]

    def simulator_state(self) -> NDArray[np.float64]:
        """Time, joint positions and velocities, as robomimic stores them ("states")."""
        return np.array(self.sim.sim.get_state().flatten(), np.float64)

    def load(self, scene: str) -> None:
        """Take another model of the same task (XML as robomimic's files hold it), with objects of other sizes.

        Geoms that an older robosuite did not have are added; ``completed`` has their names. DataError where the scene
        is not one of robosuite's.
        """
        if scene == self._scene:
            return
        whole, self.completed = completed(scene, self._own)
        self._free_pictures()
        load_scene(self.sim, whole)
        self._scene = scene

    def judge(self) -> tuple[float, bool]:
        """Reward and success in the present state."""
        return float(self.sim.reward()), bool(self.sim._check_success())

    def step(self, action: NDArray[np.floating[Any]]) -> Outcome:
        """One control step of 50 ms; reward 1 while the task's condition holds. Never terminates."""
        wanted: NDArray[np.float64] = np.asarray(action, np.float64)
        control_step(self.sim, np.clip(wanted, -1.0, 1.0) if self.control.control_delta else wanted)
        refresh(self.sim)
        return Outcome(*self.judge(), ends=ends_of(self.sim, self.task))

    def pose_of(self, action: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """The poses that an action of displacements (7 arms,) asks for in the present state, as an action of poses."""
        return goals(self.sim, np.clip(np.asarray(action, np.float64), -1.0, 1.0)).astype(np.float32)

    def observe(self, keys: Iterable[str]) -> dict[str, NDArray[Any]]:
        """See the base class. "img" is (H, W, 3 cameras), upright; other keys are robomimic's own observations."""
        known: dict[str, NDArray[Any]] = {}
        found: dict[str, NDArray[Any]] = {}
        for key in keys:
            if key == "img":
                found[key] = np.concatenate([self.photograph(camera) for camera in self.cameras], axis=2)
            elif key == "full_state":
                found[key] = self.simulator_state().astype(np.float32)
            else:
                known = known or self.observations()
                found[key] = self._state(known) if key == "state" else known[key]
        return found

    def observations(self) -> dict[str, NDArray[np.float64]]:
        """All observations by robomimic's names, of the present state itself as in its data sets."""
        raw = self.sim._get_observations(force_update=True)
        names = [key for key in raw if key.startswith("robot") and not key.endswith("proprio-state")]
        return {OBJECT: np.array(raw["object-state"]), **{key: np.array(raw[key]) for key in names}}

    def photograph(self, camera: str) -> NDArray[np.uint8]:
        """RGB (H, W, 3) of a camera, upright; needs OpenGL."""
        if camera not in self._renderers:
            size = self.spec.image[0] if self.spec.image else 96
            self._renderers[camera] = Renderer(self.sim.sim.model._model, camera, size, multisampling=False)
        return self._renderers[camera].render(self.sim.sim.data._data)

    def expert(self) -> NDArray[np.float32]:
        """Operators are started apart from the environment."""
        raise UsageError(
            "suite robomimic has no scripted expert, but operators", "omp prepare robomimic --source scripted"
        )

    def start_state(self) -> NDArray[np.float64]:
        """The simulator's state, which robomimic's files hold of every start."""
        return self._start

    def picture(self, size: int) -> NDArray[np.uint8]:
        """Arms and table from the front right."""
        if self._painter is None or self._painter.size != size:
            self._painter = Painter(self.sim.sim.model._model, look_at(*_VIEW, _FOVY, size))
        return self._painter.paint(self.sim.sim.data._data)

    def provenance(self) -> dict[str, Any]:
        """Environment, controller, how pictures are rendered, versions."""
        return {
            "env_name": TASKS[self.task].env,
            "control": self.control.model_dump(mode="json"),
            "state": list(self._keys),
            "cameras": list(self.cameras),
            "rendering": RENDERING,
            "simulator": {name: metadata.version(name) for name in ("robosuite", "mujoco")},
        }

    def close(self) -> None:
        """Free simulator and OpenGL."""
        self._free_pictures()
        self.sim.close()

    def _free_pictures(self) -> None:
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()
        self._painter = None

    def _state(self, known: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float32]:
        return np.concatenate([np.atleast_1d(known[key]) for key in self._keys]).astype(np.float32)
