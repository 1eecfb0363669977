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
    def ahead(self) -> NDArray[np.float64]:
        """(2,): horizontal unit vector in which the robot looks."""
        return np.array([np.cos(self._home), np.sin(self._home)])

    @property
    def speed(self) -> float:
        """Of that point, metres per second."""
        data = self.env.sim.data
        return float(np.linalg.norm(data.get_site_xvelp(self.env.sim.model.site_id2name(self._site))))

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

    def rotation_towards(self, turn: float, lean: float = 0.0) -> NDArray[np.float64]:
        """Rotation vector (3,) that turns the hand about the vertical and points it down, or forward by ``lean``."""
        from scipy.spatial.transform import Rotation

        yaw = self.yaw + turn
        across, front = np.array([-np.sin(yaw), np.cos(yaw), 0.0]), np.array([np.cos(yaw), np.sin(yaw), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        reach, rise = np.sin(lean) * front - np.cos(lean) * up, np.cos(lean) * front + np.sin(lean) * up
        wanted = np.stack([across, rise, reach], axis=1)
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
        until: what else has to hold at the target, such as something that the other hand does.
        lean: radians by which the hand points forward of straight down.
        pace: share of the operator's speed.
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
    until: Check | None = None
    lean: float = 0.0
    pace: float = 1.0


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


def rod(name: str) -> Locate:
    """The middle of a long body, with the direction of its z axis, either way round."""

    def locate(hand: Hand) -> Pose:
        data, index = hand.env.sim.data, hand.env.sim.model.body_name2id(name)
        axis = np.array(data.body_xmat[index]).reshape(3, 3)[:, 2]
        return Pose(np.array(data.body_xpos[index]), float(np.arctan2(axis[1], axis[0])), 2)

    return locate


def near_end(name: str, reach: float) -> Locate:
    """The point of a long body ``reach`` metres from its middle on the hand's own side."""

    def locate(hand: Hand) -> Pose:
        data, index = hand.env.sim.data, hand.env.sim.model.body_name2id(name)
        axis = np.array(data.body_xmat[index]).reshape(3, 3)[:, 2]
        side = -np.sign(axis[:2] @ hand.ahead)
        return Pose(np.array(data.body_xpos[index]) + side * reach * axis, float(np.arctan2(axis[1], axis[0])), 2)

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


def anyway(thing: Locate) -> Locate:
    """The place of a thing, in whatever direction."""
    return lambda hand: replace(thing(hand), yaw=None)


def turned(thing: Locate, angle: float) -> Locate:
    """The pose of a thing, turned by ``angle`` radians."""

    def locate(hand: Hand) -> Pose:
        pose = thing(hand)
        return replace(pose, yaw=None if pose.yaw is None else pose.yaw + angle)

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


def gripped(robot: int, geoms: tuple[str, ...]) -> Check:
    """Both fingers of a robot touch the thing."""
    return lambda hand: bool(hand.env._check_grasp(hand.env.robots[robot].gripper, list(geoms)))


def _offered(hand: Hand) -> bool:
    """The hammer is held where the hands meet, or has come to lie in the target bin."""
    hammer = _HAMMER(hand).position
    met = np.linalg.norm(hammer - _MEET(hand).position) < 0.04
    return bool(met or np.linalg.norm(hammer - _TARGET_BIN(hand).position) < 0.2)


def _lid_off(hand: Hand) -> bool:
    """The lid lies on the table."""
    return bool(_LID(hand).position[2] < 0.85)


def _trash_away(hand: Hand) -> bool:
    """The trash is where it belongs."""
    return bool(hand.env.transport.trash_in_trash_bin)


def _let_go(hand: Hand) -> bool:
    """The other hand has opened and gone."""
    gap = Hand(hand.env, 0).position - _HAMMER(hand).position
    return bool(np.linalg.norm(gap) > 0.12)


def here(hand: Hand) -> Pose:
    """Where the hand is."""
    return Pose(hand.position)


def still(hand: Hand) -> bool:
    """The hand has come to rest."""
    return hand.speed < 0.03


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

_LID = turned(body("transport_start_bin_lid_root", 2, (0.0, 0.0, 0.01)), np.pi / 2.0)
_TRASH = body("trash_main", 4)
_TRASH_BIN, _TARGET_BIN = anyway(body("transport_trash_bin_root", 1)), body("transport_target_bin_root", 2)
_ALONG_TARGET_BIN = turned(_TARGET_BIN, np.pi / 2.0)
_HAMMER = rod("payload_root")
_HAMMER_END, _FREE_END = near_end("payload_root", 0.05), near_end("payload_root", 0.075)
_GEOMS = ("payload_handle", "payload_head", "payload_neck", "payload_face", "payload_claw")
_ALONG_Y = np.pi / 2.0
_MEET = at(0.0, -0.03, 1.05, _ALONG_Y, 2)

def settled(thing: Locate) -> tuple[Phase, ...]:
    """A grasp that waits for the hand to come to rest: deep in a bin the elbow still swings and takes the hand along."""
    hover, descend, close = grasp(thing)
    return (hover, replace(descend, steps=1, limit=60, until=still), close)


_LID_ON_TABLE: Mapping[str, Any] = {"closed": True, "moved": _LID, "needs": held(_LID)}

_OPEN_BIN = Pick(
    (
        *grasp(_LID),
        Phase("lift", raised(_LID, 1.05), fixed=True, near=0.03, **_LID_ON_TABLE),
        Phase("carry", at(-0.2, -0.45, 1.0, _ALONG_Y, 2), near=0.05, limit=80, **_LID_ON_TABLE),
        Phase("lower", at(-0.2, -0.45, 0.835, _ALONG_Y, 2), near=0.015, limit=60, until=still, **_LID_ON_TABLE),
        Phase("release", here, closed=False, fixed=True, **_ANYWHERE, steps=8),
        Phase("retreat", raised(here, 1.0), closed=False, fixed=True, near=0.03, limit=None, needs=_lid_off, grace=20),
    )
)

_OFFER: Mapping[str, Any] = {"closed": True, "moved": _HAMMER, "needs": held(_HAMMER_END)}
_HAND_OVER = Pick(
    (
        *settled(_HAMMER_END),
        Phase("lift", raised(_HAMMER, 1.03), fixed=True, near=0.04, pace=0.5, **_OFFER),
        Phase("offer", _MEET, near=0.03, turn_near=0.1, limit=None, until=gripped(1, _GEOMS), steps=6, **_OFFER),
        Phase("release", here, closed=False, fixed=True, **_ANYWHERE, steps=8),
        Phase("retreat", at(0.0, -0.3, 1.2), closed=False, limit=None),
    )
)

_IN_HAND: Mapping[str, Any] = {"closed": True, "moved": _TRASH, "needs": held(_TRASH)}
_CLEAR_TRASH = Pick(
    (
        *settled(_TRASH),
        Phase("lift", raised(_TRASH, 1.02), fixed=True, near=0.04, **_IN_HAND),
        Phase("carry", above(_TRASH_BIN, 0.14), near=0.03, limit=80, **_IN_HAND),
        Phase("lower", above(_TRASH_BIN, 0.0), near=0.02, **_IN_HAND),
        Phase("release", here, closed=False, fixed=True, **_ANYWHERE, steps=5),
        Phase("retreat", raised(here, 1.05), closed=False, fixed=True, near=0.05, limit=None, needs=_trash_away, grace=20),
    )
)

_LEAN = 0.3
_TAKEN: Mapping[str, Any] = {"closed": True, "needs": held(_FREE_END)}
_RECEIVE = Pick(
    (
        Phase("wait", at(0.0, 0.25, 1.2), closed=False, near=0.05, limit=None, until=_offered, lean=_LEAN),
        *(replace(phase, lean=_LEAN) for phase in settled(_FREE_END)),
        Phase("take", here, fixed=True, **_ANYWHERE, limit=None, until=_let_go, lean=_LEAN, **_TAKEN),
        Phase("lift", raised(_HAMMER, 1.07), fixed=True, moved=_HAMMER, near=0.04, lean=_LEAN, **_TAKEN),
        Phase("carry", above(_ALONG_TARGET_BIN, 0.17), moved=_HAMMER, near=0.02, limit=100, **_TAKEN),
        Phase("lower", above(_ALONG_TARGET_BIN, 0.02), moved=_HAMMER, near=0.02, **_TAKEN),
        Phase("release", here, closed=False, fixed=True, **_ANYWHERE, steps=5),
        Phase("retreat", raised(here, 1.05), closed=False, fixed=True, limit=None, needs=solved, grace=20),
    )
)

PLANS: Mapping[str, tuple[tuple[Pick, ...], ...]] = {
    "lift": ((_LIFT,),),
    "can": ((_PLACE_CAN,),),
    "square": ((_PLACE_NUT,),),
    "transport": ((_OPEN_BIN, _HAND_OVER), (_CLEAR_TRASH, _RECEIVE)),
}
"""By task: what each hand does."""
