"""What a task lets a policy see and do: the contract between suites, data sets and networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from omp_cli.core.base.config import Above0, Cosine, Count, CountOrZero, Number, Settings
from omp_cli.core.base.errors import UsageError


class Channels(Settings):
    """What the numbers of a vector are, dimension by dimension, in the units of the data that a policy learned from."""

    names: tuple[str, ...]
    """As the data's own files call them ("left_shoulder_pan"), or the array and the place in it ("state[3]")."""
    unit: str = ""
    """As the one who prepared the data has said it ("rad"); "" where nobody has."""
    low: tuple[float, ...]
    """Smallest value in the data."""
    high: tuple[float, ...]
    """Largest value in the data."""


class Quaternion(Settings):
    """Four numbers of a state that are a unit quaternion q, whose sign means nothing: -q is the same rotation."""

    first: CountOrZero
    """Place of the first one in the state."""
    side: tuple[Cosine, Cosine, Cosine, Cosine]
    """What of q and -q a policy sees: the one whose product with this unit vector is positive."""


RotationKind = Literal["axis-angle", "euler", "quaternion", "quaternion-wxyz", "angle"]
_NUMBERS: dict[RotationKind, int] = {"axis-angle": 3, "euler": 3, "quaternion": 4, "quaternion-wxyz": 4, "angle": 1}


class Rotation(Settings):
    """Numbers of a state or an action that are a rotation, or the angle of a joint that turns on.

    Each of these ways of writing one down has values that are far apart and mean the same: pi and -pi, q and -q. A
    policy sees and learns it in numbers that jump nowhere (``core.rotations``), and gives it out as the data have it.
    """

    first: CountOrZero
    """Place of its first number."""
    kind: RotationKind
    """An axis times its angle; Euler's angles about the fixed axes x, y and z, in this order; a unit quaternion, with w
    last or first; or one angle. The order of a quaternion counts only where something is relative to it.
    """
    degrees: bool = False
    """Whether angles are in degrees; radians otherwise."""
    near: tuple[Number, ...] = ()
    """Which of the values that mean the same are given out: angles within half a turn of these, of 0 where there are
    none, a quaternion on the side of this one, the axis times its angle that lies nearest to this one, where there is
    none the shortest.
    """

    @model_validator(mode="after")
    def _near_fits(self) -> Rotation:
        if len(self.near) not in (0, self.numbers):
            raise ValueError(f"near: {len(self.near)} numbers, {self.kind} has {self.numbers}")
        return self

    def __str__(self) -> str:
        return f"{self.first}:{self.kind}{':degrees' if self.degrees else ''}"

    __repr__ = __str__

    @property
    def numbers(self) -> int:
        """How many numbers it has in the data."""
        return _NUMBERS[self.kind]

    @property
    def is_quaternion(self) -> bool:
        """Whether it has no unit, and a sign that means nothing."""
        return self.numbers == 4

    @property
    def learned(self) -> int:
        """How many it has as a policy sees and learns it."""
        return 2 if self.kind == "angle" else 6

    @property
    def places(self) -> range:
        """Places of its numbers in the data."""
        return range(self.first, self.first + self.numbers)

    @property
    def turn(self) -> float:
        """A whole turn in its unit."""
        return 360.0 if self.degrees else 2 * math.pi

    @property
    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Smallest and largest value of each of its numbers."""
        if self.is_quaternion:
            return (-1.0,) * 4, (1.0,) * 4
        if self.kind == "axis-angle":
            longest = self.turn if self.near else self.turn / 2
            return (-longest,) * 3, (longest,) * 3
        near, half = self.near or (0.0,) * self.numbers, self.turn / 2
        return tuple(x - half for x in near), tuple(x + half for x in near)


class Relative(Settings):
    """Part of an action, or of a state, that counts from what the newest observation shows of the robot."""

    first: CountOrZero
    """Place of its first number in the action, or in the state."""
    base: CountOrZero
    """Place in the state of the first number that it counts from."""
    count: Count = 1
    """How many numbers it has, as the data write it."""
    rotation: Rotation | None = None
    """How the state writes the rotation that it counts from, a pose's too; None for numbers that are subtracted."""

    def __str__(self) -> str:
        return f"{self.first}+{self.count}={self.base}:{self.rotation}"

    __repr__ = __str__

    @property
    def places(self) -> range:
        """Places of its numbers."""
        return range(self.first, self.first + self.count)


