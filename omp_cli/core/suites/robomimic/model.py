"""robosuite's environments, built as robomimic's metadata of its v1.4.1 data sets asks for."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from omp_cli.core.base.errors import MissingDependency
from omp_cli.core.suites.base import loading
from omp_cli.core.suites.robomimic.controller import ARRANGEMENT, ROBOT, Control

_COLLISION, _HIDDEN = 0, 5


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
