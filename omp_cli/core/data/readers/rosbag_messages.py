"""What messages of ROS hold, as arrays: numbers by their paths, pictures, depth and clouds.

Legend: H, W height and width, N points, n numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import listed, short
from omp_cli.core.data.readers.video import decoded_depth

PICTURE, PACKED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CLOUD, JOINTS = "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/JointState"
CAMERA = "sensor_msgs/msg/CameraInfo"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
TIME = "builtin_interfaces/msg/Time"
MILLIMETRES = ("16UC1", "mono16")
METRES = ("32FC1",)
"""Encodings of depth in millimetres and in metres (REP 118)."""
TRANSFORMS = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
QUATERNION = "geometry_msgs/msg/Quaternion"
OF_JOINTS = ("position", "velocity", "effort")
_ENCODINGS: dict[str, tuple[str, int, tuple[int, ...]]] = {
    "rgb8": ("u1", 3, (0, 1, 2)),
    "bgr8": ("u1", 3, (2, 1, 0)),
    "8UC3": ("u1", 3, (2, 1, 0)),  # OpenCV's, whose colours are blue, green, red
    "rgba8": ("u1", 4, (0, 1, 2)),
    "bgra8": ("u1", 4, (2, 1, 0)),
    "mono8": ("u1", 1, (0,)),
    "8UC1": ("u1", 1, (0,)),
    "mono16": ("u2", 1, (0,)),
    "16UC1": ("u2", 1, (0,)),
    "32FC1": ("f4", 1, (0,)),
}
"""By encoding (sensor_msgs/image_encodings.h) type, channels, and which of these are red, green and blue, or grey."""
_FLOATS = {7: "f4", 8: "f8"}
"""Types of a PointField that coordinates can have."""
_DEPTH_HEAD, _PNG = 12, b"\x89PNG"
"""Bytes before the PNG of compressedDepth."""
_EMPTIED = {
    "geometry_msgs/msg/Twist": ("linear", "angular"),
    "geometry_msgs/msg/Wrench": ("force", "torque"),
    "geometry_msgs/msg/Accel": ("linear", "angular"),
    JOINTS: OF_JOINTS,
    "trajectory_msgs/msg/JointTrajectoryPoint": ("positions", "velocities", "accelerations", "effort"),
}
"""What of messages moves a robot, and is not repeated as it was said once."""
_AXES = (("x", "y"), ("x", "y", "z"), ("x", "y", "z", "w"))


@dataclass(frozen=True)
class MessagePart:
    """What each message of a topic has under a name.

    Attributes:
        kind: "numbers"; "joints", numbers that have names; "picture", also of depth; "packed", a JPEG or PNG; or
            "cloud".
        shape: of the first message's, () for one number; of a cloud (N, 3).
        dtype: its type.
        take: what a message has.
        names: of its numbers, where the message says them.
        quaternion: whether they are a rotation, x, y, z and w.
        encoding: of a picture.
        path: the fields that lead to numbers; none where they are the whole message.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    take: Callable[[Any], Any]
    names: tuple[str, ...] = ()
    quaternion: bool = False
    encoding: str = ""
    path: tuple[str, ...] = ()

    @property
    def large(self) -> bool:
        """Whether its messages are not to be kept."""
        return self.kind in ("picture", "packed", "cloud")

    @property
    def said(self) -> str:
        """What it is, for people."""
        if self.kind == "packed":
            return "(JPEG or PNG)"
        return f"({', '.join(map(str, self.shape))})" if self.shape else "(one number)"


