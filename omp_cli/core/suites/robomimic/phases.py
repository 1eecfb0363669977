"""What the plans of robosuite's experts are made of: phases, each with a target and a condition to go on.

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
        """How fast that point moves, metres per second."""
        sim = self.env.sim
        return float(np.linalg.norm(sim.data.get_site_xvelp(sim.model.site_id2name(self._site))))

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
        rest: metres per second of the hand, above which it has not arrived.
        until: what else has to hold at the target, such as something that the other hand does.
        lean: radians by which the hand points forward of straight down.
        pace: speed that it does not exceed, as a share of the controller's.
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
    rest: float = np.inf
    until: Check | None = None
    lean: float = 0.0
    pace: float = 1.0


@dataclass(frozen=True)
class Pick:
    """Phases from an empty hand to an empty hand (or to the end)."""

    phases: tuple[Phase, ...]


def body(name: str, fold: int, point: tuple[float, float, float] = (0.0, 0.0, 0.0), axis: int = 0) -> Locate:
    """A body's ``point`` (metres in its own frame), with the direction of its x axis, or of another (1: y, 2: z)."""

    def locate(hand: Hand) -> Pose:
        data, index = hand.env.sim.data, hand.env.sim.model.body_name2id(name)
        rotation = np.array(data.body_xmat[index]).reshape(3, 3)
        position = np.array(data.body_xpos[index]) + rotation @ np.array(point)
        return Pose(position, float(np.arctan2(*rotation[[1, 0], axis])), fold)

    return locate


def own_end(name: str, reach: float) -> Locate:
    """Of a body that is long in z, the point ``reach`` metres from its middle on the side where the robot stands."""
    ends = [body(name, 2, (0.0, 0.0, way * reach), axis=2) for way in (-1.0, 1.0)]
    return lambda hand: min((end(hand) for end in ends), key=lambda pose: float(pose.position[:2] @ hand.ahead))


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


def undirected(thing: Locate) -> Locate:
    """The place of a thing, in whatever direction."""
    return lambda hand: replace(thing(hand), yaw=None)


def raised(thing: Locate, z: float) -> Locate:
    """The hand's present place, but at height ``z`` and in whatever direction."""

    def locate(hand: Hand) -> Pose:
        return Pose(np.append(thing(hand).position[:2], z))

    return locate


def at(x: float, y: float, z: float, yaw: float | None = None, fold: int = 1) -> Locate:
    """A place in the world."""
    return lambda hand: Pose(np.array([x, y, z]), yaw, fold)


def here(hand: Hand) -> Pose:
    """Where the hand is."""
    return Pose(hand.position)


def held(thing: Locate) -> Check:
    """The hand has it."""
    return lambda hand: bool(np.linalg.norm(thing(hand).position - hand.position) < _SLIP)


def solved(hand: Hand) -> bool:
    """The environment says success."""
    return bool(hand.env._check_success())


ANYWHERE: Mapping[str, Any] = {"near": np.inf, "turn_near": np.inf}
"""Settings of a phase that lasts its steps, wherever the hand is."""


def grasp(thing: Locate) -> tuple[Phase, ...]:
    """Open, over it, down to it, fingers shut."""
    return (
        Phase("hover", above(thing, 0.1), closed=False, aimed=True, near=0.02),
        Phase("descend", thing, closed=False, aimed=True, near=0.008, limit=20),
        Phase("close", thing, closed=True, fixed=True, aimed=True, **ANYWHERE, steps=8),
    )


def rested(thing: Locate) -> tuple[Phase, ...]:
    """A grasp deep in a bin, near the robot's base: slow, and only when the hand rests.

    On the way down the elbow swings aside and takes the hand along. A fast descent can swing it so far that it does not
    come back, and the arm then reaches the stop of a joint on its way out.
    """
    hover, descend, close = grasp(thing)
    return hover, replace(descend, steps=1, limit=40, rest=0.03, pace=0.5), close
