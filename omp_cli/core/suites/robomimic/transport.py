"""The plan for transport: one hand opens the bin and offers the hammer, the other clears the trash and takes it.

The hands meet between the tables, near the end of their reach. The taker leans forward there, without which its elbow
stretches to its stop and stays; the giver takes the hammer nearer its middle, so that the head clears the bin's wall.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from omp_cli.core.suites.robomimic.phases import (
    ANYWHERE,
    Check,
    Hand,
    Phase,
    Pick,
    above,
    at,
    body,
    grasp,
    held,
    here,
    own_end,
    raised,
    rested,
    solved,
    undirected,
)

_GIVER, _TAKER = 0, 1
_LEAN = 0.3
"""Radians."""
_ALONG_Y = np.pi / 2.0

_LID = body("transport_start_bin_lid_root", 2, (0.0, 0.0, 0.01), axis=1)
_TRASH, _TRASH_BIN = body("trash_main", 4), undirected(body("transport_trash_bin_root", 4))
# the handle reaches 0.1 m from the body's origin, the head 0.032 m further, so the middle of both is beside the origin
_HAMMER, _TARGET_BIN = body("payload_root", 2, (0.0, 0.0, 0.016), axis=2), body("transport_target_bin_root", 2, axis=1)
_GIVEN_BY, _TAKEN_BY = own_end("payload_root", 0.05), own_end("payload_root", 0.075)
_MEETING = at(0.0, -0.03, 1.05, _ALONG_Y, 2)


def _retreat(z: float, done: Check, near: float) -> Phase:
    """Straight up, and on only when ``done``; what hangs on to the hand is put down again."""
    return Phase(
        "retreat", raised(here, z), closed=False, fixed=True, near=near, limit=None, needs=done, grace=20, until=done
    )


def _lid_off(hand: Hand) -> bool:
    """The lid lies on the table."""
    return bool(_LID(hand).position[2] < 0.85)


def _trash_away(hand: Hand) -> bool:
    """The trash lies in its bin."""
    return bool(hand.env.transport.trash_in_trash_bin)


def _taken(hand: Hand) -> bool:
    """Both fingers of the taker touch the hammer."""
    return bool(hand.env._check_grasp(hand.env.robots[_TAKER].gripper, hand.env.transport.payload))


def _offered(hand: Hand) -> bool:
    """The hammer is where the hands meet, or has fallen into the target bin and may have to be taken up again."""
    hammer = _HAMMER(hand).position
    met = np.linalg.norm(hammer - _MEETING(hand).position) < 0.04
    return bool(met or np.linalg.norm(hammer - _TARGET_BIN(hand).position) < 0.2)


def _let_go(hand: Hand) -> bool:
    """The giver has opened its hand and is out of the way."""
    return bool(np.linalg.norm(Hand(hand.env, _GIVER).position - _HAMMER(hand).position) > 0.12)


_LID_SPOT = (-0.16, -0.45)
_WITH_LID: Mapping[str, Any] = {"closed": True, "moved": _LID, "needs": held(_LID)}
_OPEN_BIN = Pick(
    (
        *grasp(_LID),
        Phase("lift", raised(_LID, 1.05), fixed=True, near=0.03, **_WITH_LID),
        Phase("carry", at(*_LID_SPOT, 1.0, _ALONG_Y, 2), near=0.05, limit=80, **_WITH_LID),
        Phase("lower", at(*_LID_SPOT, 0.835, _ALONG_Y, 2), near=0.015, turn_near=0.15, rest=0.03, **_WITH_LID),
        Phase("release", here, closed=False, fixed=True, **ANYWHERE, steps=8),
        _retreat(1.0, _lid_off, near=0.03),
    )
)

_GIVING: Mapping[str, Any] = {"closed": True, "moved": _HAMMER, "needs": held(_GIVEN_BY)}
_GIVE = Pick(
    (
        *rested(_GIVEN_BY),
        Phase("lift", raised(_HAMMER, 1.03), fixed=True, near=0.04, pace=0.5, **_GIVING),
        Phase("offer", _MEETING, near=0.03, turn_near=0.15, limit=None, until=_taken, steps=6, **_GIVING),
        Phase("release", here, closed=False, fixed=True, **ANYWHERE, steps=8),
        Phase("retreat", at(0.0, -0.3, 1.2), closed=False, limit=None),
    )
)

_WITH_TRASH: Mapping[str, Any] = {"closed": True, "moved": _TRASH, "needs": held(_TRASH)}
_CLEAR_BIN = Pick(
    (
        *rested(_TRASH),
        Phase("lift", raised(_TRASH, 1.02), fixed=True, near=0.04, **_WITH_TRASH),
        Phase("carry", above(_TRASH_BIN, 0.14), near=0.03, limit=80, **_WITH_TRASH),
        Phase("lower", _TRASH_BIN, near=0.02, **_WITH_TRASH),
        Phase("release", here, closed=False, fixed=True, **ANYWHERE, steps=5),
        _retreat(1.05, _trash_away, near=0.05),
    )
)

_TAKING: Mapping[str, Any] = {"closed": True, "needs": held(_TAKEN_BY)}
_TAKE = Pick(
    (
        Phase("wait", at(0.0, 0.08, 1.2), closed=False, near=0.05, limit=None, until=_offered, lean=_LEAN),
        *(replace(phase, lean=_LEAN) for phase in rested(_TAKEN_BY)),
        Phase("take", here, fixed=True, **ANYWHERE, limit=None, until=_let_go, lean=_LEAN, **_TAKING),
        Phase("lift", raised(_HAMMER, 1.07), fixed=True, moved=_HAMMER, near=0.04, lean=_LEAN, **_TAKING),
        Phase("carry", above(_TARGET_BIN, 0.17), moved=_HAMMER, near=0.02, turn_near=0.15, limit=100, **_TAKING),
        Phase("lower", above(_TARGET_BIN, 0.02), moved=_HAMMER, near=0.02, turn_near=0.15, **_TAKING),
        Phase("release", here, closed=False, fixed=True, **ANYWHERE, steps=5),
        _retreat(1.05, solved, near=0.01),
    )
)

TRANSPORT = ((_OPEN_BIN, _GIVE), (_CLEAR_BIN, _TAKE))
"""What each hand does."""
