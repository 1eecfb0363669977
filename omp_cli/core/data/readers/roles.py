"""Named frame-major arrays, each given its role: state, action, pictures, clouds, depth, camera's poses, outcomes.

Legend: T frames, S numbers of the state, A of the action, N points, H, W height and width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Keys, Names
from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.large import Selected
from omp_cli.core.data.readers.base import (
    Recording,
    Subject,
    first_states,
    left_out,
    names_of_parts,
    spec_of,
    split,
)
from omp_cli.core.data.readers.cameras import side_by_side
from omp_cli.core.data.readers.frames import NUMBERS, Frames
from omp_cli.core.data.readers.one_more import ends_of_both, said_of
from omp_cli.core.data.readers.pictures import PicturesConfig
from omp_cli.core.data.readers.rate import rate_of
from omp_cli.core.data.readers.stored import Stored
from omp_cli.core.data.readers.white import Spans
from omp_cli.core.data.store import Arrays

ENDS = "episode_ends"
ENDS_ARE = f"{ENDS} (the frame after the last one of each episode; [T] for one episode of T frames)"
STATE = ("state", "states", "agent_pos", "robot_state", "qpos", "obs", "observations")
ACTION = ("action", "actions")
PICTURE = ("img", "image", "images", "rgb")
CLOUD = ("point_cloud", "pointcloud", "cloud", "point_clouds")
"""What others call them, the usual name first."""
OUTCOMES: dict[str, tuple[tuple[str, ...], type[np.generic]]] = {
    "reward": (("reward", "rewards"), np.float32),
    "success": (("success", "successes", "is_success"), np.bool_),
    "terminal": (("terminal", "terminals", "terminated"), np.bool_),
}
"""What came of each action: what others call it, and its type in an episode."""
DEPTH, POSE = "depth", "camera_pose"
"""What an episode calls depth pictures (T, H, W) and the poses (T, 4, 4) of their camera, until clouds are made."""


class RolesConfig(PicturesConfig):
    """Which arrays are what, by their names in the file; what is left out of a list is not taken."""

    takes: ClassVar[str] = "img"
    state: Keys = ()
    """Arrays that make the state, one after the other, (T,) or (T, n); empty takes the first of state, states,
    agent_pos, robot_state, qpos, obs and observations that is there.
    """
    action: Keys = ()
    """Arrays that make the action; empty takes action or actions."""
    img: Keys | None = None
    """Arrays of pictures (T, H, W, 3) or (T, 3, H, W), which lie one after the other in the channels; None takes img,
    image, images or rgb if one is there, an empty list none. Grey pictures and RGBA are made RGB.
    """
    cloud: Names | None = None
    """The array of point clouds (T, N, 3), or (T, N, k) of which what follows x, y, z is cut, such as colour; None
    takes point_cloud, pointcloud, cloud or point_clouds if one is there, an empty list none.
    """
    depth: Names = ()
    """The array of depth pictures (T, H, W) of which clouds are to be made."""
    pose: Names = ()
    """The array of poses (T, 4, 4) or (T, 16) of the depth camera, camera to world, where it moves; with
    ``camera.pose`` beside it, of what that is the camera's pose in (a hand).
    """
    reward: Names | None = None
    """The array of the rewards of the actions (T,), from which FQL learns; None takes reward or rewards if one is there
    and has a finite number for each action, an empty list none.
    """
    success: Names | None = None
    """The array of whether the task was done after each action (T,), 0 or not; None takes success, successes or
    is_success likewise.
    """
    terminal: Names | None = None
    """The array of whether the task was over after each action (T,), 0 or not; None takes terminal, terminals or
    terminated likewise.
    """


def checked_ends(where: str, found: NDArray[Any]) -> NDArray[np.int64]:
    """Cumulative ends of episodes (E,); DataError unless they are whole numbers that increase from above 0."""
    expected = "expected the frame after the last one of each episode, increasing (numpy.cumsum of their lengths)"
    if found.ndim != 1 or not len(found) or found.dtype.kind not in "iu":
        raise DataError(f"{where} is {found.shape} {found.dtype}, {expected}")
    ends = found.astype(np.int64)
    if len(short := np.flatnonzero(np.diff(ends, prepend=0) <= 0)):
        first = short[0]
        begin = ends[first - 1] if first else 0
        raise DataError(
            f"{where} is not increasing: episode {first} would begin at frame {begin} and end before {ends[first]}",
            f"{expected}; leave empty episodes out",
        )
    return ends


def recording(
    where: str,
    arrays: Mapping[str, Stored],
    ends: NDArray[np.int64],
    config: RolesConfig,
    subject: Subject,
    limit: int | None,
    places: Mapping[int, Path] | None = None,
) -> Recording:
    """The episodes that arrays hold.

    Args:
        where: the file, for messages.
        arrays: the file's arrays by name.
        ends: cumulative (E,).
        config: which array is what.
        subject: the task.
        limit: episodes to read; None reads all.
        places: where each of them is, for messages, by its number; None where all are in the file itself.

    Raises:
        DataError: an array has another length or shape than its role asks for.
        UsageError: an array that is asked for is not there, or none is there that could be state or action.
    """
    role = Roles(where, arrays, config)
    config.check_pictures(where, role.img)
    ends_seen, ends = ends_of_both({name: array.shape for name, array in arrays.items()}, role.seen, role.action, ends)
    numbers = list(places) if places else list(range(len(ends)))
    named = [str(places[number]) if places else f"{where}: episode {number}" for number in numbers]
    spans = Spans(ends_seen, named, numbers, subject.leave_out)
    whole = Frames(where, arrays, int(ends_seen[-1]), int(ends_seen[:limit][-1]), spans)
    acted = Frames(where, arrays, int(ends[-1]), int(ends[:limit][-1]))
    said: list[str] = []
    found: Arrays = {"state": whole.vectors(role.state), "action": acted.vectors(role.action)}
    if role.img:
        pictures = [whole.pictures(name, said, config.size) for name in role.img]
        found["img"] = side_by_side(pictures, role.img, where, "format.img")
    if role.cloud:
        found["point_cloud"] = whole.clouds(role.cloud[0], said)
    if role.depth:
        found[DEPTH] = whole.depth(role.depth[0])
    if role.pose:
        found[POSE] = whole.poses(role.pose[0])
    if ends_seen is not ends:
        for name in found.keys() - {"action"}:
            followed = np.delete(np.arange(len(found[name])), ends_seen[:limit] - 1)
            found[name] = np.asarray(Selected(found[name], followed))
        said.append(said_of(role.seen))
    outcomes = _outcomes(role, acted, config, said)
    found |= outcomes
    rate = rate_of(arrays, ends_seen, limit)
    taken = {*role.taken, rate.name}
    said += [*rate.said, *left_out({name: array.shape for name, array in arrays.items() if name not in taken})]
    episodes = split(found, ends[:limit], None)
    notes = {"state": role.state, "action": role.action, "cameras": role.img, "cloud": role.cloud, "depth": role.depth}
    notes |= {"pose": role.pose} if role.pose else {}
    notes |= {key: (role.outcomes[key],) for key in outcomes}
    names = {
        "state": names_of_parts(role.state, [whole.width(name) for name in role.state]),
        "action": names_of_parts(role.action, [whole.width(name) for name in role.action]),
    }
    spec = spec_of(
        subject,
        episodes,
        end_effector=None,
        points=found["point_cloud"].shape[1] if role.cloud else None,
        cloud_in_world=False,
        cloud_in_fps_order=False,
    )
    return Recording(
        episodes,
        spec,
        {**{key: list(value) for key, value in notes.items()}, "episodes_in_file": len(ends)},
        first_states(episodes),
        said=tuple(said),
        names=names,
        cameras=role.img,
        whites=tuple(whole.whites.get(name) for name in role.img),
        parts=tuple((name, whole.width(name)) for name in role.state),
        hz=rate.hz,
    )


def _outcomes(role: Roles, acted: Frames, config: RolesConfig, said: list[str]) -> Arrays:
    """The arrays of ``OUTCOMES``, (T,) each; ``said`` gets what is left out, since nobody has named it."""
    found: Arrays = {}
    for key, name in role.outcomes.items():
        values = acted.outcome(name, key)
        if np.isfinite(values).all():
            found[key] = values.astype(OUTCOMES[key][1])
        elif getattr(config, key) is None:
            said.append(f"left out: {name}, which has numbers that are not finite")
        else:
            acted.refuse_outcome(name, key, "has numbers that are not finite")
    return found


class Roles:
    """The names of the arrays of each role; UsageError where one is not there, or they do not go together.

    Args:
        where: the file, for messages.
        arrays: its arrays by name; of several files those of the first.
        config: which array is what.
        others: the arrays of the other files.
    """

    def __init__(
        self,
        where: str,
        arrays: Mapping[str, Stored],
        config: RolesConfig,
        others: Sequence[Mapping[str, Stored]] = (),
    ) -> None:
        self._where, self._arrays, self._all = where, arrays, (arrays, *others)
        self.state = self._chosen("state", config.state) or self._needed("state", STATE)
        self.action = self._chosen("action", config.action) or self._needed("action", ACTION)
        self.depth = self._chosen("depth", config.depth)
        pictures = (name for name in PICTURE if name not in self.depth)
        self.img = self._usual(pictures) if config.img is None else self._chosen("img", config.img)
        self.cloud = self._chosen("cloud", config.cloud or ())
        if config.cloud is None and not self.depth:
            self.cloud = self._usual(CLOUD)
        self.pose = self._chosen("pose", config.pose)
        check_cloud_roles(where, self.cloud, self.depth, self.pose)
        self.outcomes = {key: name for key in OUTCOMES for name in self._outcome(key, getattr(config, key))}

    @property
    def seen(self) -> tuple[str, ...]:
        """The names of all arrays of observations."""
        return (*self.state, *self.img, *self.cloud, *self.depth, *self.pose)

    @property
    def taken(self) -> tuple[str, ...]:
        """The names of all arrays that have a role."""
        return (*self.seen, *self.done)

    @property
    def done(self) -> tuple[str, ...]:
        """The names of the arrays of actions, then of what came of them."""
        return (*self.action, *self.outcomes.values())

    def _usual(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self._arrays)[:1]

    def _outcome(self, role: str, named: tuple[str, ...] | None) -> tuple[str, ...]:
        """The array of ``OUTCOMES``; unless it is named, only where it is what such an array has to be."""
        if named is not None:
            one_at_most(**{role: named})
            return self._chosen(role, named)
        usual = (name for name in OUTCOMES[role][0] if all(self._comes_of_actions(name, of) for of in self._all))
        return tuple(usual)[:1]

    def _comes_of_actions(self, name: str, arrays: Mapping[str, Stored]) -> bool:
        """Whether an array has a number for each action."""
        found, action = arrays.get(name), arrays.get(self.action[0])
        frames = action.shape[0] if action is not None and action.shape else 0
        return found is not None and found.dtype.kind in NUMBERS and found.shape in ((frames,), (frames, 1))

    def _needed(self, role: str, names: Iterable[str]) -> tuple[str, ...]:
        if found := self._usual(names):
            return found
        raise UsageError(
            f"{self._where}: no array is called {' or '.join(names)}, so none is the {role}; it has: "
            f"{listed(self._arrays)}",
            f"say which: --set 'format.{role}=[\"NAME\"]'",
        )

    def _chosen(self, role: str, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in self._arrays:
                hint = did_you_mean(name, self._arrays) or f"it has: {listed(self._arrays)}"
                raise UsageError(f"{self._where}: no array {name!r} to be the {role}", hint)
        return names


def one_at_most(**roles: Sequence[str]) -> None:
    """UsageError where a role has several arrays."""
    for role, names in roles.items():
        if len(names) > 1:
            raise UsageError(f"format.{role}: one array at most (got {', '.join(names)})")


def check_cloud_roles(where: str, cloud: Sequence[str], depth: Sequence[str], pose: Sequence[str]) -> None:
    """UsageError unless clouds come from one array, and poses are those of depth pictures."""
    one_at_most(cloud=cloud, depth=depth, pose=pose)
    if cloud and depth:
        raise UsageError(f"{where}: clouds come from format.cloud or from format.depth", "name one of the two")
    if pose and not depth:
        raise UsageError(
            f"{where}: format.pose is where the camera of depth pictures is, and there are none",
            "name them: --set 'format.depth=[\"NAME\"]'",
        )
