"""What the actions of a robomimic file are: displacements, as robomimic's own are, or poses of the end-effectors.

Poses come in three ways: the metadata say so; ``robosuite_add_absolute_actions.py`` of robomimic 0.5 put
``actions_abs`` beside the displacements; or Diffusion Policy's ``low_dim_abs.hdf5`` and ``image_abs.hdf5`` have them in
``actions``, under metadata that still say displacements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.readers.base import names_of_parts
from omp_cli.core.data.readers.hdf5 import array
from omp_cli.core.spec import Rotation

if TYPE_CHECKING:
    import h5py

NUMBERS = 7
"""Of an arm's action: three of position, or of its displacement, three of rotation, and the gripper."""
NOTE = "actions are poses"
"""Of the notes of a data set whose actions are poses: where they come from."""
DISPLACEMENTS, POSES = "actions", "actions_abs"
STORED, MADE = "as the file has them", "made of displacements by the replay"
"""Where poses come from, as the notes of a data set say it."""
_FALSE = ("false", "0", "no", "off")


@dataclass(frozen=True)
class Actions:
    """Which actions of each demonstration are taken.

    Attributes:
        key: their array.
        poses: ``STORED`` or ``MADE``; None for displacements.
        known: how it is known that they are poses.
    """

    key: str = DISPLACEMENTS
    poses: str | None = None
    known: str = ""

    def of(self, demo: h5py.Group, expected: str, frames: int) -> NDArray[np.float32]:
        """(T, A) of a demonstration.

        Raises:
            DataError: they are missing, damaged, of other than ``frames`` rows, or no poses of whole arms.
        """
        found = array(demo, self.key, expected, 2, frames)
        if self.poses == STORED and found.shape[1] % NUMBERS:
            raise DataError(
                f"{demo.file.filename}: {demo.name}/{self.key} has {found.shape[1]} numbers a row",
                f"expected {NUMBERS} of each arm: position, axis times angle, gripper",
            )
        return found.astype(np.float32)

    @property
    def said(self) -> tuple[str, ...]:
        """What the user has to know."""
        if self.poses is None:
            return ()
        how = self.known or self.poses
        return (f"actions are poses of the end-effectors, whose rotations a policy learns in six numbers ({how})",)

    @property
    def notes(self) -> dict[str, str]:
        """What the data set keeps of it."""
        return {} if self.poses is None else {NOTE: self.poses}


AS_STORED = Actions()


def names_of_poses(width: int) -> tuple[str, ...]:
    """Names of the ``width`` numbers of an action of poses."""
    parts = (("goal_pos", 3), ("goal_axis_angle", 3), ("gripper", 1))
    each = [(f"robot{arm}_{part}", size) for arm in range(width // NUMBERS) for part, size in parts]
    return names_of_parts([name for name, _ in each], [size for _, size in each])


def rotations_of_poses(width: int) -> tuple[Rotation, ...]:
    """The rotations in the ``width`` numbers of an action of poses."""
    return tuple(Rotation(first=first + 3, kind="axis-angle") for first in range(0, width, NUMBERS))


def actions_of(
    path: str, demos: Sequence[h5py.Group], configs: Any, wished: bool | None, here: bool, replayed: bool, expected: str
) -> Actions:
    """Which actions are taken of ``demos``, the demonstrations of a file.

    Args:
        path: the file, for messages.
        demos: its demonstrations, of those that are read.
        configs: ``controller_configs`` of its metadata.
        wished: whether poses are; None takes ``actions`` as they are.
        here: whether robosuite is to execute them; actions of others are looked into only where ``wished`` says so.
        replayed: whether the states are shown anew, in which poses can be made.
        expected: what such a file holds, for messages.

    Raises:
        UsageError: the file has the other kind alone.
    """
    if wished and any(POSES in demo for demo in demos):
        return Actions(POSES, STORED, f"the file has {POSES}")
    if wished is None and not here:
        return AS_STORED
    if _says_poses(configs):
        if wished is False:
            raise UsageError(
                f"{path}: format.absolute is false, and by its metadata the actions are poses", "leave it out"
            )
        return Actions(poses=STORED, known="by the controller in its metadata")
    if wished is False:
        return AS_STORED
    beyond, rows = _beyond(demos, expected)
    if 2 * beyond > rows:
        return Actions(poses=STORED, known=f"{beyond} of {rows} leave [-1, 1], which displacements do not")
    if not wished:
        return AS_STORED
    if not replayed:
        raise UsageError(
            f"{path}: format.absolute is true, and it holds displacements, of which only a replay makes poses",
            "add --set format.replay=true",
        )
    return Actions(poses=MADE)


def _says_poses(configs: Any) -> bool:
    """Whether the controllers take poses, in the words of robosuite 1.4 or of 1.5; what is no object says nothing."""
    arms = [_arm(config) for config in (configs if isinstance(configs, list) else [configs])]
    return any(
        str(arm.get("control_delta", True)).lower() in _FALSE or arm.get("input_type") == "absolute" for arm in arms
    )


def _arm(config: Any) -> Mapping[str, Any]:
    """The controller of an arm; of robosuite 1.5's, which has one for each part of a body, that of the right arm."""
    if isinstance(config, Mapping) and isinstance(parts := config.get("body_parts"), Mapping):
        config = next((part for name, part in parts.items() if "right" in name), None)
    return config if isinstance(config, Mapping) else {}


def _beyond(demos: Sequence[h5py.Group], expected: str) -> tuple[int, int]:
    """How many rows of ``actions`` leave [-1, 1], and how many there are; the gripper's numbers do not count."""
    beyond = rows = 0
    for demo in demos:
        found = np.abs(array(demo, DISPLACEMENTS, expected, 2))
        arms = found[:, np.arange(found.shape[1]) % NUMBERS != NUMBERS - 1]
        beyond += int((arms > 1.0 + 1e-6).any(1).sum())
        rows += len(found)
    return beyond, rows
