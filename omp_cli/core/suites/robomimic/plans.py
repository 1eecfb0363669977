"""What the experts of robosuite's tasks do, as data: picks of phases, each with a target and a condition to go on.

Positions are in metres in the world's frame; a yaw is the direction that a hand's front points to, about the vertical
(0: along x). A hand grasps from above and its fingers close across its front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SLIP = 0.035
"""A thing whose grasp point is farther than this from the grip is not held; metres."""


def wrap(angle: float, fold: int = 1) -> float:
    """The angle in radians modulo a ``fold``-th of a turn, nearest to 0."""
    period = 2.0 * np.pi / fold
    return float((angle + period / 2.0) % period - period / 2.0)


@dataclass(frozen=True)
class Pose:
    """Place and direction.

    Attributes:
        position: (3,).
        yaw: radians; None where any will do.
        fold: how many directions within a turn are as good as ``yaw``.
    """

    position: NDArray[np.float64]
    yaw: float | None = None
    fold: int = 1


class Hand:
    """What one robot's hand sees and where it is.

    Args:
        env: robosuite environment.
        robot: index of the robot.
    """

    def __init__(self, env: Any, robot: int) -> None:
        self.env = env
        self._site = env.robots[robot].eef_site_id
        data, base = env.sim.data, env.sim.model.body_name2id(f"robot{robot}_base")
        rotation = np.array(data.body_xmat[base]).reshape(3, 3)
        self._home = float(np.arctan2(rotation[1, 0], rotation[0, 0]))

    @property
    def position(self) -> NDArray[np.float64]:
        """(3,) of the point between the finger tips."""
        return np.array(self.env.sim.data.site_xpos[self._site])

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3): the fingers open along the first axis, the second is the front, the third points out of the hand."""
        return np.array(self.env.sim.data.site_xmat[self._site]).reshape(3, 3)

    @property
    def yaw(self) -> float:
        """Direction of the front, radians."""
        return float(np.arctan2(*self.rotation[[1, 0], 1]))

    def turn_to(self, target: Pose) -> float:
        """Turn in radians to the one of the target's directions that lies best between here and straight ahead."""
        if target.yaw is None:
            return wrap(self._home - self.yaw)
        half = wrap(self.yaw - self._home) / 2.0
        return wrap(target.yaw - self._home - half, target.fold) - half

    def rotation_towards(self, turn: float) -> NDArray[np.float64]:
        """Rotation vector (3,) that turns the hand about the vertical and sets it upright, pointing down."""
        from scipy.spatial.transform import Rotation

        yaw = self.yaw + turn
        across, front = np.array([-np.sin(yaw), np.cos(yaw), 0.0]), np.array([np.cos(yaw), np.sin(yaw), 0.0])
        wanted = np.stack([across, front, [0.0, 0.0, -1.0]], axis=1)
        return Rotation.from_matrix(wanted @ self.rotation.T).as_rotvec()


Locate = Callable[[Hand], Pose]
Check = Callable[[Hand], bool]


@dataclass(frozen=True)
class Phase:
    """A stretch of motion.

    Attributes:
        name: what messages call it.
        target: where the hand moves.
        closed: fingers.
        moved: the thing that is to get to the target; None means the hand itself.
        fixed: the target is where it was when the phase began, though the thing may move with the hand.
        aimed: the operator's wrong aim applies.
        near: metres from the target that count as arrived.
        turn_near: radians from its direction that do.
        steps: control steps to stay there.
        limit: control steps at full speed after which it goes on anyway; None waits for ever.
        needs: what has to hold throughout; without it the pick starts over.
        grace: control steps that ``needs`` may be false, besides a few.
    """

    name: str
    target: Locate
    closed: bool
    moved: Locate | None = None
    fixed: bool = False
    aimed: bool = False
    near: float = 0.01
    turn_near: float = 0.05
    steps: int = 0
    limit: int | None = 40
    needs: Check | None = None
    grace: int = 0


@dataclass(frozen=True)
class Pick:
    """Phases from an empty hand to an empty hand (or to the end)."""

    phases: tuple[Phase, ...]


