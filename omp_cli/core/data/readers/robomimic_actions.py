"""What the actions of a robomimic file are: displacements, as robomimic's own are, or poses of the end-effectors.

Poses come in three ways: the metadata say so; ``robosuite_add_absolute_actions.py`` of robomimic 0.5 put
``actions_abs`` beside the displacements; or Diffusion Policy's ``low_dim_abs.hdf5`` and ``image_abs.hdf5`` have them in
``actions``, under metadata that still say displacements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.poses import AXIS_ANGLE, NOTE, PARTS, SIX_NUMBERS, with_six_numbers
from omp_cli.core.data.readers.base import names_of_parts
from omp_cli.core.data.readers.hdf5 import array

if TYPE_CHECKING:
    import h5py

DISPLACEMENTS, POSES = "actions", "actions_abs"
MADE = "made of displacements by the replay"


@dataclass(frozen=True)
class Actions:
    """Which actions of each demonstration are taken.

    Attributes:
        key: their array.
        poses: how it is known that they are poses, or will be after the replay; empty for displacements.
    """

    key: str = DISPLACEMENTS
    poses: str = ""

    def of(self, demo: h5py.Group, expected: str, frames: int | None = None) -> NDArray[np.float32]:
        """(T, A) of a demonstration, poses with rotations of six numbers.

        Raises:
            DataError: they are missing, damaged, of other than ``frames`` rows, or no poses of whole arms.
        """
        found = array(demo, self.key, expected, 2, frames)
        if not self.poses or self.poses == MADE:
            return found.astype(np.float32)
        if found.shape[1] % AXIS_ANGLE:
            raise DataError(
                f"{demo.file.filename}: {demo.name}/{self.key} has {found.shape[1]} numbers a row",
                f"expected {AXIS_ANGLE} of each arm: position, axis times angle, gripper",
            )
        return with_six_numbers(found)

    @property
    def said(self) -> tuple[str, ...]:
        """What the user has to know."""
        if not self.poses:
            return ()
        return (f"actions are poses of the end-effectors, their rotations in six numbers ({self.poses})",)

    @property
    def notes(self) -> dict[str, str]:
        """What the data set keeps of it."""
        return {NOTE: self.poses} if self.poses else {}

    def names(self, width: int) -> dict[str, tuple[str, ...]]:
        """Names of the ``width`` numbers of an action, by "action"; empty for displacements."""
        if not self.poses or width % SIX_NUMBERS:
            return {}
        parts = [(f"robot{arm}_{part}", size) for arm in range(width // SIX_NUMBERS) for part, size in PARTS]
        return {"action": names_of_parts([name for name, _ in parts], [size for _, size in parts])}


AS_STORED = Actions()


def actions_of(
    path: str, demos: Sequence[h5py.Group], configs: Any, wished: bool | None, here: bool, replayed: bool, expected: str
) -> Actions:
    """Which actions are taken of ``demos``, the demonstrations of a file.

    Args:
        path: the file, for messages.
        demos: its demonstrations.
        configs: ``controller_configs`` of its metadata.
        wished: whether poses are; None takes ``actions`` as they are.
        here: whether robosuite is to execute them; actions of others are looked into only where ``wished`` says so.
        replayed: whether the states are shown anew, in which poses can be made.
        expected: what such a file holds, for messages.

    Raises:
        UsageError: the file has the other kind alone.
    """
    if wished and POSES in demos[0]:
        return Actions(POSES, f"the file has {POSES}")
    if wished is None and not here:
        return AS_STORED
    if _says_poses(configs):
        if wished is False:
            raise UsageError(
                f"{path}: format.absolute is false, and by its metadata the actions are poses", "leave it out"
            )
        return Actions(poses="by the controller in its metadata")
    beyond, rows = _beyond(demos, expected)
    if wished is not False and 2 * beyond > rows:
        return Actions(poses=f"{beyond} of {rows} leave [-1, 1], which displacements do not")
    if not wished:
        return AS_STORED
    if not replayed:
        raise UsageError(
            f"{path}: format.absolute is true, and it holds displacements, of which only a replay makes poses",
            "add --set format.replay=true",
        )
    return Actions(poses=MADE)


def _says_poses(configs: Any) -> bool:
    """Whether a controller takes poses, in the words of robosuite 1.4 or of 1.5; others than objects say nothing."""
    return any(
        part.get("control_delta") is False or part.get("input_type") == "absolute" for part in _controllers(configs)
    )


def _controllers(configs: Any) -> Iterator[Mapping[str, Any]]:
    for config in configs if isinstance(configs, list) else [configs]:
        if isinstance(config, Mapping):
            yield config
            parts = config.get("body_parts")
            named = parts.values() if isinstance(parts, Mapping) else ()
            yield from (part for part in named if isinstance(part, Mapping))


def _beyond(demos: Sequence[h5py.Group], expected: str) -> tuple[int, int]:
    """How many rows of ``actions`` leave [-1, 1], and how many there are; the gripper's numbers do not count."""
    beyond = rows = 0
    for demo in demos:
        found = np.abs(array(demo, DISPLACEMENTS, expected, 2))
        arms = found[:, np.arange(found.shape[1]) % AXIS_ANGLE != AXIS_ANGLE - 1]
        beyond += int((arms > 1.0 + 1e-6).any(1).sum())
        rows += len(found)
    return beyond, rows
