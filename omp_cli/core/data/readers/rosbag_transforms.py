"""Where frames of a robot are in each other, by the transforms that a bag has (tf, tf_static).

Legend: T frames of an episode, M messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.rosbag_messages import stamp

TOPICS, STATIC = ("/tf", "/tf_static"), "/tf_static"
PREFIX, BETWEEN = "tf:", ">"
NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw")
"""Numbers of a pose."""


def frames_of(name: str) -> tuple[str, str]:
    """The two frames of ``tf:base>tool``; UsageError where it is not written so."""
    base, between, tool = name.removeprefix(PREFIX).partition(BETWEEN)
    if not (base and between and tool):
        raise UsageError(f"{name!r} does not name two frames", f"the pose of a tool in a base is {PREFIX}base>tool")
    return base.strip(), tool.strip()


@dataclass
class _Edge:
    parent: str
    static: bool
    times: list[int] = field(default_factory=list)
    poses: list[tuple[float, ...]] = field(default_factory=list)


class Transforms:
    """The transforms of a bag, as they come."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    def add(self, topic: str, time: int, message: Any, stamped: bool) -> None:
        """Those of a message, received at ``time`` or as ``stamped``; DataError where a frame gets another parent."""
        for of in message.transforms:
            parent, child = of.header.frame_id.lstrip("/"), of.child_frame_id.lstrip("/")
            edge = self._edges.setdefault(child, _Edge(parent, topic == STATIC))
            if edge.parent != parent:
                raise DataError(f"{topic}: {child} is in {parent}, and in {edge.parent} before")
            place, turn = of.transform.translation, of.transform.rotation
            edge.times.append((stamp(of) if stamped else None) or time)
            edge.poses.append((place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w))

    @property
    def names(self) -> tuple[str, ...]:
        """The poses that are told, as they are named."""
        return tuple(f"{PREFIX}{edge.parent}{BETWEEN}{child}" for child, edge in self._edges.items())

    def times(self, name: str) -> NDArray[np.int64]:
        """When a pose was told (M,): the times of the transform on its way that came last at first; 0 where none moves.

        UsageError where nothing leads from one of the frames to the other.
        """
        base, tool = frames_of(name)
        moving = [edge for child in self._way(base, tool) if not (edge := self._edges[child]).static]
        return np.array(max((edge.times for edge in moving), key=lambda times: times[0], default=[0]), np.int64)

    def poses(self, name: str, at: NDArray[np.int64]) -> NDArray[np.float64]:
        """The pose of the second frame in the first one at times, (T, 4, 4), each transform as it was told last."""
        base, tool = frames_of(name)
        return np.linalg.inv(self._below(base, at)) @ self._below(tool, at)

    def _below(self, frame: str, at: NDArray[np.int64]) -> NDArray[np.float64]:
        """The pose of a frame in its root (T, 4, 4)."""
        from scipy.spatial.transform import Rotation

        found = np.broadcast_to(np.eye(4), (len(at), 4, 4))
        for child in self._up(frame):
            edge = self._edges[child]
            last = np.searchsorted(np.maximum.accumulate(edge.times), at, side="right") - 1
            told = np.array(edge.poses)[np.full(len(at), len(edge.times) - 1) if edge.static else np.maximum(last, 0)]
            pose = np.broadcast_to(np.eye(4), (len(at), 4, 4)).copy()
            if not np.linalg.norm(told[:, 3:], axis=1).all():
                raise DataError(f"tf: the rotation of {child} in {edge.parent} is no quaternion")
            pose[:, :3, :3], pose[:, :3, 3] = Rotation.from_quat(told[:, 3:]).as_matrix(), told[:, :3]
            found = pose @ found
        return found

    def _way(self, base: str, tool: str) -> list[str]:
        """The frames whose transforms lead from one frame to another."""
        ways = {frame: self._up(frame) for frame in (base, tool)}
        known = {*self._edges, *(edge.parent for edge in self._edges.values())}
        for frame in ways:
            if frame not in known:
                hint = did_you_mean(frame, known) or f"it has: {listed(sorted(known))}"
                raise UsageError(f"no frame {frame!r} in tf", hint)
        tops = {frame: self._edges[way[-1]].parent if way else frame for frame, way in ways.items()}
        if tops[base] != tops[tool]:
            raise UsageError(
                f"nothing in tf leads from {base} to {tool}: their roots are {tops[base]} and {tops[tool]}"
            )
        return [child for child in (*ways[base], *ways[tool]) if (child in ways[base]) != (child in ways[tool])]

    def _up(self, frame: str) -> list[str]:
        """The frame and those above it but for the root."""
        found: list[str] = []
        while frame in self._edges:
            if frame in found:
                raise DataError(f"tf: {frame} is in itself")
            found.append(frame)
            frame = self._edges[frame].parent
        return found


def as_numbers(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Poses (T, 4, 4) as ``NAMES`` (T, 7), of q and -q each time the one that is nearer to the one before."""
    from scipy.spatial.transform import Rotation

    turns = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    same = np.sign((turns[1:] * turns[:-1]).sum(1))
    turns[1:] *= np.cumprod(np.where(same == 0, 1, same))[:, None]
    return np.concatenate([poses[:, :3, 3], turns], axis=1)
