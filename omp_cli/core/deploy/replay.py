"""A recording in the place of a robot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.store import Dataset
from omp_cli.core.deploy.frames import Signature
from omp_cli.core.deploy.robots import ANOTHER_RATE, Frame
from omp_cli.core.rotations import mean_of, nearest


class Replay:
    """A data set in the place of a robot: shows recorded frames whatever the policy does, and keeps both actions.

    Args:
        data: the recording.
        signature: signature of the policy; DataError when the recorded actions are of another size, UsageError when
            they are in another unit.
        note: called with one line where the recorded actions have other names than the policy's, or another rate.

    Attributes:
        errors: predicted minus recorded action of every frame so far, each (A,).
    """

    corrected = False
    waits = False

    def __init__(self, data: Dataset, signature: Signature, note: Callable[[str], None]) -> None:
        self._data, self._episode, self._frame = data, -1, 0
        missing = [name for name in signature.arrays if name not in data.arrays]
        if missing:
            raise DataError(f"data set {data.path}: has no {missing[0]}, which the policy reads", "take its own data")
        found = data.arrays["action"].shape[1]
        if found != signature.action_dim:
            raise DataError(f"data set {data.path}: {found} numbers per action, the policy has {signature.action_dim}")
        if abs((hz := data.spec.control_hz) / signature.control_hz - 1) > ANOTHER_RATE:
            note(
                f"data set {data.path}: its actions are {hz:g} a second, the policy's {signature.control_hz:g}, so the "
                "errors compare actions of other durations"
            )
        names, unit, rotations = signature.action_names, signature.action_unit, signature.action_rotations
        data.spec.same_actions(names, unit, rotations, f"data set {data.path}", note)
        if "img" in signature.arrays:
            data.spec.same_cameras(signature.cameras, f"data set {data.path}", note)
        self._keys = tuple(signature.arrays)
        self._rotations = data.spec.action_rotations or signature.action_rotations
        self._ends = data.episode_ends
        self.errors: list[NDArray[np.float64]] = []

    @property
    def episodes(self) -> int:
        """The number of recorded episodes."""
        return len(self._ends)

    def reset(self, start: int, seed: int | None = None) -> None:
        """Go to the first frame of an episode; nothing is drawn."""
        self._episode = start
        self._frame = 0 if start == 0 else int(self._ends[start - 1])

    def ready(self) -> bool:
        """Whether the episode may begin: always."""
        return True

    def observe(self) -> Frame:
        """The frame that is due."""
        return {name: self._data.arrays[name][self._frame] for name in self._keys}

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compare with the recorded action, and go to the next frame; the action."""
        recorded = self._data.arrays["action"][self._frame].astype(np.float64)
        self.errors.append(nearest(action.astype(np.float64), recorded, self._rotations) - recorded)
        self._frame += 1
        return action

    def done(self) -> bool:
        """Whether the episode has no more frames."""
        return self._frame >= int(self._ends[self._episode])

    def pause(self) -> None:
        """Does nothing: nothing moves."""

    def succeeded(self) -> bool | None:
        """None: whatever the policy said, the recording went on as it did."""
        return None

    def figures(self) -> dict[str, Any]:
        """Mean absolute error (A,) by the actions' names and in their unit, and the spread of the recorded actions.

        ``spread`` is their standard deviation in the whole data set; ``relative`` the mean of error / spread over the
        dimensions that vary.
        """
        if not self.errors:
            return {}
        error = np.abs(self.errors).mean(0)
        actions = self._data.whole("action").astype(np.float64)
        spread = nearest(actions, mean_of(actions, self._rotations), self._rotations).std(0)
        varies = spread > 1e-6
        relative = float((error[varies] / spread[varies]).mean()) if varies.any() else None
        return {
            "frames": len(self.errors),
            "names": list(self._data.spec.action_names),
            "unit": self._data.spec.action_unit,
            "error": [float(f"{x:.6g}") for x in error],
            "spread": [float(f"{x:.6g}") for x in spread],
            "relative": None if relative is None else round(relative, 4),
        }
