"""The bounds that an environment sets to actions: what they change of a policy's actions is counted and said.

Legend: A action dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from omp_cli.core.deploy.frames import Signature

FAR = 0.1
"""Share of the range of a policy's actions that may lie beyond a bound without a word."""
SLACK = 1e-6
"""What arithmetic misses a bound by, as a share of the width of the bounds: no number is counted for it."""


class Clipping:
    """Clips actions to the bounds of an environment's space, and keeps count of it.

    Args:
        space: of actions (A,) of real numbers.
        signature: signature of the policy: names, unit and range of its actions.
        note: called with one line: now, where the policy's range is far beyond the bounds, and when the first number
            is clipped.
    """

    def __init__(self, space: gymnasium.spaces.Box, signature: Signature, note: Callable[[str], None]) -> None:
        self._space, self._note = space, note
        self._names = signature.action_names or tuple(f"action[{n}]" for n in range(signature.action_dim))
        self._unit = f" {signature.action_unit}" if signature.action_unit else ""
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        with np.errstate(over="ignore"):
            width = self._high - self._low
        self._slack = SLACK * np.where(np.isfinite(width), width, 1.0)
        self._numbers, self._clipped = 0, 0
        if signature.action_range is not None:
            self._compare(*map(np.array, signature.action_range))

    def __call__(self, action: NDArray[np.float32]) -> tuple[NDArray[Any], bool]:
        """An action (A,) as the space takes it, and whether a number of it was clipped."""
        sent = np.clip(action, self._space.low, self._space.high).astype(self._space.dtype)
        beyond = np.flatnonzero(self._beyond(action, action))
        if len(beyond) and not self._clipped:
            first = beyond[0]
            self._note(
                f"environment: {self._names[first]} = {action[first]:.4g}{self._unit} of the policy is clipped "
                f"to the bound {sent[first]:.4g}; clipped_numbers counts all that is clipped"
            )
        self._numbers, self._clipped = self._numbers + action.size, self._clipped + len(beyond)
        return sent, bool(len(beyond))

    def figures(self) -> dict[str, Any]:
        """How many numbers of the actions so far were clipped, and which share of them; empty before the first."""
        if not self._numbers:
            return {}
        return {"clipped_numbers": self._clipped, "clipped_share": round(self._clipped / self._numbers, 6)}

    def _compare(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
        """Say where actions from ``low`` to ``high``, each (A,), are far beyond the bounds."""
        far = np.flatnonzero(self._beyond(low, high, FAR * (high - low)))
        if not len(far):
            return
        first = far[0]
        more = f" (and {len(far) - 1} more)" if len(far) > 1 else ""
        self._note(
            f"environment: the bounds of {self._names[first]} are {self._low[first]:.4g} to {self._high[first]:.4g}, "
            f"the policy's actions go from {low[first]:.4g} to {high[first]:.4g}{self._unit}{more}: what is beyond is "
            "clipped, so look whether both are in one unit"
        )

    def _beyond(self, low: NDArray[Any], high: NDArray[Any], may: NDArray[Any] | float = 0.0) -> NDArray[np.bool_]:
        """Where numbers from ``low`` to ``high`` are beyond a bound by more than they ``may``, (A,)."""
        far: NDArray[np.bool_] = (low < self._low - self._slack - may) | (high > self._high + self._slack + may)
        return far
