"""A control step of robosuite's arms without the work that it does twice; the same numbers to the last bit.

In each of the 25 sub-steps of ``env.step`` robosuite 1.4 computes positions, collisions and velocities three times
(``sim.forward`` of the environment, of the controller, and within ``mj_step``) and the end-effector's Jacobian four
times, looks names up, and updates observations that nobody reads. Here the state is computed once (``mj_step1``). What
does change from one ``forward`` to the next is kept: each solves for the contact forces beginning with those of the
one before. Controller and gripper are robosuite's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def control_step(env: Any, action: NDArray[np.float64]) -> None:
    """Advance ``env`` as its ``step`` does; observations, reward and success are asked apart.

    Args:
        env: robosuite's, with arms that an operational-space controller moves.
        action: (7 arms,): of each end-effector a displacement within [-1, 1], or the position (m) and rotation (axis
            times angle, rad) that it is to take, as its controller is set up; and its gripper.
    """
    import mujoco

    model, data = env.sim.model._model, env.sim.data._data
    drivers = []
    for robot in env.robots:
        own, action = np.split(action, [robot.action_dim])
        drivers.append(_driver(robot, model, data, own))
    for sub_step in range(int(env.control_timestep / env.model_timestep)):
        mujoco.mj_step1(model, data)
        _solve(model, data)
        for drive in drivers:
            drive(sub_step == 0)
        mujoco.mj_step2(model, data)
    env.timestep += 1
    env.cur_time += env.control_timestep


def goals(env: Any, action: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where displacements from the state that ``env`` shows lead; it has to be shown one state after another.

    Args:
        env: as of ``control_step``.
        action: (7 arms,), displacements.

    Returns:
        (7 arms,): the position (m) and rotation (axis times angle, rad) of each end-effector, and its gripper as given.
    """
    from scipy.spatial.transform import Rotation

    found: list[NDArray[np.float64]] = []
    for robot, own in zip(env.robots, np.split(action, len(env.robots)), strict=True):
        controller = robot.controller
        arm, fingers = np.split(own, [controller.control_dim])
        controller.set_goal(arm)
        controller.new_update = True  # as a step leaves it: the next state is looked at
        found += [controller.goal_pos, Rotation.from_matrix(controller.goal_ori).as_rotvec(), fingers]
    return np.concatenate(found)


def _solve(model: Any, data: Any) -> None:
    """The part of ``mj_forward`` that depends on controls and on the forces found before."""
    import mujoco

    mujoco.mj_fwdActuation(model, data)
    mujoco.mj_fwdAcceleration(model, data)
    mujoco.mj_fwdConstraint(model, data)


def _driver(robot: Any, model: Any, data: Any, action: NDArray[np.float64]) -> Callable[[bool], None]:
    """What sets the controls of an arm and its gripper, as ``SingleArm.control`` does; True sets the goal too."""
    controller, gripper = robot.controller, robot.gripper
    show = _viewer(controller, model, data)
    arm, fingers = np.split(action, [controller.control_dim])
    low, high = robot.torque_limits
    joints = np.array(robot._ref_joint_actuator_indexes)
    grip = np.array([robot.sim.model.actuator_name2id(name) for name in gripper.actuators])
    span = model.actuator_ctrlrange[grip]
    middle, half = 0.5 * (span[:, 1] + span[:, 0]), 0.5 * (span[:, 1] - span[:, 0])
    controls = data.ctrl

    def drive(new_goal: bool) -> None:
        if controller.new_update:  # not right after a reset: there robosuite goes by the pose that it had reset to
            _solve(model, data)
            show()
        if new_goal:
            controller.set_goal(arm)
        controls[joints] = np.clip(controller.run_controller(), low, high)
        controls[grip] = middle + half * gripper.format_action(fingers)

    return drive


def _viewer(controller: Any, model: Any, data: Any) -> Callable[[], None]:
    """What shows a controller the present state, as its ``update`` does."""
    import mujoco

    site = controller.sim.model.site_name2id(controller.eef_name)
    positions, velocities = np.array(controller.qpos_index), np.array(controller.qvel_index)
    place, turn, qpos, qvel = data.site_xpos[site], data.site_xmat[site].reshape(3, 3), data.qpos, data.qvel
    linear, angular, inertia = np.zeros((3, model.nv)), np.zeros((3, model.nv)), np.zeros((model.nv, model.nv))

    def show() -> None:
        mujoco.mj_jacSite(model, data, linear, angular, site)
        mujoco.mj_fullM(model, inertia, data.qM)
        controller.ee_pos, controller.ee_ori_mat = place.copy(), turn.copy()
        controller.ee_pos_vel, controller.ee_ori_vel = linear @ qvel, angular @ qvel
        controller.joint_pos, controller.joint_vel = qpos[positions], qvel[velocities]
        controller.J_pos, controller.J_ori = linear[:, velocities], angular[:, velocities]
        controller.J_full = np.vstack([controller.J_pos, controller.J_ori])
        # indexed in two turns as robosuite does: the layout in memory decides LAPACK's last bit
        controller.mass_matrix = inertia[velocities, :][:, velocities]
        controller.new_update = False  # so that set_goal and run_controller do not call ``update``

    return show
