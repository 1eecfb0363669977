"""Adroit's simulator states from the environments' own observations, for files that hold no states (Minari's v2).

All positions follow exactly but for a pen's turn about its own axis, which observations lack: it is set to 0, so the
pen's clip may show on another side. Velocities are set to 0; nothing that is shown depends on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.data.store import Arrays
from omp_cli.core.suites.adroit.tables import PALM

if TYPE_CHECKING:
    from omp_cli.core.suites.adroit.suite import AdroitEnv


def states_of(env: AdroitEnv, observations: NDArray[np.floating[Any]]) -> Arrays:
    """The states (T, n) by name that an episode's observations (T, S) show; the episode in progress is lost."""
    env.reset(0)
    build = {"Pen": _pen, "Door": _door, "Hammer": _hammer, "Relocate": _relocate}[env.info.name]
    rows = [build(env, np.asarray(row, np.float64)) for row in observations]
    states = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    for name in set(states) - {"qpos", "obj_pos"}:
        states[name][:] = states[name][0]  # goals do not move; later observations trail the joints by 2 ms
    return {**states, "qvel": np.zeros((len(observations), env.model.nv))}


def _pen(env: AdroitEnv, seen: NDArray[np.float64]) -> Arrays:
    from gymnasium_robotics.utils.rotations import euler2quat

    qpos = np.zeros(env.model.nq)
    qpos[:24] = seen[:24]
    home = _home(env)
    qpos[24:27] = home.T @ (seen[24:27] - env.model.body_pos[env.sim.obj_body_id])
    qpos[27:29] = _tilt(home.T @ seen[33:36])
    return {"qpos": qpos, "desired_orien": euler2quat(np.append(_tilt(seen[36:39]), 0.0))}


def _door(env: AdroitEnv, seen: NDArray[np.float64]) -> Arrays:
    qpos = np.zeros(env.model.nq)
    qpos[1:28], qpos[29], qpos[28] = seen[:27], seen[27], seen[28]
    frame = env.model.body_pos[env.sim.door_body_id]
    _pose(env, qpos)
    qpos[0] = env.data.joint("ARTz").xaxis @ (seen[29:32] - env.data.site(PALM).xpos)
    return {"qpos": qpos, "door_body_pos": frame + seen[32:35] - env.data.site("S_handle").xpos}


def _hammer(env: AdroitEnv, seen: NDArray[np.float64]) -> Arrays:
    from gymnasium_robotics.utils.rotations import euler2mat

    qpos = np.zeros(env.model.nq)
    qpos[:27] = seen[:27]
    home = _home(env)
    qpos[27:30] = home.T @ (seen[36:39] - env.model.body_pos[env.sim.obj_body_id])
    turned = home.T @ euler2mat(seen[39:42])
    qpos[30:32] = _tilt(turned[:, 2])
    qpos[32] = np.arctan2(-turned[0, 1], turned[0, 0])
    board = env.model.body_pos[env.sim.target_body_id]
    _pose(env, qpos)
    return {"qpos": qpos, "board_pos": board + seen[42:45] - env.data.site("S_target").xpos}


def _relocate(env: AdroitEnv, seen: NDArray[np.float64]) -> Arrays:
    qpos = np.zeros(env.model.nq)
    qpos[:30] = seen[:30]
    _pose(env, qpos)
    palm = env.data.site(PALM).xpos
    return {"qpos": qpos, "obj_pos": palm - seen[30:33], "target_pos": palm - seen[33:36]}


def _pose(env: AdroitEnv, qpos: NDArray[np.float64]) -> None:
    import mujoco

    env.data.qpos[:] = qpos
    mujoco.mj_kinematics(env.model, env.data)


def _home(env: AdroitEnv) -> NDArray[np.float64]:
    """Rotation (3, 3) of the object's body before its joints."""
    import mujoco

    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, env.model.body_quat[env.sim.obj_body_id])
    return matrix.reshape(3, 3)


def _tilt(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles about x, then y, that bring z to ``axis`` (3,)."""
    axis = axis / np.linalg.norm(axis)
    return np.array([np.arctan2(-axis[1], axis[2]), np.arcsin(np.clip(axis[0], -1.0, 1.0))])
