"""Meta-World v3: 50 table-top tasks of a Sawyer arm, each with a scripted expert."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Settings
from omp_cli.core.clouds.camera import Camera, look_at
from omp_cli.core.clouds.opengl import Renderer
from omp_cli.core.clouds.picture import Painter
from omp_cli.core.clouds.raycast import Marker
from omp_cli.core.clouds.sensor import DP3_BOX, CloudConfig, CloudSensor
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES, Outcome, Suite, Views, loading
from omp_cli.core.suites.clouded import CloudedEnv, recommended_cloud
from omp_cli.core.suites.metaworld import tables

IMAGE_SIZE = 84
FULL_STATE_DIM = 39


class MetaWorldConfig(Settings):
    """What changes the observations of Meta-World."""

    name: Literal["metaworld"] = "metaworld"
    cloud: CloudConfig = CloudConfig()
    """Number of points, camera, frame."""
    retaining_wall: bool | None = None
    """Whether clouds show the rim around the table; None: not in the world frame, yes in "dp3"."""

    @property
    def hidden_bodies(self) -> tuple[str, ...]:
        """Bodies that clouds do not show."""
        shown = self.cloud.frame == "dp3" if self.retaining_wall is None else self.retaining_wall
        return () if shown else tables.HIDDEN_BODIES


@SUITES.register("metaworld")
class MetaWorld(Suite):
    """All 50 tasks of Meta-World v3, named without their "-v3"."""

    Config: ClassVar[type[Settings]] = MetaWorldConfig
    default_task: ClassVar[str] = "assembly"
    needs = ("metaworld", "Meta-World", "pip install metaworld")
    config: MetaWorldConfig

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The papers' difficulty classes of their 34 tasks, those 34, and all 50."""
        return tables.GROUPS

    def tasks(self) -> tuple[str, ...]:
        """The 50 task names, sorted."""
        return tables.MW50

    def recommended(self) -> Mapping[str, Any]:
        """See ``recommended_cloud``."""
        return recommended_cloud(self.config.cloud)

    def spec(self, task: str) -> Spec:
        """State: end-effector, right finger, left finger (x, y, z each). Action: end-effector step x, y, z; gripper."""
        return Spec(
            suite="metaworld",
            task=task,
            action_dim=4,
            state_dim=9,
            points=self.config.cloud.points,
            end_effector=(0, 1, 2),
            positions=((0, 1, 2), (3, 4, 5), (6, 7, 8)),
            displacements=((0, 1, 2),),
            max_steps=200,
            control_hz=80.0,
            cloud_in_world=self.config.cloud.frame == "world",
            cloud_in_fps_order=self.config.cloud.fps_backend == "numpy",
        )

    def make(self, task: str) -> MetaWorldEnv:
        """A fresh simulator (0.2 s)."""
        return MetaWorldEnv(self.spec(task), self.config)