def parts_of(topic: str, kind: str, message: Any) -> dict[str, MessagePart]:
    """The parts of a topic's first message by name: the topic itself, or paths that begin with it.

    Args:
        topic: its name.
        kind: its type, as ``sensor_msgs/msg/Image``.
        message: its first message.

    Raises:
        DataError: a picture or a cloud contradicts itself.
    """
    if kind == PICTURE:
        if message.encoding not in _ENCODINGS:
            return {}
        first = picture(message)
        return {topic: MessagePart("picture", first.shape, first.dtype, picture, encoding=message.encoding)}
    if kind == PACKED and "compressedDepth" not in message.format:
        return {topic: MessagePart("packed", (), np.dtype(object), lambda of: of.data.tobytes())}
    if kind == PACKED:
        encoding = message.format.partition(";")[0].strip()
        if encoding not in MILLIMETRES or not message.data[_DEPTH_HEAD:].tobytes().startswith(_PNG):
            return {}  # RVL, or metres by a formula of the plug-in that has packed them
        first = packed_depth(message)
        return {topic: MessagePart("picture", first.shape, first.dtype, packed_depth, encoding=encoding)}
    if kind == CLOUD:
        return {topic: MessagePart("cloud", cloud(message).shape, np.dtype(np.float32), cloud)}
    if kind == JOINTS and (names := tuple(message.name)):
        told = [of for of in OF_JOINTS if len(getattr(message, of)) == len(names)]
        of_joints = MessagePart("joints", (len(names),), np.dtype(np.float64), lambda of: of, names)
        return {f"{topic}/{of}": replace(of_joints, path=(of,)) for of in told}
    of_one = kind.startswith("std_msgs/")
    found = {
        topic if of_one and path == ("data",) else "/".join((topic, *path)): replace(part, path=path)
        for path, part in _numbers((), message, lambda of: of)
    }
    return {name: _of_joints(part, message) for name, part in found.items()} if kind == TRAJECTORY else found


def _of_joints(part: MessagePart, first: Any) -> MessagePart:
    """Numbers of a trajectory's point as those of its joints, which have to be the same ones in each message."""
    names = tuple(first.joint_names)
    if part.shape != (len(names),):
        return part

    def take(of: Any) -> Any:
        if tuple(of.joint_names) != names:
            raise DataError(f"it is for the joints {listed(of.joint_names)}, the first one for {listed(names)}")
        return part.take(of)

    return replace(part, names=names, take=take)


def plain(message: Any) -> Any:
    """What is to be the same in each message of a command as in this one, as plain data.

    Times are left out, unless they are 0, which means now or the newest; so are speeds and forces, for what a policy
    does not say of them nobody says. Numbers that JSON does not have are text.
    """
    if isinstance(message, np.ndarray | list | tuple):
        return [plain(of) for of in (message.tolist() if isinstance(message, np.ndarray) else message)]
    if isinstance(message, float) and not math.isfinite(message):
        return str(message)
    if not hasattr(message, "__dataclass_fields__"):
        return message
    named = {name: getattr(message, name) for name in message.__dataclass_fields__ if name != "__msgtype__"}
    empty = _EMPTIED.get(message.__msgtype__, ())
    told = {name: of for name, of in named.items() if getattr(of, "__msgtype__", "") != TIME or not stamp_of(of)}
    return {name: _emptied(of) if name in empty else plain(of) for name, of in told.items()}


def _emptied(value: Any) -> dict[str, Any] | list[Any]:
    """A vector of zeros, or a list of nothing."""
    return {} if hasattr(value, "__dataclass_fields__") else []


def unread(kind: str, message: Any) -> str:
    """What of a message has no parts, for people."""
    if kind in (PICTURE, PACKED):
        return f"{message.encoding if kind == PICTURE else message.format}"
    return kind.replace("/msg/", "/")


def _numbers(
    path: tuple[str, ...], message: Any, reach: Callable[[Any], Any]
) -> Iterator[tuple[tuple[str, ...], MessagePart]]:
    """The numbers of a message by their paths, without heads and layouts; ``reach`` leads to it from the whole."""
    fields = [name for name in getattr(message, "__dataclass_fields__", ()) if name != "__msgtype__"]
    if tuple(fields) in _AXES and all(isinstance(getattr(message, axis), float) for axis in fields):
        axes = tuple(fields)

        def vector(of: Any) -> NDArray[np.float64]:
            found = reach(of)
            return np.array([getattr(found, axis) for axis in axes])

        turns = message.__msgtype__ == QUATERNION
        yield path, MessagePart("numbers", (len(axes),), np.dtype(np.float64), vector, axes, turns)
        return
    for name in fields:
        value = getattr(message, name)

        def inner(of: Any, name: str = name) -> Any:
            return getattr(reach(of), name)

        if isinstance(value, list) and len(value) == 1 and hasattr(value[0], "__dataclass_fields__"):
            value = value[0]

            def inner(of: Any, name: str = name) -> Any:
                found = getattr(reach(of), name)
                if len(found) != 1:
                    raise DataError(f"{name} has {len(found)} members, and one at first")
                return found[0]

        if isinstance(value, bool | int | float):
            yield (*path, name), MessagePart("numbers", (), np.asarray(value).dtype, inner)
        elif isinstance(value, np.ndarray):
            if value.size and value.dtype.kind in "fiub":
                yield (*path, name), MessagePart("numbers", value.shape, value.dtype, inner)
        elif hasattr(value, "__dataclass_fields__") and not _is_about(value):
            yield from _numbers((*path, name), value, inner)


