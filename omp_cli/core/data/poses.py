"""Actions that are poses of end-effectors: rotations in three numbers, as robosuite takes them, and in six, as learned.

An axis times its angle jumps where the angle passes pi, and that is how a hand is turned that points down. The first
two rows of the rotation's matrix jump nowhere (Zhou et al. 2019, "On the Continuity of Rotation Representations in
Neural Networks"; rows, as Diffusion Policy has them on RoboMimic).

Legend: n arms, one after the other; of each 3 numbers of position (m, in the world), the rotation, and the gripper.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AXIS_ANGLE, SIX_NUMBERS = 7, 10
"""Numbers of an arm's action, by how its rotation is written."""
NOTE = "actions are poses"
"""Of the notes of a data set whose actions are poses: where they come from."""
PARTS = (("goal_pos", 3), ("goal_rotation", 6), ("gripper", 1))
"""What the numbers of an arm are, where its rotation has six."""


def with_six_numbers(actions: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rotations as the first two rows of their matrix.

    Args:
        actions: (..., 7 n), rotations as axis times angle (rad).

    Returns:
        (..., 10 n).
    """
    from scipy.spatial.transform import Rotation

    each = _of_each_arm(actions, AXIS_ANGLE)
    rows = Rotation.from_rotvec(each[:, 3:6]).as_matrix()[:, :2].reshape(-1, 6)
    found = np.concatenate([each[:, :3], rows, each[:, 6:]], axis=1)
    return found.reshape(*actions.shape[:-1], actions.shape[-1] // AXIS_ANGLE * SIX_NUMBERS).astype(np.float32)


def with_axis_angle(actions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rotations as axis times angle (rad), by Gram and Schmidt's rule from two rows that a policy may have bent.

    Args:
        actions: (..., 10 n).

    Returns:
        (..., 7 n); rows of zeros, or along each other, are completed to one of the rotations that they leave open. An
        arm with a number that is not finite has none that is.
    """
    from scipy.spatial.transform import Rotation

    each = _of_each_arm(actions, SIX_NUMBERS)
    found = np.full((len(each), AXIS_ANGLE), np.nan)
    each = each[whole := np.isfinite(each).all(axis=1)]
    axes, upper = np.linalg.qr(each[:, 3:9].reshape(-1, 2, 3).swapaxes(1, 2))
    axes *= np.where(np.diagonal(upper, axis1=1, axis2=2) < 0, -1.0, 1.0)[:, None]
    first, second = axes[:, :, 0], axes[:, :, 1]
    matrix = np.stack([first, second, np.cross(first, second)], axis=1)
    found[whole] = np.concatenate([each[:, :3], Rotation.from_matrix(matrix).as_rotvec(), each[:, 9:]], axis=1)
    return found.reshape(*actions.shape[:-1], actions.shape[-1] // SIX_NUMBERS * AXIS_ANGLE)


def _of_each_arm(actions: NDArray[np.floating], width: int) -> NDArray[np.float64]:
    """Actions (..., width n) one arm after the other, (arms, width)."""
    return np.asarray(actions, np.float64).reshape(actions.size // width, width)
