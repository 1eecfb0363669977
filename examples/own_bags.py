"""A folder of ROS 2 bags, as `ros2 bag record` writes them, of one episode each. Needs rosbags, NumPy and SciPy alone.

`python examples/own_bags.py bags`: an arm goes to a thing that a detector sees, turns to it and closes its gripper.
Where the tool is comes 100 times a second, by tf and as a topic; where the thing is 10 times; commands to a servo 50
times; and to the gripper something is said when it is to open or to close. No topic waits for another.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

EPISODES, SECONDS, BEGIN = 20, 4, 1_700_000_000
STORE = get_typestore(Stores.ROS2_HUMBLE)
Said = tuple[float, str, Any]


def message(kind: str, *values: Any) -> Any:
    """A message with these fields."""
    return STORE.types[kind](*values)


def header(at: float) -> Any:
    """Said at so many seconds, of the frame in which the arm stands."""
    stamp = message("builtin_interfaces/msg/Time", BEGIN + int(at), int(at % 1 * 1e9))
    return message("std_msgs/msg/Header", stamp, "base")


def pose(at: float, place: Any, turn: float) -> Any:
    """A PoseStamped that points down, turned by an angle (rad) about the vertical."""
    quaternion = message("geometry_msgs/msg/Quaternion", *Rotation.from_euler("zx", [turn, np.pi]).as_quat().tolist())
    point = message("geometry_msgs/msg/Point", *np.asarray(place).tolist())
    return message("geometry_msgs/msg/PoseStamped", header(at), message("geometry_msgs/msg/Pose", point, quaternion))


def transform(at: float, place: Any, turn: float) -> Any:
    """The same as a transform from base to tool."""
    quaternion = message("geometry_msgs/msg/Quaternion", *Rotation.from_euler("zx", [turn, np.pi]).as_quat().tolist())
    vector = message("geometry_msgs/msg/Vector3", *np.asarray(place).tolist())
    inner = message("geometry_msgs/msg/Transform", vector, quaternion)
    found = message("geometry_msgs/msg/TransformStamped", header(at), "tool", inner)
    return message("tf2_msgs/msg/TFMessage", [found])


def episode(random: np.random.Generator) -> Iterator[Said]:
    """What each topic says, and when (s)."""
    thing, to_turn = random.uniform([-0.2, -0.2, 0.02], [0.2, 0.2, 0.1]), random.uniform(-1.0, 1.0)
    late = dict(zip(("/tool", "/servo", "/thing"), random.uniform(0.0, 0.05, 3), strict=True))
    place, turn, opened = np.array([0.0, 0.0, 0.4]), 0.0, True
    for tick in range(100 * SECONDS):
        at = tick / 100
        yield at + late["/tool"], "/tf", transform(at, place, turn)
        yield at + late["/tool"], "/tool", pose(at, place, turn)
        if tick % 2 == 0:
            yield at + late["/servo"], "/servo", pose(at, place + 0.1 * (thing - place), turn + 0.1 * (to_turn - turn))
        if tick % 10 == 0:
            yield at + late["/thing"], "/thing", pose(at, thing, to_turn)
        if tick == 0 or (opened and np.linalg.norm(thing - place) < 0.03):
            opened = tick == 0
            yield at, "/gripper", message("std_msgs/msg/Float64", float(opened))
        place, turn = place + 0.02 * (thing - place), turn + 0.02 * (to_turn - turn)


def write(path: Path, said: list[Said]) -> None:
    """A bag of what was said."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        kinds = {topic: of.__msgtype__ for _, topic, of in said}
        topics = {topic: writer.add_connection(topic, kind, typestore=STORE) for topic, kind in kinds.items()}
        for at, topic, of in sorted(said, key=lambda row: row[0]):
            data = STORE.serialize_cdr(of, kinds[topic])
            writer.write(topics[topic], BEGIN * 10**9 + int(at * 1e9), bytes(data))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/own_bags.py FOLDER")
    numbers = np.random.default_rng(0)
    for number in range(EPISODES):
        write(Path(sys.argv[1]) / f"episode_{number}", list(episode(numbers)))