def _is_about(message: Any) -> bool:
    """Whether a message only says of what the others are, and when: heads, times and layouts."""
    kind = message.__msgtype__
    return kind.startswith("builtin_interfaces/") or kind in ("std_msgs/msg/Header", "std_msgs/msg/MultiArrayLayout")


def intrinsics(message: Any) -> tuple[float, ...] | None:
    """fx, fy, cx, cy in pixels of a sensor_msgs/CameraInfo; None of a camera that nobody has calibrated."""
    matrix = [float(x) for x in (message.k if hasattr(message, "k") else message.K)]
    found = (matrix[0], matrix[4], matrix[2], matrix[5])
    return found if np.isfinite(found).all() and min(found[:2]) > 0 else None


def stamp(message: Any) -> int | None:
    """The time in nanoseconds that a message's head says; None where it has no head, or one without a time."""
    time: Any = getattr(getattr(message, "header", None), "stamp", None)
    return stamp_of(time) if hasattr(time, "sec") and hasattr(time, "nanosec") else None


def stamp_of(time: Any) -> int | None:
    """A time in nanoseconds; None of 0, which is no time."""
    return int(time.sec) * 1_000_000_000 + int(time.nanosec) or None


def picture(message: Any) -> NDArray[Any]:
    """(H, W, 3) of red, green and blue, or (H, W) of one channel, of a sensor_msgs/Image."""
    height, width, step = message.height, message.width, message.step
    if message.encoding not in _ENCODINGS:
        raise DataError(f"its encoding is {short(message.encoding)}, and another one at first")
    code, channels, order = _ENCODINGS[message.encoding]
    dtype = np.dtype(code).newbyteorder(">" if message.is_bigendian else "<")
    row = width * channels * dtype.itemsize
    if not row or row > step or len(message.data) != height * step:
        said = f"{height} rows of {step} bytes, {width} pixels of {message.encoding} each"
        raise DataError(f"it says {said}, and has {len(message.data)} bytes")
    rows = np.ascontiguousarray(message.data.reshape(height, step)[:, :row]).view(dtype)
    found = rows.reshape(height, width, channels)[..., list(order)]
    return found.astype(dtype.newbyteorder("=")) if len(order) > 1 else found[..., 0].astype(dtype.newbyteorder("="))


def packed_depth(message: Any) -> NDArray[np.uint16]:
    """(H, W) in millimetres of a sensor_msgs/CompressedImage of the transport compressedDepth."""
    return decoded_depth(message.data[_DEPTH_HEAD:].tobytes(), "its PNG")


def cloud(message: Any) -> NDArray[np.float32]:
    """(N, 3) of a sensor_msgs/PointCloud2."""
    if not message.width * message.height:
        return np.empty((0, 3), np.float32)
    fields = {field.name: field for field in message.fields if field.name in ("x", "y", "z")}
    if len(fields) < 3 or not all(field.datatype in _FLOATS for field in fields.values()):
        raise DataError("its points have no x, y and z of floating point numbers")
    order = ">" if message.is_bigendian else "<"
    size, row = message.point_step, message.row_step
    formats = [order + _FLOATS[fields[axis].datatype] for axis in "xyz"]
    offsets = [fields[axis].offset for axis in "xyz"]
    ends = [at + np.dtype(form).itemsize for at, form in zip(offsets, formats, strict=True)]
    if max(ends) > size or message.width * size > row or len(message.data) != message.height * row:
        said = f"{message.height} rows of {row} bytes, {message.width} points of {size} each"
        raise DataError(f"it says {said}, and has {len(message.data)} bytes")
    point = np.dtype({"names": ["x", "y", "z"], "formats": formats, "offsets": offsets, "itemsize": size})
    data = np.ascontiguousarray(message.data.reshape(message.height, row)[:, : message.width * size])
    points = data.reshape(-1).view(point)
    return np.stack([points[axis] for axis in "xyz"], axis=1).astype(np.float32)
