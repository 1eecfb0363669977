"""Named frame-major arrays, each given its role: state, action, pictures, clouds, depth, camera's poses, outcomes.

Legend: T frames, S numbers of the state, A of the action, N points, H, W height and width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Keys, Names
from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.data.foreign import affordable, listed, short
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
from omp_cli.core.data.readers.one_more import HINT, ends_of_both, said_of
from omp_cli.core.data.readers.pictures import PicturesConfig, kept_bytes, read_pictures
from omp_cli.core.data.readers.rate import rate_of
from omp_cli.core.data.readers.stored import Stored
from omp_cli.core.data.store import Arrays

ENDS = "episode_ends"
ENDS_ARE = f"{ENDS} (the frame after the last one of each episode; [T] for one episode of T frames)"
STATE = ("state", "states", "agent_pos", "robot_state", "qpos")
ACTION = ("action", "actions")
PICTURE = ("img", "image", "images", "rgb")
CLOUD = ("point_cloud", "pointcloud", "cloud", "point_clouds")
REWARD, SUCCESS = ("reward", "rewards"), ("success", "successes", "is_success")
"""What others call them, the usual name first."""
DEPTH, POSE = "depth", "camera_pose"
"""What an episode calls depth pictures (T, H, W) and the poses (T, 4, 4) of their camera, until clouds are made."""
_NUMBERS = "fiub"
_COLOURED = 6


class RolesConfig(PicturesConfig):
    """Which arrays are what, by their names in the file; what is left out of a list is not taken."""

    takes: ClassVar[str] = "img"
    state: Keys = ()
    """Arrays that make the state, one after the other, (T,) or (T, n); empty takes the first of state, states,
    agent_pos, robot_state and qpos that is there.
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
    """The array of the rewards of the actions (T,), from which FQL learns; None takes reward or rewards if one is
    there, an empty list none.
    """
    success: Names | None = None
    """The array of whether each action led to success (T,), 0 or not; None takes success, successes or is_success."""


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
) -> Recording:
    """The episodes that arrays hold.

    Args:
        where: the file, for messages.
        arrays: the file's arrays by name.
        ends: cumulative (E,).
        config: which array is what.
        subject: the task.
        limit: episodes to read; None reads all.

    Raises:
        DataError: an array has another length or shape than its role asks for.
        UsageError: an array that is asked for is not there, or none is there that could be state or action.
    """
    role = Roles(where, arrays, config)
    config.check_pictures(where, role.img)
    ends_seen, ends = ends_of_both({name: array.shape for name, array in arrays.items()}, role.seen, role.action, ends)
    whole = Frames(where, arrays, int(ends_seen[-1]), int(ends_seen[:limit][-1]))
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
            found[name] = np.delete(found[name], ends_seen[:limit] - 1, axis=0)
        said.append(said_of(role.seen))
    for name in role.reward:
        found["reward"] = acted.outcomes(name, "reward")
    for name in role.success:
        found["success"] = acted.outcomes(name, "success") != 0
    rate = rate_of(arrays, ends_seen, limit)
    taken = {*role.taken, rate.name}
    said += [*rate.said, *left_out({name: array.shape for name, array in arrays.items() if name not in taken})]
    episodes = split(found, ends[:limit], None)
    notes = {"state": role.state, "action": role.action, "cameras": role.img, "cloud": role.cloud, "depth": role.depth}
    notes |= {key: of for key in ("pose", "reward", "success") if (of := getattr(role, key))}
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
        parts=tuple((name, whole.width(name)) for name in role.state),
        hz=rate.hz,
    )


class Roles:
    """The names of the arrays of each role; UsageError where one is not there, or they do not go together."""

    def __init__(self, where: str, arrays: Mapping[str, Stored], config: RolesConfig) -> None:
        self._where, self._arrays = where, arrays
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
        self.reward = self._usual(REWARD) if config.reward is None else self._chosen("reward", config.reward)
        self.success = self._usual(SUCCESS) if config.success is None else self._chosen("success", config.success)
        one_at_most(reward=self.reward, success=self.success)

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
        return (*self.action, *self.reward, *self.success)

    def _usual(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self._arrays)[:1]

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