class MetaWorldEnv(CloudedEnv):
    """One Meta-World task whose start states follow from a seed alone.

    Args:
        spec: the task.
        config: the suite's configuration.
    """

    def __init__(self, spec: Spec, config: MetaWorldConfig) -> None:
        environments, policies = _import_metaworld()
        self.spec = spec
        self.config = config
        self._sim = environments[f"{spec.task}-v3-goal-observable"](seed=0)
        self._sim._freeze_rand_vec = False  # with these two, sim.seed() decides what reset() draws
        self._sim.seeded_rand_vec = True
        self._sim.max_path_length = np.iinfo(np.int64).max  # the length of an episode is the caller's affair
        self._expert = policies[f"{spec.task}-v3"]()
        model = self._model = self._sim.model
        self._data = self._sim.data
        model.camera(tables.CAMERA_NAME).pos[:] = tables.CAMERA_POSITION
        self._sites = [model.site(name).id for name in ("rightEndEffector", "leftEndEffector")]
        self._home = {name: getattr(model, name).copy() for name in ("body_pos", "site_pos")}
        self._renderer: Renderer | None = None
        self._painter: Painter | None = None
        self._full_state = np.zeros(FULL_STATE_DIM)
        self._start = np.zeros(0)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start state of ``seed``; the same after any history of this object, and in any process."""
        import mujoco

        sim = self._sim
        for name, home in self._home.items():  # resets write object and goal positions into the model
            getattr(self._model, name)[:] = home
        mujoco.mj_resetData(self._model, self._data)
        sim.seed(seed)
        sim.reset()
        # reset leaves bodies and the goal marker where the first of its two draws put them
        mujoco.mj_forward(self._model, self._data)
        sim._prev_obs = sim._get_curr_obs_combined_no_goal()
        space = sim.sawyer_observation_space
        self._full_state = np.clip(sim._get_obs(), space.low, space.high)
        self._start = np.concatenate([sim._last_rand_vec, sim._target_pos, self._data.qpos])

    def step(self, action: NDArray[np.floating[Any]]) -> Outcome:
        """One control step of 12.5 ms: the hand's target moves by at most 1 cm per axis."""
        self._full_state, reward, _, _, info = self._sim.step(np.clip(np.asarray(action, np.float32), -1.0, 1.0))
        return Outcome(float(reward), bool(info["success"]), ends=_ends(info))

    def observe(self, keys: Iterable[str]) -> dict[str, NDArray[Any]]:
        """See the base class. "full_state" is the simulator's own observation (39,) float32, goal included."""
        make: Views = {
            "state": self._state,
            "point_cloud": self._cloud,
            "full_state": lambda: self._full_state.astype(np.float32),
            "img": self._image,
        }
        return {key: make[key]() for key in keys}

    def expert(self) -> NDArray[np.float32]:
        """The scripted policy's raw action; its components may exceed 1 by far."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns about each component above 1
            return np.asarray(self._expert.get_action(self._full_state), np.float32)

    def start_state(self) -> NDArray[np.float64]:
        """The simulator's random draw (object, goal), the goal and all joint positions."""
        return self._start.copy()

    @property
    def markers(self) -> list[Marker]:
        """The sphere that shows the goal, if the task has one, at the goal itself."""
        name = tables.GOAL_SITES.get(self.spec.task)
        if name is None:
            return []
        site = self._model.site(name)
        x, y, z = (float(v) for v in self._sim._target_pos)
        red, green, blue = (float(v) for v in site.rgba[:3])
        return [Marker((x, y, z), float(site.size[0]), (red, green, blue))]

    def make_sensor(self) -> CloudSensor:
        """See the base class."""
        world = self.config.cloud.frame == "world"
        return CloudSensor(
            self._model,
            self.camera(self.config.cloud.size),
            tables.CROPS.get(self.spec.task, tables.DEFAULT_CROP) if world else DP3_BOX,
            self.config.cloud,
            self.config.hidden_bodies,
            tables.DROPPED_MATERIALS if world else (),
            tables.ROBOT,
        )

    def camera(self, size: int) -> Camera:
        """The moved ``corner2`` camera as it stands in the simulator."""
        camera = self._data.camera(tables.CAMERA_NAME)
        fovy = float(self._model.camera(tables.CAMERA_NAME).fovy[0])
        return Camera(camera.xpos.copy(), camera.xmat.reshape(3, 3).copy(), fovy, size)

    def picture(self, size: int) -> NDArray[np.uint8]:
        """The scene from the front right, ray-cast."""
        if self._painter is None or self._painter.size != size:
            view = look_at((0.95, -0.12, 0.88), (-0.01, 0.65, 0.16), 43.0, size)
            self._painter = Painter(self._model, view, tables.HIDDEN_BODIES)
        return self._painter.paint(self._data, self.markers)

    def provenance(self) -> dict[str, Any]:
        """Camera, crop, frame, bodies that clouds do not show, goal marker, versions."""
        return {
            **self.sensor.describe(),
            "hidden_bodies": list(self.config.hidden_bodies),
            "dropped_materials": list(tables.DROPPED_MATERIALS) if self.config.cloud.frame == "world" else [],
            "goal_marker": tables.GOAL_SITES.get(self.spec.task),
            "state": "end effector xyz, right finger xyz, left finger xyz; metres, world frame",
            "simulator": {name: metadata.version(name) for name in ("metaworld", "mujoco")},
        }

    def close(self) -> None:
        """Free the renderer; the simulator itself is plain memory."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _state(self) -> NDArray[np.float32]:
        hand = self._sim.get_endeff_pos()
        right, left = (self._data.site_xpos[site] for site in self._sites)
        return np.concatenate([hand, right, left]).astype(np.float32)

    def _cloud(self) -> NDArray[np.float32]:
        return self.sensor.capture(self._data, self.markers)

    def _image(self) -> NDArray[np.uint8]:
        if self._renderer is None:
            self._renderer = Renderer(self._model, tables.CAMERA_NAME, IMAGE_SIZE)
        picture = self._renderer.render(self._data)
        return picture[::-1, ::-1].copy() if self.camera(IMAGE_SIZE).upside_down() else picture


def _ends(info: Mapping[str, Any]) -> dict[str, float | bool]:
    """What the simulator says of a step beside success, in its own words: metres, and two flags of each task's reward.

    What a flag means is the task's affair: in reach ``near_object`` is a distance, and where nothing is to be grasped
    ``grasp_success`` is a constant or how far the gripper is open.
    """
    flags = {name: bool(info[name] > 0.5) for name in ("near_object", "grasp_success") if name in info}
    return {"obj_to_target": float(info["obj_to_target"]), **flags}


def _import_metaworld() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Environment classes ("reach-v3-goal-observable") and expert classes ("reach-v3") by name."""
    with loading("Meta-World", "pip install metaworld"):
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
        from metaworld.policies import ENV_POLICY_MAP
    return ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE, ENV_POLICY_MAP
