"""Adroit's four tasks: sizes, states, cameras and crops. Needs no simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.clouds.crop import Box, Triple
from omp_cli.core.clouds.sensor import RobotBodies

Rotation = tuple[Triple, Triple, Triple]

JOINTS = 24
"""Joints of the hand and its wrist; what moves the arm comes before them in the simulator's positions."""
CAMERA_SIZE = 128
"""Pixels; DP3's 84 see 345 to 460 points of hammer, pen and relocate, too few for a cloud of 512."""
RAW_HZ = 100.0
"""Simulator steps of 10 ms, of which an action lasts ``repeat``."""

_HALF = 0.5**0.5
_DOWN: Rotation = ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0))
_OBLIQUE: Rotation = ((1.0, 0.0, 0.0), (0.0, _HALF, -_HALF), (0.0, _HALF, _HALF))


@dataclass(frozen=True)
class AdroitTask:
    """What is known of a task without building it.

    Attributes:
        name: gymnasium-robotics' ("Pen": ``AdroitHandPenEnv`` of ``adroit_pen``).
        action_dim: A.
        observation_dim: length of the environment's own observation, the layout of D4RL's files.
        arm: number of joint positions before those of the hand.
        raw_steps: simulator steps of an episode (mj_envs').
        states: what ``set_env_state`` takes, by the names it has in files.
        position: position of the cloud's camera, metres.
        rotation: the camera's axes as columns, (3, 3).
        crop: bounds of the cloud.
        view: camera and target of pictures for people.
        goal_site: a site that alone shows the goal.
    """

    name: str
    action_dim: int
    observation_dim: int
    arm: int
    raw_steps: int
    states: tuple[str, ...]
    position: Triple
    rotation: Rotation
    crop: Box
    view: tuple[Triple, Triple]
    goal_site: str | None = None


TASKS: Mapping[str, AdroitTask] = {
    "hammer": AdroitTask(
        "Hammer", 26, 46, 2, 200, ("qpos", "qvel", "board_pos"), (0.0, 0.0, 1.1), _DOWN,
        Box((-0.45, -0.32, -0.01), (0.45, 0.45, 0.7)), ((-0.75, -0.75, 0.65), (0.0, -0.12, 0.12)),
    ),
    "door": AdroitTask(
        "Door", 28, 39, 4, 200, ("qpos", "qvel", "door_body_pos"), (0.0, 0.0, 1.5), _DOWN,
        Box((-0.7, -0.7, -0.01), (0.7, 0.7, 0.8)), ((-0.75, -0.95, 0.85), (0.0, 0.05, 0.2)),
    ),
    "pen": AdroitTask(
        "Pen", 24, 45, 0, 100, ("qpos", "qvel", "desired_orien"), (0.0, -0.8, 0.8), _OBLIQUE,
        Box((-0.4, -0.32, -0.01), (0.4, 0.2, 0.6)), ((0.3, -0.75, 0.6), (0.08, -0.2, 0.22)),
    ),
    "relocate": AdroitTask(
        "Relocate", 30, 39, 6, 200, ("qpos", "qvel", "obj_pos", "target_pos"), (0.0, 0.0, 1.1), _DOWN,
        Box((-0.45, -0.45, -0.01), (0.45, 0.5, 0.7)), ((-0.75, -0.75, 0.65), (0.0, 0.0, 0.1)), "target",
    ),
}  # fmt: skip
ROBOT = RobotBodies(
    arm=("forearm",),
    gripper=(
        "wrist", "palm", "ffknuckle", "ffproximal", "ffmiddle", "ffdistal", "mfknuckle", "mfproximal", "mfmiddle",
        "mfdistal", "rfknuckle", "rfproximal", "rfmiddle", "rfdistal", "lfmetacarpal", "lfknuckle", "lfproximal",
        "lfmiddle", "lfdistal", "thbase", "thproximal", "thhub", "thmiddle", "thdistal",
    ),
)  # fmt: skip
"""The Shadow hand: its gripper is what its 24 joints move, wrist, palm and fingers; its arm the forearm before them."""
PALM = "S_grasp"
"""The site between the fingers."""
PAPERS = ("hammer", "door", "pen")
"""The three of the papers' tables."""
DROPPED_MATERIALS = ("tablecube", "groundplane")
"""They stop rays and their points are left out."""


def facts(task: str) -> AdroitTask:
    """What is known of a task, or of the one whose data set it is; UsageError when there is none."""
    found = TASKS.get(task.partition("-")[0])
    if found is None:
        raise UsageError(f"unknown task {task!r} of adroit", did_you_mean(task, TASKS))
    return found
