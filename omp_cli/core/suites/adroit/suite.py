"""Adroit: a hand of 24 joints hammers a nail, opens a door, turns a pen, carries a ball (gymnasium-robotics).

Policies see what those of the 3-D papers see: the joints of the hand, and a cloud from DP3's camera of the task, but in
the true world frame and cut to the workspace. The position of the palm follows the joints in the state (``palm``; that
is ours: clouds can then be seen from the palm). An action lasts ``repeat`` simulator steps of 10 ms; the papers take 2,
D4RL's data have 1.

Success in a step, ``success``:

* ``dp3``: the nail is less than 1 cm from its place; the door is open by more than 1.4 rad; the pen is within
  acos(0.95) of its target's direction. A dropped pen (below 7.5 cm) ends the episode. So DP3's altered mj_envs.
* ``gymnasium``: gymnasium-robotics' own: the door by 1.35 rad; the pen also within 7.5 cm of its place. Nothing ends.

DP3 counts the last two steps of an episode (half an episode for one of them); here ``success_end`` counts the last.
Both agree on hammer and relocate (which no paper's table has). State, cloud and success are of the state after the
step; in gymnasium-robotics' observation ("full_state") and reward, places trail it by 2 ms, as in D4RL. The reward is
the dense one, which differs from D4RL's: in 1.4.2 the term that brings hand and handle together has the wrong sign.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.clouds.camera import Camera, look_at
from omp_cli.core.clouds.picture import Painter
from omp_cli.core.clouds.raycast import Marker
from omp_cli.core.clouds.sensor import CloudSensor
from omp_cli.core.spec import Spec
from omp_cli.core.suites.adroit import tables
from omp_cli.core.suites.adroit.config import AdroitConfig
from omp_cli.core.suites.base import SUITES, Outcome, Suite, Views, loading
from omp_cli.core.suites.clouded import CloudedEnv, recommended_cloud

IMAGE_SIZE = 84
_FOVY, _VIEW_FOVY = 45.0, 40.0
_MARKER_RADIUS = 0.02  # the site of relocate's goal is as large as to hide the ball
_DROPPED = 0.075
_HINT = "pip install 'omp-cli[adroit]'"


@SUITES.register("adroit")
class Adroit(Suite):
    """Hammer, door, pen and relocate; a data set's name ("pen-human") is a task too."""

    Config: ClassVar[type[Settings]] = AdroitConfig
    default_task: ClassVar[str] = "pen"
    scripted: ClassVar[bool] = False
    judged_at_end: ClassVar[bool] = True
    needs = ("gymnasium_robotics", "gymnasium-robotics", _HINT)
    config: AdroitConfig

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The papers' three."""
        return {"adroit": tables.PAPERS}

    def tasks(self) -> tuple[str, ...]:
        """The four tasks."""
        return tuple(tables.TASKS)

    def recommended(self) -> Mapping[str, Any]:
        """See ``recommended_cloud``. Nine in ten points would lie on the hand, whose joints the state has."""
        return recommended_cloud(self.config.cloud, "hidden")

    def spec(self, task: str) -> Spec:
        """State: see the configuration. Action: targets of all joints, [-1, 1] stands for the range of each."""
        info, config = tables.facts(task), self.config
        hand = config.state == "hand"
        palm = (tables.JOINTS, tables.JOINTS + 1, tables.JOINTS + 2) if hand and config.palm else None
        return Spec(
            suite="adroit",
            task=task,
            action_dim=info.action_dim,
            state_dim=tables.JOINTS + (3 if palm else 0) if hand else info.observation_dim,
            points=None if config.cloud is None else config.cloud.points,
            end_effector=palm,
            max_steps=config.max_steps or -(-info.raw_steps // config.repeat),
            control_hz=tables.RAW_HZ / config.repeat,
            image=(IMAGE_SIZE, IMAGE_SIZE, 3) if config.images else None,
            cloud_in_fps_order=config.cloud is None or config.cloud.fps_backend == "numpy",
        )

    def for_data(self, spec: Spec, notes: Mapping[str, Any], environment: str | None) -> Settings | None:
        """As replayed data were shown; the environment's own observation where files hold that."""
        if environment is not None:
            return super().for_data(spec, notes, environment)
        if "shown" in notes:
            return AdroitConfig.model_validate(notes["shown"])
        repeat = notes.get("repeat", 1)
        config = AdroitConfig(state="observation", cloud=None, repeat=repeat, max_steps=-(-spec.max_steps // repeat))
        ours = Adroit(config).spec(spec.task)
        fits = (ours.state_dim, ours.action_dim) == (spec.state_dim, spec.action_dim)
        return config if fits and spec.image is None else None

    def file_states(self, task: str) -> tuple[str, ...]:
        """What ``set_env_state`` takes; D4RL has it in "infos"."""
        return tables.facts(task).states

    def make(self, task: str) -> AdroitEnv:
        """A fresh simulator (0.1 s)."""
        self.require()
        return AdroitEnv(self.spec(task), self.config)


class AdroitEnv(CloudedEnv):
    """One task whose start states follow from a seed alone.

    Args:
        spec: the task.
        config: the suite's configuration.
    """

    def __init__(self, spec: Spec, config: AdroitConfig) -> None:
        self.spec, self.config, self.info = spec, config, tables.facts(spec.task)
        self.sim = _make(self.info.name)
        self.model, self.data = self.sim.model, self.sim.data
        self._home = {name: getattr(self.model, name).copy() for name in ("body_pos", "body_quat", "site_pos")}
        self._painters: dict[str, Painter] = {}
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start of ``seed``: the hand at rest, the place of board, door, ball or the pen's target at random."""
        for name, home in self._home.items():  # goals are written into the model
            getattr(self.model, name)[:] = home
        self._seen, _ = self.sim.reset(seed=seed)
        self._start = self.state_vector()

    def show(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Begin an episode in a state of the simulator ("qpos", "qvel" and the task's goal), whatever was before."""
        import mujoco

        mujoco.mj_resetData(self.model, self.data)
        state = {name: np.asarray(state[name], np.float64) for name in self.info.states}
        if "obj_pos" in state:  # where the ball is; the simulator asks where it would be without its joints' positions
            state["obj_pos"] = state["obj_pos"] - state["qpos"][-6:-3]
        self.sim.set_env_state(state)
        self._seen = self.sim._get_obs()
        self._start = self.state_vector()

    def simulator_state(self) -> dict[str, NDArray[np.float64]]:
        """What ``show`` takes, of the present state."""
        state = self.sim.get_env_state()
        return {name: np.array(state[name], np.float64) for name in self.info.states}

    def state_vector(self) -> NDArray[np.float64]:
        """The simulator's state as one vector."""
        return np.concatenate([*self.simulator_state().values()])

    def step(self, action: NDArray[np.floating[Any]]) -> Outcome:
        """One action for ``repeat`` simulator steps; the reward is their sum, success is that of the last."""
        import mujoco

        reward, terminated = 0.0, False
        for _ in range(self.config.repeat):
            self._seen, more, *_ = self.sim.step(np.clip(np.asarray(action, np.float64), -1.0, 1.0))
            mujoco.mj_kinematics(self.model, self.data)  # places, which a step leaves where they were before its end
            reward += float(more)
            terminated = self._dropped()
            if terminated:
                break
        return Outcome(reward, self.at_goal(), terminated, ends={"lacks": self.lacks(), "dropped": terminated})

    def at_goal(self) -> bool:
        """Whether the present state is a success."""
        ours, lacks = self.config.success == "dp3", self.lacks()
        if self.info.name == "Hammer":
            return lacks < 0.01
        if self.info.name == "Door":
            return lacks < 0.0 if ours else lacks <= 0.0
        if self.info.name == "Pen":
            away = self.data.xpos[self.sim.obj_body_id] - self.data.site_xpos[self.sim.eps_ball_site_id]
            return lacks < 0.0 and (ours or bool(np.linalg.norm(away) < 0.075))
        return lacks < 0.1

    def lacks(self) -> float:
        """How far the present state is from the goal.

        Hammer and relocate: metres from the nail to its place, from the ball to its target. Door and pen: rad that the
        hinge has to turn on, and what the cosine to the target's direction lacks of 0.95; below 0 at the goal.
        """
        sim, data = self.sim, self.data
        if self.info.name == "Hammer":
            return float(np.linalg.norm(data.site_xpos[sim.target_obj_site_id] - data.site_xpos[sim.goal_site_id]))
        if self.info.name == "Door":
            angle = np.asarray(data.qpos[sim.door_hinge_addrs]).item()
            return float((1.4 if self.config.success == "dp3" else 1.35) - angle)
        if self.info.name == "Pen":
            pen = data.site_xpos[sim.obj_t_site_id] - data.site_xpos[sim.obj_b_site_id]
            target = data.site_xpos[sim.tar_t_site_id] - data.site_xpos[sim.tar_b_site_id]
            return float(0.95 - pen @ target / (sim.pen_length * sim.tar_length))
        return float(np.linalg.norm(data.xpos[sim.obj_body_id] - data.site_xpos[sim.target_obj_site_id]))

    def observe(self, keys: Iterable[str]) -> dict[str, NDArray[Any]]:
        """See the base class. "full_state" is the environment's own observation."""
        make: Views = {
            "state": self._state,
            "point_cloud": self._cloud,
            "full_state": self._observation,
            "img": self._image,
        }
        return {key: make[key]() for key in keys}

    def start_state(self) -> NDArray[np.float64]:
        """Positions, velocities and the goal."""
        return self._start

    def picture(self, size: int) -> NDArray[np.uint8]:
        """The scene over the arm, ray-cast."""
        return self._painted("view", look_at(*self.info.view, _VIEW_FOVY, size))

    def camera(self, size: int) -> Camera:
        """DP3's camera of the task."""
        return Camera(np.array(self.info.position), np.array(self.info.rotation), _FOVY, size)

    @property
    def markers(self) -> list[Marker]:
        """A ball at a goal that nothing else shows."""
        if self.info.goal_site is None:
            return []
        x, y, z = (float(v) for v in self.data.site(self.info.goal_site).xpos)
        return [Marker((x, y, z), _MARKER_RADIUS)]

    def make_sensor(self) -> CloudSensor:
        """See the base class."""
        cloud = self.config.cloud
        if cloud is None:
            raise UsageError(f"{self.spec.task} is shown without clouds")
        camera = self.camera(cloud.camera_size or max(cloud.size, tables.CAMERA_SIZE))
        return CloudSensor(
            self.model, camera, self.info.crop, cloud, dropped=tables.DROPPED_MATERIALS, robot=tables.ROBOT
        )

    def provenance(self) -> dict[str, Any]:
        """Camera, crop, state, repeat, success, versions."""
        hand = "24 joint positions, rad" + ("; palm xyz, metres, world frame" if self.config.palm else "")
        return {
            **(self.sensor.describe() if self.config.cloud else {}),
            "dropped_materials": list(tables.DROPPED_MATERIALS) if self.config.cloud else [],
            "goal_marker": self.info.goal_site,
            "gymnasium_id": f"AdroitHand{self.info.name}-v1",
            "state": hand if self.config.state == "hand" else "the environment's own observation",
            "repeat": self.config.repeat,
            "success": self.config.success,
            "simulator": {name: metadata.version(name) for name in ("gymnasium-robotics", "gymnasium", "mujoco")},
        }

    def close(self) -> None:
        """Free the simulator."""
        self.sim.close()

    def _dropped(self) -> bool:
        if self.info.name != "Pen" or self.config.success != "dp3":
            return False
        return bool(self.data.xpos[self.sim.obj_body_id][2] < _DROPPED)

    def _state(self) -> NDArray[np.float32]:
        if self.config.state == "observation":
            return self._observation()
        joints = self.data.qpos[self.info.arm : self.info.arm + tables.JOINTS]
        palm = self.data.site(tables.PALM).xpos if self.config.palm else ()
        return np.concatenate([joints, palm]).astype(np.float32)

    def _observation(self) -> NDArray[np.float32]:
        return self._seen.astype(np.float32)

    def _cloud(self) -> NDArray[np.float32]:
        return self.sensor.capture(self.data, self.markers)

    def _image(self) -> NDArray[np.uint8]:
        return self._painted("img", self.camera(IMAGE_SIZE))

    def _painted(self, name: str, camera: Camera) -> NDArray[np.uint8]:
        if name not in self._painters or self._painters[name].size != camera.size:
            self._painters[name] = Painter(self.model, camera)
        return self._painters[name].paint(self.data, self.markers)


def _make(name: str) -> Any:
    """The bare simulator; MissingDependency when it does not load."""
    with loading(f"AdroitHand{name}-v1", _HINT):
        with contextlib.redirect_stderr(io.StringIO()):  # a notice about other environments at every import
            module = importlib.import_module(f"gymnasium_robotics.envs.adroit_hand.adroit_{name.lower()}")
        return getattr(module, f"AdroitHand{name}Env")()
