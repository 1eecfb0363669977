"""ROS bags as recorders write them, by what is said when."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

BEGIN = 1_700_000_000
"""Seconds since 1970 at which bags begin."""
Said = tuple[float, str, Any]
"""When, seconds from the begin; the topic; and the message."""


class Robot:
    """Messages of ROS 1 (``.bag``) or ROS 2 (``.db3``, ``.mcap``), and bags of them.

    Args:
        kind: the ending.
        more: definitions of types of one's own by their names.
    """

    def __init__(self, kind: str, **more: str) -> None:
        self.kind, self.ros1 = kind, kind == ".bag"
        self.store = get_typestore(Stores.ROS1_NOETIC if self.ros1 else Stores.ROS2_HUMBLE)
        given = {"tf2_msgs/msg/TFMessage": "geometry_msgs/TransformStamped[] transforms", **more}
        for name, text in given.items():
            if name not in self.store.types:
                self.store.register(get_types_from_msg(text, name))

    def __call__(self, kind: str, **values: Any) -> Any:
        """A message of a type, with a package that is called as its topic's."""
        return self.store.types[kind](**values)

    def header(self, time: float = 0.0, frame: str = "") -> Any:
        seconds, rest = divmod(BEGIN * 10**9 + round(time * 1e9), 10**9)
        stamp = self("builtin_interfaces/msg/Time", sec=seconds, nanosec=rest)
        more = {"seq": 0} if self.ros1 else {}
        return self("std_msgs/msg/Header", stamp=stamp, frame_id=frame, **more)

    def joints(self, names: Sequence[str], position: Any, velocity: Any = (), time: float = 0.0) -> Any:
        of = {"position": position, "velocity": velocity, "effort": ()}
        arrays = {key: np.asarray(values, np.float64) for key, values in of.items()}
        return self("sensor_msgs/msg/JointState", header=self.header(time), name=list(names), **arrays)

    def numbers(self, *values: float) -> Any:
        layout = self("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
        return self("std_msgs/msg/Float64MultiArray", layout=layout, data=np.array(values, np.float64))

    def number(self, value: float) -> Any:
        return self("std_msgs/msg/Float64", data=float(value))

    def pose(self, place: Sequence[float], turn: Sequence[float]) -> Any:
        point = self("geometry_msgs/msg/Point", **dict(zip("xyz", map(float, place), strict=True)))
        quaternion = self("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", map(float, turn), strict=True)))
        inner = self("geometry_msgs/msg/Pose", position=point, orientation=quaternion)
        return self("geometry_msgs/msg/PoseStamped", header=self.header(), pose=inner)

    def transforms(self, *of: tuple[str, str, Sequence[float], Sequence[float]], time: float = 0.0) -> Any:
        """Parent, child, translation and quaternion each."""
        found = []
        for parent, child, place, turn in of:
            vector = self("geometry_msgs/msg/Vector3", **dict(zip("xyz", map(float, place), strict=True)))
            quaternion = self("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", map(float, turn), strict=True)))
            inner = self("geometry_msgs/msg/Transform", translation=vector, rotation=quaternion)
            head = self.header(time, parent)
            stamped = self("geometry_msgs/msg/TransformStamped", header=head, child_frame_id=child, transform=inner)
            found.append(stamped)
        return self("tf2_msgs/msg/TFMessage", transforms=found)

    def picture(self, rows: NDArray[Any], encoding: str, padding: int = 0, big: bool = False, time: float = 0.0) -> Any:
        """Pixels (H, W) or (H, W, C), each row followed by so many bytes."""
        dtype = rows.dtype.newbyteorder(">" if big else "<")
        data = rows.astype(dtype).reshape(len(rows), -1).view(np.uint8)
        data = np.pad(data, ((0, 0), (0, padding)))
        about = {"height": rows.shape[0], "width": rows.shape[1], "encoding": encoding, "is_bigendian": int(big)}
        kind = "sensor_msgs/msg/Image"
        return self(kind, header=self.header(time), step=data.shape[1], data=data.reshape(-1), **about)

    def packed(self, content: bytes, how: str = "jpeg") -> Any:
        data = np.frombuffer(content, np.uint8)
        return self("sensor_msgs/msg/CompressedImage", header=self.header(), format=how, data=data)

    def camera(self, *intrinsics: float) -> Any:
        fx, fy, cx, cy = intrinsics
        values = {"d": np.zeros(5), "k": np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1.0]), "r": np.eye(3).ravel()}
        values |= {"p": np.zeros(12)}
        arrays = {key.upper() if self.ros1 else key: value for key, value in values.items()}
        roi = self("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        about: dict[str, Any] = {"height": 4, "width": 6, "distortion_model": "plumb_bob", "roi": roi}
        about |= {"binning_x": 0, "binning_y": 0, "header": self.header()}
        return self("sensor_msgs/msg/CameraInfo", **about, **arrays)

    def cloud(self, points: NDArray[Any], first: int = 4, size: int = 20) -> Any:
        """Points (N, 3) of x, y, z, which begin at a byte of those of a point."""
        dtype, code = points.dtype, {4: 7, 8: 8}[points.dtype.itemsize]
        fields = [
            self("sensor_msgs/msg/PointField", name=axis, offset=first + at * dtype.itemsize, datatype=code, count=1)
            for at, axis in enumerate("xyz")
        ]
        data = np.zeros((len(points), size), np.uint8)
        data[:, first : first + 3 * dtype.itemsize] = points.view(np.uint8).reshape(len(points), -1)
        about = {"height": 1, "width": len(points), "point_step": size, "row_step": size * len(points)}
        about |= {"is_bigendian": False, "is_dense": True, "header": self.header()}
        return self("sensor_msgs/msg/PointCloud2", fields=fields, data=data.reshape(-1), **about)

    def write(self, path: Path, said: Iterable[Said]) -> Path:
        """A bag ``path`` with its ending (a folder of ROS 2); what is said at the same time keeps its order."""
        path = path.with_suffix(".bag") if self.ros1 else path
        writer: Any = Writer1(path)
        if not self.ros1:
            plugin = StoragePlugin.MCAP if self.kind == ".mcap" else StoragePlugin.SQLITE3
            writer = Writer2(path, version=9 if self.kind == ".mcap" else 8, storage_plugin=plugin)
        with writer:
            topics: dict[str, Any] = {}
            for time, topic, message in sorted(said, key=lambda of: of[0]):
                kind = message.__msgtype__
                if topic not in topics:
                    topics[topic] = writer.add_connection(topic, kind, typestore=self.store)
                pack = self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr
                writer.write(topics[topic], BEGIN * 10**9 + round(time * 1e9), bytes(pack(message, kind)))
        return path


def steadily(hz: float, seconds: float, late: float = 0.0) -> list[float]:
    """Times at which something comes so often, for so long."""
    return [late + number / hz for number in range(round(seconds * hz))]


NAMES = ("lift", "turn")
"""Joints of ``arm``."""


def arm(robot: Robot, seconds: float = 2.0) -> list[Said]:
    """Joints at 100 Hz, whose positions are the time and its double; at 50 Hz commands, which are the time."""
    said: list[Said] = [(t, "/joints", robot.joints(NAMES, (t, 2 * t), (1, 2), t)) for t in steadily(100, seconds)]
    return said + [(t, "/command", robot.numbers(t)) for t in steadily(50, seconds, late=0.005)]


def write_bags(folder: Path) -> Path:
    """A folder of bags of ROS 1 and 2, with 10, 20 and 30 frames at 10 Hz."""
    folder.mkdir()
    for number, (kind, seconds) in enumerate(((".bag", 1.0), (".mcap", 2.0), (".db3", 3.0))):
        Robot(kind).write(folder / f"run_{9 + number}", arm(Robot(kind), seconds))
    return folder