def learned_dim(dim: int, rotations: Sequence[Rotation]) -> int:
    """Numbers of a vector of ``dim`` as a policy sees or learns it, of which some are rotations."""
    return dim + sum(rotation.learned - rotation.numbers for rotation in rotations)


def check_rotations(what: str, rotations: Sequence[Rotation], free: set[int]) -> None:
    """ValueError unless rotations are numbers of their own, one after the other, at places that are ``free``."""
    places = [place for rotation in rotations for place in rotation.places]
    if places != sorted(set(places)) or not free.issuperset(places):
        shown = ", ".join(map(str, rotations))
        raise ValueError(f"{what}: {shown} are not numbers of their own, one after the other, of {len(free)}")


class Spec(Settings):
    """Observation and action of one task."""

    suite: str
    """Registered name of the suite."""
    task: str
    """Task name within it."""
    action_dim: Count
    """A; actions are in [-1, 1] per dimension as the environment executes them, or as ``action_channels`` says."""
    state_dim: CountOrZero
    """S, the proprioceptive vector."""
    points: Count | None = None
    """N, points per cloud; None when the task has no cloud."""
    end_effector: tuple[CountOrZero, CountOrZero, CountOrZero] | None = None
    """Indices of the end-effector's x, y, z (metres, world frame) in the state, if there is one."""
    positions: tuple[tuple[CountOrZero, CountOrZero, CountOrZero], ...] = ()
    """Triples of the state that are positions (x, y, z in metres, world frame), where moving all of them and the cloud
    by the same amount leaves the right action as it is: actions are displacements.
    """
    displacements: tuple[tuple[CountOrZero, CountOrZero, CountOrZero], ...] = ()
    """Triples of the action that are displacements (x, y, z in one unit, world frame), where turning all ``positions``
    and the cloud about the vertical turns the right action with them; the rest of state and action must not depend on
    directions. Data made before there was this field have none.
    """
    quaternions: tuple[Quaternion, ...] = ()
    """Quaternions of the state whose sign jumped in the data. Data made before there was this field have none."""
    state_rotations: tuple[Rotation, ...] = ()
    """Rotations of the state that a policy sees in numbers that jump nowhere, in the order of their places."""
    action_rotations: tuple[Rotation, ...] = ()
    """Rotations of the action that a policy learns in such numbers, and gives out as the data have them."""
    relative_actions: tuple[Relative, ...] = Field(default=(), exclude=True)
    """What of the action a policy learns relative to the state that it saw last, in the order of their places. No file
    has it, and neither suites nor data sets have any: a policy's ``chunk.relative`` says it. The actions that it gives
    out are absolute.
    """
    relative_state: tuple[Relative, ...] = Field(default=(), exclude=True)
    """What of the state a policy sees relative to that which it saw last; its ``chunk.relative_state`` says it."""
    max_steps: Count
    """Environment steps after which an evaluation episode ends."""
    control_hz: Above0
    """Environment steps per second of simulated time."""
    image: tuple[Count, Count, Count] | None = None
    """Height, width and channels of the picture "img", uint8; several cameras lie one after the other in the channels.
    None when the policy is shown no picture.
    """
    state_channels: Channels | None = None
    """What the numbers of the state are; None where the suite defines them."""
    action_channels: Channels | None = None
    """What the numbers of the action are, in units of their own; None where the suite defines them in [-1, 1]."""
    cameras: tuple[str, ...] = ()
    """Names of the cameras of "img", in the order of its channels, where the data say them."""
    cloud_in_world: bool = True
    """Whether the cloud is in the frame of the end-effector, the world's."""
    cloud_in_fps_order: bool = True
    """Whether the points come in the order of farthest point sampling, so that the first half is a sample of its own.
    """

    @model_validator(mode="after")
    def _quaternions_fit(self) -> Spec:
        places = [q.first for q in self.quaternions]
        if any(b - a < 4 for a, b in pairwise([*places, self.state_dim])):
            raise ValueError(
                f"quaternions: {places} are not places of four numbers each in a state of {self.state_dim}"
            )
        return self

    @model_validator(mode="after")
    def _rotations_fit(self) -> Spec:
        taken = {q.first + i for q in self.quaternions for i in range(4)}
        check_rotations("state_rotations", self.state_rotations, set(range(self.state_dim)) - taken)
        check_rotations("action_rotations", self.action_rotations, set(range(self.action_dim)))
        return self

    @property
    def seen_state_dim(self) -> int:
        """Numbers of a state as a policy sees it."""
        return learned_dim(self.state_dim, self.state_rotations)

    @property
    def learned_action_dim(self) -> int:
        """Numbers of an action as a policy learns it, which are those of its noise."""
        return learned_dim(self.action_dim, self.action_rotations)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the A numbers of an action: as the data say them, or their places ("action[0]")."""
        if self.action_channels is not None:
            return self.action_channels.names
        return tuple(f"action[{place}]" for place in range(self.action_dim))

    @property
    def action_unit(self) -> str:
        """Unit of the actions, "" where nobody has said it."""
        return "" if self.action_channels is None else self.action_channels.unit

    def same_actions(
        self,
        names: Sequence[str],
        unit: str,
        rotations: Sequence[Rotation],
        where: str,
        note: Callable[[str], None],
    ) -> None:
        """Compare actions of recorded data with those of a policy, of which they shall be an answer.

        Args:
            names: of the numbers of the policy's actions; empty where nobody says them.
            unit: of the policy's actions, "" where nobody says it.
            rotations: of the policy's actions; empty where it has none, or knows of none.
            where: what messages call the data.
            note: called with one line where the names differ.

        Raises:
            UsageError: they are in another unit, or write rotations otherwise.
        """
        ours, theirs = (", ".join(map(str, each)) for each in (self.action_rotations, rotations))
        if ours and theirs and ours != theirs:
            raise UsageError(
                f"{where}: the rotations of its actions are {ours}, the policy's {theirs}",
                "prepare the data with the rotations of the policy's",
            )
        if unit and self.action_unit and unit != self.action_unit:
            hint = "prepare the data in the policy's unit"
            raise UsageError(f"{where}: its actions are in {self.action_unit}, the policy's in {unit}", hint)
        if self.action_channels is None or not names:
            return
        pairs = zip(names, self.action_channels.names, strict=True)
        if differ := [f"{theirs} for {ours}" for ours, theirs in pairs if ours != theirs]:
            more = f" and {len(differ) - 1} more" if len(differ) > 1 else ""
            note(f"{where}: calls the policy's actions otherwise: {differ[0]}{more}; they are compared in their order")

    def same_cameras(self, cameras: Sequence[str], where: str, note: Callable[[str], None]) -> None:
        """Compare the cameras of recorded data with those of a policy that is to see them.

        Args:
            cameras: of the policy, in the order of their channels; empty where nobody says them.
            where: what messages call the data.
            note: called with one line where their names differ.

        Raises:
            UsageError: they are the same in another order.
        """
        ours, theirs = tuple(cameras), self.cameras
        if not ours or not theirs or ours == theirs:
            return
        both = f"{where}: its pictures are those of {', '.join(theirs)}, the policy's of {', '.join(ours)}"
        if sorted(ours) == sorted(theirs):
            raise UsageError(both, "prepare the data with the cameras in the policy's order")
        note(f"{both}; they are taken in their order")

    def same_layout(self, other: Spec) -> None:
        """UsageError when data or a policy (``other``) have state, action or picture of another size than this task."""
        for name in ("state_dim", "action_dim"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise UsageError(
                    f"{self.suite} {self.task}: the environment's {name} is {ours}, that of data and policy {theirs}",
                    "another version of the environment, or another task, has that layout",
                )
        if None not in (self.image, other.image) and self.image != other.image:
            raise UsageError(
                f"{self.suite} {self.task}: the environment's picture is {self.image}, that of data and policy "
                f"{other.image}",
                "cameras and image_size of the data's configuration decide it",
            )