class Frames:
    """The first ``wanted`` of ``total`` frames of arrays, checked against their roles."""

    def __init__(self, where: str, arrays: Mapping[str, Stored], total: int, wanted: int) -> None:
        self._where, self._arrays, self._total, self._wanted = where, arrays, total, wanted

    def width(self, name: str) -> int:
        """Numbers a frame."""
        shape = self._arrays[name].shape
        return shape[1] if len(shape) > 1 else 1

    def vectors(self, names: Iterable[str]) -> NDArray[np.float32]:
        """Arrays (T,) or (T, n) one after the other, (T, sum of n)."""
        parts = [self._read(name, (1, 2), "a number or a vector a frame") for name in names]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1).astype(np.float32)

    def outcomes(self, name: str, role: str) -> NDArray[np.float32]:
        """An array (T,) or (T, 1) of what came of each action, (T,)."""
        array, actions = self._arrays[name], self._total
        if array.shape not in ((actions,), (actions, 1)) or array.dtype.kind not in _NUMBERS:
            raise DataError(
                f"{self._where}: {name} is {array.shape} {array.dtype}, expected a number for each of {actions} frames",
                f"--set 'format.{role}=[]' leaves it out",
            )
        return array.read(self._wanted).reshape(-1).astype(np.float32)

    def depth(self, name: str) -> NDArray[np.float32]:
        """(T, H, W), in the file's units."""
        found = self._read(name, (3, 4), "depth pictures (T, H, W)")
        if found.ndim == 4:
            axis = next((axis for axis in (3, 1) if found.shape[axis] == 1), None)
            if axis is None:
                self._refuse(name, "depth pictures (T, H, W)")
            found = np.squeeze(found, axis)
        return found.astype(np.float32)

    def poses(self, name: str) -> NDArray[np.float64]:
        """(T, 4, 4); whether they are rotations and translations is seen where they are used."""
        found = self._read(name, (2, 3), "poses (T, 4, 4)").astype(np.float64)
        if found.shape[1:] not in ((4, 4), (16,)):
            self._refuse(name, "poses (T, 4, 4), or (T, 16) by rows")
        return found.reshape(-1, 4, 4)

    def clouds(self, name: str, said: list[str]) -> NDArray[np.float32]:
        """(T, N, 3)."""
        expected = "clouds (T, N, 3), or (T, N, k) with more numbers than x, y, z"
        found = self._read(name, (3,), f"{expected}, of floating point numbers")
        _, points, numbers = found.shape
        if found.dtype.kind != "f" or not 3 <= numbers <= max(points - 1, _COLOURED):  # (T, 3, N) is another layout
            self._refuse(name, f"{expected}, of floating point numbers")
        if numbers > 3:
            cut = "the last 3 of 6 numbers of a point, its colour, are cut"
            if numbers != _COLOURED:
                cut = f"all but the first 3 of {numbers} numbers of a point, x, y, z, are cut"
            said.append(f"{short(name)}: {cut}")
        return np.ascontiguousarray(found[..., :3], np.float32)

    def pictures(
        self, name: str, said: list[str], size: int | None, channels: int | None = None, rounded: bool = True
    ) -> NDArray[np.uint8]:
        """(T, H, W, 3 cameras); ``read_pictures`` says what the arguments are."""
        array = self._checked(name, (3, 4), "pictures (T, H, W, 3)")
        self._afford(name, kept_bytes(array.shape, size))
        return read_pictures(array, self._wanted, f"{self._where}: {name}", name, size, said, channels, rounded)

    def _read(self, name: str, dims: tuple[int, ...], expected: str) -> NDArray[Any]:
        array = self._checked(name, dims, expected)
        self._afford(name)
        return array.read(self._wanted)

    def _checked(self, name: str, dims: tuple[int, ...], expected: str) -> Stored:
        """The array; DataError where it does not fit its role or the episodes."""
        array = self._arrays[name]
        if len(array.shape) not in dims or array.dtype.kind not in _NUMBERS or 0 in array.shape[1:]:
            self._refuse(name, expected)
        if array.shape[0] != self._total:
            raise DataError(
                f"{self._where}: {name} has {array.shape[0]} frames, the episodes end at frame {self._total}",
                f"all arrays have to be as long as the last of episode_ends: {HINT}",
            )
        return array

    def _afford(self, name: str, kept: int | None = None) -> None:
        """DataError where file or memory cannot hold the array, of which ``kept`` bytes stay in memory (None: all)."""
        array = self._arrays[name]
        declared = array.dtype.itemsize * int(np.prod(array.shape, dtype=object))
        affordable(f"{self._where}: {name}", declared, array.stored, kept)

    def _refuse(self, name: str, expected: str) -> NoReturn:
        array = self._arrays[name]
        raise DataError(f"{self._where}: {name} is {array.shape} {array.dtype}, expected {expected}")
