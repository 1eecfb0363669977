"""robosuite's environments, built as robomimic's metadata of its v1.4.1 data sets asks for."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from omp_cli.core.base.config import Above0, AtLeast0, Settings, checked
from omp_cli.core.base.errors import DataError, MissingDependency, UsageError
from omp_cli.core.data.foreign import short
from omp_cli.core.suites.base import loading

CONTROLLER, ROBOT = "OSC_POSE", "Panda"
ARRANGEMENT = "single-arm-opposed"
_COLLISION, _HIDDEN = 0, 5


class Control(Settings):
    """The operational-space controller of the arms; the defaults are those of robomimic's data sets."""

    control_freq: Above0 = 20.0
    """Actions per second."""
    kp: Above0 = 150.0
    """Stiffness."""
    damping_ratio: AtLeast0 = 1.0
    """1 is critical."""
    control_delta: bool = True
    """Whether actions are displacements."""
    output_max: tuple[AtLeast0, AtLeast0, AtLeast0, AtLeast0, AtLeast0, AtLeast0] = (0.05, 0.05, 0.05, 0.5, 0.5, 0.5)
    """Displacement that action 1 asks for: 3 of position (m), 3 of rotation (rad)."""

    @classmethod
    def of(cls, env_kwargs: Mapping[str, Any]) -> Control:
        """From the metadata of a data set, robosuite 1.4's or 1.5's.

        Raises:
            DataError: the metadata are not what robosuite writes.
            UsageError: they ask for another kind of controller, or of robot.
        """
        _check_robots(env_kwargs.get("robots"))
        found = _osc(env_kwargs.get("controller_configs"))
        given = {"control_freq": env_kwargs.get("control_freq"), "kp": found.get("kp")}
        given["damping_ratio"] = found.get("damping_ratio", found.get("damping"))
        given["output_max"] = found.get("output_max")
        given["control_delta"] = found.get("control_delta")
        if "input_type" in found:  # as robosuite 1.5 says it
            given["control_delta"] = found["input_type"] == "delta"
        values = {key: value for key, value in given.items() if value is not None}
        return checked(cls, values, "the controller in the data's metadata")

    def as_robosuite(self) -> dict[str, Any]:
        """``controller_configs`` of robosuite 1.4."""
        return {
            "type": CONTROLLER,
            "input_max": 1,
            "input_min": -1,
            "output_max": list(self.output_max),
            "output_min": [-limit for limit in self.output_max],
            "kp": self.kp,
            "damping_ratio": self.damping_ratio,
            "impedance_mode": "fixed",
            "kp_limits": [0, 300],
            "damping_ratio_limits": [0, 10],
            "position_limits": None,
            "orientation_limits": None,
            "uncouple_pos_ori": True,
            "control_delta": self.control_delta,
            "interpolation": None,
            "ramp_ratio": 0.2,
        }


def _check_robots(robots: Any) -> None:
    """UsageError where another robot than ours is named."""
    named = [robots] if isinstance(robots, str) else robots if isinstance(robots, list) else []
    for robot in named:
        if robot != ROBOT:
            raise UsageError(
                f"the data were recorded with robot {short(str(robot))!r}, of which omp can only roll out {ROBOT}",
                "take a set of that robot",
            )


def _osc(configs: Any) -> Mapping[str, Any]:
    """The controller of an arm; several arms have the same."""
    if isinstance(configs, list):
        configs = configs[0] if configs else None
    if isinstance(configs, Mapping) and "body_parts" in configs:
        parts = configs["body_parts"]
        if not isinstance(parts, Mapping):
            raise DataError(f"controller_configs in the data's metadata: body_parts is a {type(parts).__name__}")
        configs = next((part for name, part in parts.items() if "right" in name), None)
    if configs is None:
        return {}
    if not isinstance(configs, Mapping):
        raise DataError(f"controller_configs in the data's metadata is a {type(configs).__name__}, expected an object")
    if configs.get("type") != CONTROLLER:
        kind = str(configs.get("type"))[:60]
        raise UsageError(
            f"the data were recorded with controller {kind!r}, of which omp can only roll out {CONTROLLER}",
            "take a set of that controller",
        )
    return configs


def env_kwargs(arms: int, control: Control) -> dict[str, Any]:
    """Arguments of ``robosuite.make``, without rendering; JSON types."""
    return {
        "robots": [ROBOT] * arms,
        **({"env_configuration": ARRANGEMENT} if arms > 1 else {}),
        "controller_configs": control.as_robosuite(),
        "control_freq": control.control_freq,
        "has_renderer": False,
        "has_offscreen_renderer": False,
        "ignore_done": True,
        "use_object_obs": True,
        "use_camera_obs": False,
        "reward_shaping": False,
        "hard_reset": False,
    }


def make_robosuite(name: str, arms: int, control: Control) -> Any:
    """A robosuite environment whose model is the same in every process, read from its XML as in robomimic's replays.

    Sizes that robosuite would draw anew for each episode (lift's cube) are those of one seed.

    Raises:
        MissingDependency: robosuite does not load, or is of a version with another interface.
    """
    robosuite = _robosuite()
    with numpy_seeded(0), _quiet():
        env = robosuite.make(name, **env_kwargs(arms, control))
        load_scene(env, env.sim.model.get_xml())
    for key in env.observation_names:
        if "joint_pos" in key or "eef_vel" in key:  # as robomimic does
            env.modify_observable(observable_name=key, attribute="active", modifier=True)
    return env


def load_scene(env: Any, scene: str) -> None:
    """Read the model from XML, its paths corrected, as robomimic does at the start of every replay."""
    env.reset_from_xml_string(env.edit_model_xml(scene))
    env.sim.reset()
    # robosuite's own renderer hides the collision geoms; ours draw what MuJoCo draws by default
    groups = env.sim.model._model.geom_group
    groups[groups == _COLLISION] = _HIDDEN


def refresh(env: Any) -> None:
    """Bring poses, cameras and velocities up to the present state, which a simulation step leaves one sub-step behind.

    So a live episode shows what a data set shows, whose states are set and seen. The dynamics, its warm start
    included, stay as they are.
    """
    import mujoco

    model, data = env.sim.model._model, env.sim.data._data
    for update in (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_camlight, mujoco.mj_comVel):
        update(model, data)


@contextmanager
def numpy_seeded(seed: int) -> Iterator[None]:
    """NumPy's global generator, which robosuite draws from, in the state of ``seed``; as it was afterwards."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed([seed % 2**32, seed // 2**32])  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _robosuite() -> Any:
    before = os.environ.get("MUJOCO_GL")
    with loading("robosuite", "pip install 'omp-cli[robomimic]'"):
        try:
            with _quiet():
                import robosuite
        finally:
            # it sets what is not set, and would take the choice of a backend that works from us
            if before is None:
                os.environ.pop("MUJOCO_GL", None)
    if not robosuite.__version__.startswith("1.4."):
        raise MissingDependency(
            f"robosuite {robosuite.__version__} is installed; its 1.4 is what the data sets were made with",
            "pip install 'robosuite>=1.4.1,<1.5'",
        )
    return robosuite


@contextmanager
def _quiet() -> Iterator[None]:
    """Without robosuite's advice on private macros and GLFW's on displays, which are not needed."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
