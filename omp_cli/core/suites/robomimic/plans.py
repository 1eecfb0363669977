"""What the experts of robosuite's tasks do, as data: by hand, picks of phases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from omp_cli.core.suites.robomimic.phases import (
    ANYWHERE,
    Hand,
    Locate,
    Phase,
    Pick,
    Pose,
    above,
    at,
    body,
    grasp,
    held,
    raised,
    solved,
    upright,
    wrap,
)
from omp_cli.core.suites.robomimic.transport import TRANSPORT

_CUBE, _CAN, _NUT = body("cube_main", 4), upright("Can_main"), body("SquareNut_main", 4)
_NUT_HANDLE = body("SquareNut_main", 2, (0.058, 0.0, 0.0))
_PEG = (0.23, 0.1)
_CAN_BIN = (0.15, 0.36)


def _around_peg(z: float) -> Locate:
    """The nut around the square peg, turned the least, but with its handle not behind the peg (out of reach)."""

    def locate(hand: Hand) -> Pose:
        yaw = _NUT(hand).yaw
        assert yaw is not None
        quarters = round(wrap(yaw - np.pi) / (np.pi / 2.0))
        return Pose(np.array([*_PEG, z]), np.pi + float(np.clip(quarters, -1, 1)) * np.pi / 2.0)

    return locate


_LIFT = Pick(
    (
        *grasp(_CUBE),
        Phase("lift", raised(_CUBE, 0.95), closed=True, fixed=True, moved=_CUBE, limit=None, needs=held(_CUBE)),
    )
)

_PLACE_CAN = Pick(
    (
        *grasp(_CAN),
        Phase("lift", raised(_CAN, 1.0), closed=True, fixed=True, moved=_CAN, near=0.04, needs=held(_CAN)),
        Phase("carry", at(*_CAN_BIN, 1.0), closed=True, moved=_CAN, near=0.03, limit=None, needs=held(_CAN)),
        Phase("lower", at(*_CAN_BIN, 0.875), closed=True, moved=_CAN, near=0.015, needs=held(_CAN)),
        Phase("release", at(*_CAN_BIN, 0.875), closed=False, **ANYWHERE, steps=4),
        Phase("retreat", at(*_CAN_BIN, 1.0), closed=False, limit=None, needs=solved, grace=20),
    )
)

_ON_PEG: Mapping[str, Any] = {"closed": True, "moved": _NUT, "needs": held(_NUT_HANDLE)}
_PLACE_NUT = Pick(
    (
        *grasp(_NUT_HANDLE),
        Phase("lift", raised(_NUT, 0.985), fixed=True, near=0.03, **_ON_PEG),
        Phase("carry", _around_peg(0.985), near=0.005, steps=2, limit=80, **_ON_PEG),
        Phase("lower", _around_peg(0.855), near=0.01, **_ON_PEG),
        Phase("release", raised(_NUT_HANDLE, 0.86), closed=False, **ANYWHERE, steps=4),
        Phase("retreat", above(_NUT_HANDLE, 0.1), closed=False, limit=None, needs=solved, grace=20),
    )
)

PLANS: Mapping[str, tuple[tuple[Pick, ...], ...]] = {
    "lift": ((_LIFT,),),
    "can": ((_PLACE_CAN,),),
    "square": ((_PLACE_NUT,),),
    "transport": TRANSPORT,
}
"""By task: what each hand does."""
