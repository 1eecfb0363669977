"""Where frames of a robot are in each other, by the transforms that a bag has (tf, tf_static).

Legend: T moments, M messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.rosbag_messages import stamp

PREFIX, BETWEEN = "tf:", ">"
NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw")
"""Numbers of a pose."""
_STATIC = "tf_static"


@dataclass
class _Edge:
    parent: str
    static: bool
    other: str | None = None
    times: list[int] = field(default_factory=list)
    poses: list[tuple[float, ...]] = field(default_factory=list)


class Transforms:
    """The transforms of a bag, as they come."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The poses that are told, as they are named."""
        return tuple(f"{PREFIX}{edge.parent}{BETWEEN}{child}" for child, edge in self._edges.items())

    def add(self, topic: str, time: int, message: Any, stamped: bool) -> None:
        """Those of a message, received at ``time`` or as ``stamped``."""
        static = topic.endswith(_STATIC)
        for of in message.transforms:
            parent, child = of.header.frame_id.lstrip("/"), of.child_frame_id.lstrip("/")
            edge = self._edges.setdefault(child, _Edge(parent, static))
            edge.static = edge.static and static  # what is told once at first, and moves later
            if edge.parent != parent:
                edge.other = parent
                continue
            place, turn = of.transform.translation, of.transform.rotation
            edge.times.append((stamp(of) if stamped else None) or time)
            edge.poses.append((place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w))

    def way(self, name: str) -> Way:
        """The transforms between the two frames of ``tf:base>tool``.

        Raises:
            UsageError: there are no such frames, or nothing leads from one to the other.
            DataError: a frame between them is in two others.
        """
        base, between, tool = (part.strip().lstrip("/") for part in name.removeprefix(PREFIX).partition(BETWEEN))
        if not (base and between and tool):
            raise UsageError(f"{name!r} does not name two frames", f"the pose of a tool in a base is {PREFIX}base>tool")
        known = {*self._edges, *(edge.parent for edge in self._edges.values())}
        for frame in (base, tool):
            if frame not in known:
                hint = did_you_mean(frame, known) or f"it has: {listed(sorted(known))}"
                raise UsageError(f"no frame {frame!r} in tf", hint)
        ups = [self._up(frame) for frame in (base, tool)]
        below = [[frame for frame in up if frame not in other] for up, other in (ups, ups[::-1])]
        for frame in (*below[0], *below[1]):
            if (edge := self._edges[frame]).other is not None:
                raise DataError(f"{frame} is in {edge.parent}, and in {edge.other}")
        roots = [self._edges[up[-1]].parent if up else frame for frame, up in zip((base, tool), ups, strict=True)]
        if roots[0] != roots[1]:
            raise UsageError(f"nothing in tf leads from {base} to {tool}: their roots are {roots[0]} and {roots[1]}")
        return Way(*([_Told(self._edges[frame], frame) for frame in up] for up in below))

    def _up(self, frame: str) -> list[str]:
        """The frame and those above it but for the root."""
        found: list[str] = []
        while frame in self._edges:
            if frame in found:
                raise DataError(f"{frame} is in itself")
            found.append(frame)
            frame = self._edges[frame].parent
        return found


class _Told:
    """What was told of a frame in its parent, by the clock that counts: when (M,), and ``NAMES`` (M, 7)."""

    def __init__(self, edge: _Edge, child: str) -> None:
        self.name, self.static = f"{PREFIX}{edge.parent}{BETWEEN}{child}", edge.static
        order = np.argsort(np.array(edge.times, np.int64), kind="stable")
        self.times, self.poses = np.array(edge.times, np.int64)[order], np.array(edge.poses)[order]
        if not (np.linalg.norm(self.poses[:, 3:], axis=1) > 0).all():  # also not of numbers that are none
            raise DataError(f"the rotation of {child} in {edge.parent} is no quaternion")

    def at(self, moments: NDArray[np.int64]) -> NDArray[np.float64]:
        """The pose that was told last, before all of them the first, (T, 4, 4)."""
        from scipy.spatial.transform import Rotation

        told = self.poses[np.maximum(np.searchsorted(self.times, moments, side="right") - 1, 0)]
        found = np.broadcast_to(np.eye(4), (len(moments), 4, 4)).copy()
        found[:, :3, :3], found[:, :3, 3] = Rotation.from_quat(told[:, 3:]).as_matrix(), told[:, :3]
        return found


class Way:
    """The transforms from a frame that two others share down to each of the two.

    Args:
        base: those of the first, from it upwards.
        tool: those of the second.
    """

    def __init__(self, base: Sequence[_Told], tool: Sequence[_Told]) -> None:
        self._base, self._tool = base, tool

    @property
    def times(self) -> Mapping[str, NDArray[np.int64]]:
        """When each transform that moves was told (M,), by its name."""
        return {of.name: of.times for of in (*self._base, *self._tool) if not of.static}

    def poses(self, moments: NDArray[np.int64]) -> NDArray[np.float64]:
        """The pose of the second frame in the first one (T, 4, 4), each transform as it was told last."""
        found = np.broadcast_to(np.eye(4), (len(moments), 4, 4))
        for of in self._tool:
            found = of.at(moments) @ found
        back = np.broadcast_to(np.eye(4), (len(moments), 4, 4))
        for of in self._base:
            back = of.at(moments) @ back
        return np.linalg.inv(back) @ found


def as_numbers(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Poses (T, 4, 4) as ``NAMES`` (T, 7), of q and -q each time the one that is nearer to the one before."""
    from scipy.spatial.transform import Rotation

    turns = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    same = np.sign((turns[1:] * turns[:-1]).sum(1))
    turns[1:] *= np.cumprod(np.where(same == 0, 1, same))[:, None]
    return np.concatenate([poses[:, :3, 3], turns], axis=1)