def body(name: str, fold: int, point: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Locate:
    """A body's ``point`` (metres in its own frame), with the direction of its x axis."""

    def locate(hand: Hand) -> Pose:
        data, index = hand.env.sim.data, hand.env.sim.model.body_name2id(name)
        rotation = np.array(data.body_xmat[index]).reshape(3, 3)
        position = np.array(data.body_xpos[index]) + rotation @ np.array(point)
        return Pose(position, float(np.arctan2(rotation[1, 0], rotation[0, 0])), fold)

    return locate


def upright(name: str) -> Locate:
    """A round body: any direction will do while it stands; when it lies, the direction of its axis."""

    def locate(hand: Hand) -> Pose:
        data, index = hand.env.sim.data, hand.env.sim.model.body_name2id(name)
        axis = np.array(data.body_xmat[index]).reshape(3, 3)[:, 2]
        position = np.array(data.body_xpos[index])
        if abs(axis[2]) > 0.7:
            return Pose(position)
        return Pose(position, float(np.arctan2(axis[1], axis[0])), 2)

    return locate


def above(thing: Locate, height: float) -> Locate:
    """The pose ``height`` metres above a thing."""

    def locate(hand: Hand) -> Pose:
        pose = thing(hand)
        return replace(pose, position=pose.position + np.array([0.0, 0.0, height]))

    return locate


def raised(thing: Locate, z: float) -> Locate:
    """The hand's present place, but at height ``z`` and in whatever direction."""

    def locate(hand: Hand) -> Pose:
        return Pose(np.append(thing(hand).position[:2], z))

    return locate


def at(x: float, y: float, z: float, yaw: float | None = None, fold: int = 1) -> Locate:
    """A place in the world."""
    return lambda hand: Pose(np.array([x, y, z]), yaw, fold)


def _around_peg(z: float) -> Locate:
    """The nut around the square peg, turned the least, but with its handle not behind the peg (out of reach)."""

    def locate(hand: Hand) -> Pose:
        yaw = _NUT(hand).yaw
        assert yaw is not None
        quarters = round(wrap(yaw - np.pi) / (np.pi / 2.0))
        return Pose(np.array([*_PEG, z]), np.pi + float(np.clip(quarters, -1, 1)) * np.pi / 2.0)

    return locate


def held(thing: Locate) -> Check:
    """The hand has it."""
    return lambda hand: bool(np.linalg.norm(thing(hand).position - hand.position) < _SLIP)


def solved(hand: Hand) -> bool:
    """The environment says success."""
    return bool(hand.env._check_success())


_ANYWHERE: Mapping[str, Any] = {"near": np.inf, "turn_near": np.inf}


def grasp(thing: Locate) -> tuple[Phase, ...]:
    """Open, over it, down to it, fingers shut."""
    return (
        Phase("hover", above(thing, 0.1), closed=False, aimed=True, near=0.02),
        Phase("descend", thing, closed=False, aimed=True, near=0.008, limit=20),
        Phase("close", thing, closed=True, fixed=True, aimed=True, **_ANYWHERE, steps=8),
    )


_CUBE, _CAN, _NUT = body("cube_main", 4), upright("Can_main"), body("SquareNut_main", 4)
_NUT_HANDLE = body("SquareNut_main", 2, (0.058, 0.0, 0.0))
_PEG = (0.23, 0.1)
_CAN_BIN = (0.15, 0.36)

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
        Phase("release", at(*_CAN_BIN, 0.875), closed=False, **_ANYWHERE, steps=4),
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
        Phase("release", raised(_NUT_HANDLE, 0.86), closed=False, **_ANYWHERE, steps=4),
        Phase("retreat", above(_NUT_HANDLE, 0.1), closed=False, limit=None, needs=solved, grace=20),
    )
)

PLANS: Mapping[str, tuple[tuple[Pick, ...], ...]] = {
    "lift": ((_LIFT,),),
    "can": ((_PLACE_CAN,),),
    "square": ((_PLACE_NUT,),),
}
"""By task: what each hand does."""
