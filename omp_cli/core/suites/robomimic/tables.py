"""RoboMimic's four tasks and the observations of their arms: names and sizes. Needs no simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omp_cli.core.base.errors import UsageError, did_you_mean

PROPRIOCEPTION = ("eef_pos", "eef_quat", "gripper_qpos")
"""What an arm shows of itself unless its state is chosen."""
_DIMS = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2, "gripper_qvel": 2, "joint_pos": 7, "joint_vel": 7}
_DIMS |= {"joint_pos_cos": 7, "joint_pos_sin": 7, "eef_vel_lin": 3, "eef_vel_ang": 3}
OBJECT = "object"
"""The observation of the poses of a task's objects."""


@dataclass(frozen=True)
class TaskInfo:
    """What is known of a task without building it.

    Attributes:
        env: robosuite's name.
        arms: number of them; each is shown as position (3), quaternion (4), gripper (2), and takes 7 actions.
        object_dim: length of robomimic's observation "object".
        cameras: those of the DMPO paper's policies.
        max_steps: longest episode of an evaluation, in steps.
    """

    env: str
    arms: int
    object_dim: int
    cameras: tuple[str, ...]
    max_steps: int


TASKS: Mapping[str, TaskInfo] = {
    "lift": TaskInfo("Lift", 1, 10, ("robot0_eye_in_hand",), 400),
    "can": TaskInfo("PickPlaceCan", 1, 14, ("robot0_eye_in_hand",), 400),
    "square": TaskInfo("NutAssemblySquare", 1, 14, ("agentview",), 400),
    "transport": TaskInfo("TwoArmTransport", 2, 41, ("shouldercamera0", "shouldercamera1"), 700),
}


def length_of(key: str, info: TaskInfo) -> int:
    """Length of an observation."""
    part = key.partition("_")[2]
    if key == OBJECT:
        return info.object_dim
    if key not in {f"robot{i}_{part}" for i in range(info.arms)} or part not in _DIMS:
        names = [f"robot{i}_{name}" for i in range(info.arms) for name in _DIMS]
        raise UsageError(f"{info.env} has no observation {key!r}", did_you_mean(key, [OBJECT, *names]))
    return _DIMS[part]
