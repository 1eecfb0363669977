"""A policy of ROS bags on a robot on ROS: what it is shown is what the bags had, what it says is as they said it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from omp_cli.core.base.errors import DataError, OmpError, RunFailed, UsageError
from omp_cli.core.data.readers.rosbag_messages import JOINTS, parts_of
from omp_cli.core.data.store import Dataset, read_store
from omp_cli.core.data.topics import RosTopics
from omp_cli.core.deploy.config import RosConfig
from omp_cli.core.deploy.frames import as_read_by, topics_by
from omp_cli.core.deploy.ros.links import RosLink
from omp_cli.core.deploy.ros.messages import Now, RosMessages
from omp_cli.core.deploy.ros.robot import RosRobot, SwitchedRosRobot
from omp_cli.core.families import SUITES
from tests.conftest import Omp
from tests.data.arrays import jpeg
from tests.data.bags import NAMES, Robot, Said, arm, steadily

pytest.importorskip("rosbags", reason="needs the extra rosbag")

KINDS = (".bag", ".mcap")


class Graph(RosLink):
    """Topics in this process: what a test says is heard, what is published is kept."""

    def __init__(self, robot: Robot, types: Mapping[str, str]) -> None:
        self.robot, self.types = robot, dict(types)
        self.hears: dict[str, Callable[[bytes], None]] = {}
        self.sent: list[tuple[str, Any]] = []
        self.closed, self.heeds = 0, 1

    @property
    def version(self) -> Literal[1, 2]:
        return 1 if self.robot.ros1 else 2

    def published(self) -> Mapping[str, set[str]]:
        return {topic: {kind} for topic, kind in self.types.items()}

    def listeners(self, topic: str) -> int:
        return self.heeds

    def listen(self, topic: str, kind: str, hear: Callable[[bytes], None]) -> None:
        self.hears[topic] = hear

    def publisher(self, topic: str, kind: str) -> Callable[[bytes], None]:
        store = self.robot.store
        read = store.deserialize_ros1 if self.robot.ros1 else store.deserialize_cdr
        return lambda data: self.sent.append((topic, read(data, kind)))

    def now(self) -> Now:
        return 5, 6

    def check(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1

    def say(self, *said: tuple[str, Any]) -> None:
        store = self.robot.store
        pack = store.serialize_ros1 if self.robot.ros1 else store.serialize_cdr
        for topic, message in said:
            if topic in self.hears:
                self.hears[topic](bytes(pack(message, message.__msgtype__)))


def prepared(omp: Omp, folder: Path, robot: Robot, said: Iterable[Said], *line: str) -> tuple[Dataset, RosTopics]:
    """A data set of one bag at 10 Hz, and its topics."""
    bag = robot.write(folder / "run", said)
    done = omp("prepare", "own", bag, "--task", "reach", "--hz", 10, *line, "--out", folder / "d")
    assert done.code == 0, done.err
    data = read_store(folder / "d")
    topics = topics_by(data.suite)
    assert topics is not None
    return data, topics


def on_ros(
    topics: RosTopics, graph: Graph, notes: list[str] | None = None, switch: str | None = None, **config: Any
) -> RosRobot:
    said = [] if notes is None else notes
    kind = RosRobot if switch is None else SwitchedRosRobot
    return kind(topics, RosMessages(topics, graph.version), graph, RosConfig(episode=switch, **config), said.append)


def begin(live: RosRobot) -> None:
    live.reset()
    while not live.ready():
        time.sleep(0.01)


def types_of(said: Iterable[Said]) -> dict[str, str]:
    return {topic: message.__msgtype__ for _, topic, message in said}


def everything(robot: Robot, seconds: float = 1.5) -> list[Said]:
    """Joints of two publishers, a pose and a camera's by tf, depth, and cameras: one is grey, one packs pictures."""
    said: list[Said] = []
    random, half = np.random.default_rng(0), np.sqrt(0.5)
    for t in steadily(100, seconds):
        said.append((t, "/joints", robot.joints(("turn",), (t,), (1,), t)))
        said.append((t, "/joints", robot.joints(("lift", "grip"), (2 * t, 3 * t), (1, 1), t)))
        spin = (0.0, 0.0, float(np.sin(t)), float(np.cos(t)))
        said.append((t, "/tf", robot.transforms(("base", "tool", (t, 0, 1), spin), time=t)))
        still = ("tool", "camera", (0, 0, 0.1), (half, 0, 0, half))
        said += [(t, "/tf_static", robot.transforms(still, time=t))] if t == 0 else []
    for t in steadily(20, seconds):
        shown = random.integers(0, 255, (12, 12, 3), np.uint8)
        depth = random.integers(500, 1500, (12, 12)).astype(np.uint16)
        said.append((t, "/front/image_raw", robot.picture(shown, "bgr8", padding=3, time=t)))
        said.append((t, "/top/mono", robot.picture(shown[..., 0], "mono8", time=t)))
        said.append((t, "/side/compressed", robot.packed(jpeg(shown))))
        said.append((t, "/depth/image", robot.picture(depth, "16UC1", time=t)))
        said.append((t, "/depth/camera_info", robot.camera(12.0, 12.0, 6.0, 6.0)))
    return said + [(t, "/command", robot.numbers(t, 2 * t)) for t in steadily(50, seconds, late=0.005)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_what_the_bag_had(kind: str, omp: Omp, tmp_path: Path) -> None:
    """Each frame of the data set, to the bit, of the messages that were said by then."""
    robot = Robot(kind)
    said = everything(robot)
    line = ["format.state=/joints/position,tf:base>tool", "format.action=/command", "format.depth=/depth/image"]
    line += ["format.img=/front/image_raw,/top/mono,/side/compressed", "format.pose=tf:base>camera", "format.size=8"]
    settings = [part for setting in line for part in ("--set", setting)]
    data, topics = prepared(omp, tmp_path, robot, said, *settings, "--points", "32")
    graph = Graph(robot, types_of(said))
    live = on_ros(topics, graph, silence=1e6)
    live._lacking()  # it listens now
    as_read, made_of = as_read_by(data.suite)
    assert made_of["img"] == ("front", "top", "side")
    ordered, heard = sorted(said, key=lambda of: of[0]), 0
    for number in range(len(data.arrays["state"])):
        while heard < len(ordered) and ordered[heard][0] <= number / 10 + 1e-9:
            graph.say(ordered[heard][1:])
            heard += 1
        begin(live)
        frame = as_read(live.observe(), list(data.arrays))
        for name in ("state", "img", "point_cloud"):
            shown = frame[name].astype(data.arrays[name].dtype)
            np.testing.assert_array_equal(shown, data.arrays[name][number], f"{name} of frame {number}")
    assert number >= 10
    assert data.spec.state_channels is not None
    assert data.spec.state_channels.names[:3] == ("lift", "grip", "turn")


MORE = {
    "my_msgs/msg/Grip": "float32 force\nint16 steps\nbool closed\nstring mode\nfloat64[3] rest\n",
}


def commanding(robot: Robot, t: float) -> list[tuple[str, Any]]:
    """A message of every kind of command."""
    make = robot
    vector = make("geometry_msgs/msg/Vector3", x=t, y=2 * t, z=3 * t)
    duration = make("builtin_interfaces/msg/Duration", sec=1, nanosec=5)
    about = {"velocities": np.zeros(0), "accelerations": np.zeros(0), "effort": np.array([np.nan])}
    point = make(
        "trajectory_msgs/msg/JointTrajectoryPoint",
        positions=np.array([t, 2 * t]),
        time_from_start=duration,
        **about,
    )
    way = {"header": robot.header(t, "base"), "joint_names": ["lift", "turn"], "points": [point]}
    grip = {"force": t, "steps": int(10 * t), "closed": t > 0.5, "mode": "firm", "rest": np.array([1.0, 2, 3])}
    return [
        ("/servo", robot.joints(("turn", "lift"), (t, 2 * t), (0.5, 0.5), t)),
        ("/way", make("trajectory_msgs/msg/JointTrajectory", **way)),
        ("/twist", make("geometry_msgs/msg/Twist", linear=vector, angular=vector)),
        ("/hand", robot.pose((t, 0, 0), (0, 0, 0, 1))),
        ("/numbers", robot.numbers(t, t)),
        ("/grip", make("my_msgs/msg/Grip", **grip)),
    ]


COMMANDS = {
    "/numbers": 2,
    "/grip/closed": 1,
    "/servo/position": 2,
    "/way/points/positions": 2,
    "/twist/angular": 3,
    "/hand/pose/position": 3,
    "/hand/pose/orientation": 4,
    "/grip/force": 1,
    "/grip/steps": 1,
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_action_is_said_as_it_was_recorded(kind: str, omp: Omp, tmp_path: Path) -> None:
    """Each number at its place in a message of the recording's type, whose rest is as the first one's."""
    robot = Robot(kind, **MORE)
    said: list[Said] = [(t, "/joints", robot.joints(NAMES, (t, t), time=t)) for t in steadily(20, 1.0)]
    said += [(t, *of) for t in steadily(20, 1.0) for of in commanding(robot, t)]
    line = ["--set", "format.state=/joints/position", "--set", f"format.action={','.join(COMMANDS)}"]
    _, topics = prepared(omp, tmp_path, robot, said, *line)
    assert set(topics.definitions) == {"my_msgs/msg/Grip"}
    graph, notes = Graph(robot, types_of(said)), list[str]()
    live = on_ros(topics, graph, notes)
    action = np.arange(1, 1 + sum(COMMANDS.values()), dtype=np.float32)
    live.act(action)
    sent = dict(graph.sent)
    assert set(sent) == {"/servo", "/way", "/twist", "/hand", "/numbers", "/grip"}
    place = 0
    for name, width in COMMANDS.items():
        topic = f"/{name.split('/')[1]}"
        message = sent[topic]
        if message.__msgtype__ == JOINTS:
            values = message.position
        else:
            values = np.atleast_1d(parts_of(topic, message.__msgtype__, message)[name].take(message))
        expected = [1] if name == "/grip/closed" else action[place : place + width]
        np.testing.assert_array_equal(values, expected, name)
        place += width
    assert list(sent["/servo"].name) == ["turn", "lift"]
    assert len(sent["/servo"].velocity) == 0
    assert sent["/way"].joint_names == ["lift", "turn"]
    assert sent["/way"].points[0].time_from_start.nanosec == 5
    assert len(sent["/way"].points[0].effort) == 0
    assert sent["/twist"].linear.y == 0.0, "which the policy does not say"
    assert (sent["/grip"].mode, sent["/grip"].rest.tolist()) == ("firm", [1, 2, 3])
    assert (sent["/hand"].header.stamp.sec, sent["/hand"].header.stamp.nanosec) == (5, 6)
    assert sent["/way"].header.frame_id == "base"
    assert "publishes /way (trajectory_msgs/msg/JointTrajectory)" in notes, "whose NaN is said by nobody"
    repeated = "publishes /grip (my_msgs/msg/Grip), each time with rest/0 1, rest/1 2, rest/2 3, as was said first"
    assert repeated in notes


def test_numbers_become_those_that_a_message_can_have(omp: Omp, tmp_path: Path) -> None:
    robot = Robot(".mcap", **MORE)
    said: list[Said] = [(t, "/joints", robot.joints(NAMES, (t, t), time=t)) for t in steadily(20, 1.0)]
    said += [(t, *of) for t in steadily(20, 1.0) for of in commanding(robot, t)]
    line = ["--set", "format.state=/joints/position", "--set", "format.action=/grip/steps,/grip/closed"]
    _, topics = prepared(omp, tmp_path, robot, said, *line)
    graph = Graph(robot, types_of(said))
    live = on_ros(topics, graph)
    for steps, closed in ((2.6, 0.4), (-1e6, 0.6)):
        live.act(np.array([steps, closed], np.float32))
    assert [(of.steps, of.closed) for _, of in graph.sent] == [(3, False), (-32768, True)]


@pytest.fixture
def armed(omp: Omp, tmp_path: Path) -> tuple[RosTopics, Graph, Robot]:
    """Topics of ``arm``, and what a live one says."""
    robot = Robot(".mcap")
    said = arm(robot)
    _, topics = prepared(
        omp, tmp_path, robot, said, "--set", "format.state=/joints/position", "--set", "format.action=/command"
    )
    return topics, Graph(robot, types_of(said)), robot


def test_joints_keep_their_places_whoever_says_them(armed: tuple[RosTopics, Graph, Robot]) -> None:
    topics, graph, robot = armed
    live = on_ros(topics, graph, patience=0.2)
    live._lacking()
    graph.say(("/joints", robot.joints(("wheel", "turn"), (9, 2))))
    with pytest.raises(RunFailed, match=r"nothing was heard of /joints \(position of lift\) within 0.2 s"):
        begin(live)
    graph.say(("/joints", robot.joints(("lift",), (1,))), ("/joints", robot.joints((), ())))
    begin(live)
    assert live.observe()["/joints/position"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"/joints": None}, RunFailed, r"nobody publishes /joints within 0.2 s|nobody publishes /joints \(there are"),
        ({"/joints": "std_msgs/msg/Float64"}, DataError, "/joints is of std_msgs/msg/Float64, and of sensor_msgs"),
    ],
)
def test_a_topic_that_is_not_as_it_was(
    change: dict[str, str | None], error: type[OmpError], text: str, armed: tuple[RosTopics, Graph, Robot]
) -> None:
    topics, graph, _ = armed
    graph.types = {topic: kind for topic, kind in {**graph.types, **change}.items() if kind is not None}
    with pytest.raises(error, match=text):
        begin(on_ros(topics, graph, patience=0.2))


def test_what_falls_silent_ends_the_loop(armed: tuple[RosTopics, Graph, Robot]) -> None:
    topics, graph, robot = armed
    live = on_ros(topics, graph, silence=0.2)
    live._lacking()
    graph.say(("/joints", robot.joints(NAMES, (1, 2))))
    begin(live)
    live.observe()
    time.sleep(0.25)
    with pytest.raises(RunFailed, match=r"nothing was heard of /joints/position \(lift\) for 0\.2"):
        live.observe()


def test_a_message_that_is_none_is_told_by_the_loop_itself(armed: tuple[RosTopics, Graph, Robot]) -> None:
    topics, graph, robot = armed
    live = on_ros(topics, graph)
    live._lacking()
    graph.say(("/joints", robot.joints(NAMES, (1, 2))))
    begin(live)
    graph.hears["/joints"](b"\0\1\0\0abc")
    with pytest.raises(DataError, match="/joints: a message is no sensor_msgs/msg/JointState"):
        live.observe()


def test_what_comes_with_one_version_of_ros_is_known_of_the_other(omp: Omp, tmp_path: Path) -> None:
    """tf2_msgs is among the types of ROS 2 that rosbags knows, and not among those of ROS 1."""
    robot, other = Robot(".mcap"), Robot(".bag")
    line = ["--set", "format.state=tf:base>tool", "--set", "format.action=/command"]
    _, topics = prepared(omp, tmp_path, robot, everything(robot), *line)
    graph = Graph(other, types_of(everything(other)))
    live = on_ros(topics, graph)
    live._lacking()
    graph.say(("/tf", other.transforms(("base", "tool", (1, 2, 3), (0, 0, 0, 1)))))
    begin(live)
    assert live.observe()["tf:base>tool"].tolist() == [1, 2, 3, 0, 0, 0, 1]


def test_topics_of_other_names(armed: tuple[RosTopics, Graph, Robot]) -> None:
    topics, graph, robot = armed
    graph.types = {"/left/joints": graph.types["/joints"]}
    notes: list[str] = []
    live = on_ros(topics, graph, notes, listen=["/joints:=/left/joints"], publish=["/command:=/left/command"])
    live._lacking()
    graph.say(("/left/joints", robot.joints(NAMES, (1, 2))))
    graph.heeds = 0
    begin(live)
    assert notes[-1].startswith("nobody listens to /left/command as it is published")
    live.act(np.array([3], np.float32))
    assert [(topic, message.data.tolist()) for topic, message in graph.sent] == [("/left/command", [3])]
    with pytest.raises(UsageError, match=r"ros\.listen: no topic '/joint' is among those of the recording"):
        on_ros(topics, graph, listen=["/joint:=/left/joints"])
    for wrong in ("/joints=/left", "/joints:=left", ":=/left"):
        with pytest.raises(ValueError, match="/RECORDED:=/LIVE"):
            RosConfig(listen=(wrong,))
    with pytest.raises(ValueError, match="named twice"):
        RosConfig(listen=("/a:=/b", "/a:=/c"))


def test_what_the_robot_says_of_itself_is_not_said_in_its_place(omp: Omp, tmp_path: Path) -> None:
    """Of a robot that was led by hand: its next pose becomes a message, on a topic that has to be named."""
    robot = Robot(".mcap")
    said = everything(robot)
    line = ["--set", "format.state=tf:base>tool", "--set", "format.action=tf:base>tool,/joints/position"]
    _, topics = prepared(omp, tmp_path, robot, said, *line)
    graph = Graph(robot, types_of(said))
    with pytest.raises(UsageError, match="the action is what tf:base>tool said in the recording") as told:
        on_ros(topics, graph)
    assert "of geometry_msgs/msg/PoseStamped: --set 'ros.publish=tf:base>tool:=/COMMAND'" in str(told.value.hint)
    live = on_ros(topics, graph, publish=["tf:base>tool:=/target"])
    live.act(np.arange(1, 11, dtype=np.float32))
    (_, pose), (_, joints) = graph.sent
    where, turn = pose.pose.position, pose.pose.orientation
    assert (pose.header.frame_id, where.x, where.z, turn.x, turn.w) == ("base", 1, 3, 4, 7)
    assert (list(joints.name), joints.position.tolist()) == (["lift", "grip", "turn"], [8, 9, 10])


def test_the_end_and_the_shadow(armed: tuple[RosTopics, Graph, Robot]) -> None:
    topics, graph, _ = armed
    notes: list[str] = []
    on_ros(topics, graph, notes).close()
    assert (graph.sent, graph.closed) == ([], 1)
    assert "the last command stands" in notes[-1]
    still = on_ros(topics, graph, stop="zero")
    still.pause()
    still.close()
    assert graph.sent == [], "it has not been moved"
    moved = on_ros(topics, graph, stop="zero")
    assert moved.act(np.ones(1, np.float32))
    moved.pause()
    moved.close()
    assert [message.data.tolist() for _, message in graph.sent] == [[1], [0]]
    graph.sent.clear()
    shadow = on_ros(topics, graph, notes, shadow=True)
    assert not shadow.act(np.ones(1, np.float32)), "nothing was sent"
    shadow.close()
    assert graph.sent == []
    assert notes[-1].startswith("ros.shadow: nothing is published")


def test_a_robot_is_moved_while_a_topic_says_so(armed: tuple[RosTopics, Graph, Robot]) -> None:
    topics, graph, robot = armed
    graph.types["/enable"] = "std_msgs/msg/Float64"
    live, notes = on_ros(topics, graph, notes := list[str](), switch="/enable", patience=0.2, stop="zero"), notes
    live._lacking()
    graph.say(("/joints", robot.joints(NAMES, (1, 2))))
    with pytest.raises(RunFailed, match=r"nothing was heard of /enable, ros\.episode, within"):
        begin(live)
    graph.say(("/enable", robot.number(0)))
    live.reset()
    assert not live.ready()
    assert not live.ready()
    assert notes.count("waits for /enable") == 1
    graph.say(("/enable", robot.number(float("nan"))))
    assert not live.ready(), "what is no number allows nothing"
    graph.say(("/enable", robot.number(1)))
    assert live.ready()
    assert isinstance(live, SwitchedRosRobot)
    assert live.act(np.ones(1, np.float32))
    assert not live.done()
    graph.say(("/enable", robot.number(0)))
    assert not live.act(np.full(1, 2, np.float32)), "the loop has asked done() before it was released"
    assert live.done()
    live.reset()
    live.close()
    assert [message.data.tolist() for _, message in graph.sent] == [[1], [0]]


@pytest.mark.parametrize(
    ("words", "ends"),
    [
        (["1", "1"], False),  # what speaks at times is held until it says otherwise
        (["0", "pause", *"1111111"], True),  # also one that had been quiet before
        (["1", "1", "1", "1", "1", "at once"], False),  # what was kept for us comes in one go
        ([*"1111111", "0"], False),  # and what is off may be quiet
    ],
)
def test_a_switch_that_is_on_and_falls_silent_ends_the_loop(
    words: list[str], ends: bool, armed: tuple[RosTopics, Graph, Robot]
) -> None:
    topics, graph, robot = armed
    graph.types["/enable"] = "std_msgs/msg/Float64"
    live = on_ros(topics, graph, switch="/enable", silence=0.2)
    live._lacking()
    graph.say(("/joints", robot.joints(NAMES, (1, 2))))
    live._lacking()
    for word in words:
        if word in "01":
            graph.say(("/enable", robot.number(float(word))))
            time.sleep(0.0 if words[-1] == "at once" else 0.01)
        elif word == "pause":
            time.sleep(0.5)
    assert isinstance(live, SwitchedRosRobot)
    live.reset()
    assert live.ready() == (words[-1] != "0")
    time.sleep(0.3)
    if ends:
        with pytest.raises(RunFailed, match=r"nothing was heard of /enable for 0\.3"):
            live.done()
    else:
        assert live.done() == (words[-1] == "0")


def test_depth_of_another_unit_is_refused(omp: Omp, tmp_path: Path) -> None:
    robot = Robot(".mcap")
    said = everything(robot)
    line = ["format.state=/joints/position", "format.action=/command", "format.depth=/depth/image"]
    settings = [part for of in line for part in ("--set", of)]
    _, topics = prepared(omp, tmp_path, robot, said, *settings, "--points", "32")
    graph = Graph(robot, types_of(said))
    live = on_ros(topics, graph)
    live._lacking()
    metres = robot.picture(np.ones((12, 12), np.float32), "32FC1")
    graph.say(("/joints", robot.joints(("lift", "grip", "turn"), (1, 2, 3))), ("/depth/image", metres))
    begin(live)
    with pytest.raises(DataError, match="/depth/image: its pixels are float32, and uint16 in the recording"):
        live.observe()


def test_a_switch_can_be_a_number_of_a_message(omp: Omp, tmp_path: Path) -> None:
    """As in ``format.episode``, whose topic's definition is kept."""
    robot = Robot(".mcap", **{"my_msgs/msg/Status": "int32 error\nbool on\n"})
    said = [*arm(robot), *((t, "/status", robot("my_msgs/msg/Status", error=0, on=True)) for t in steadily(20, 2.0))]
    line = ["format.state=/joints/position", "format.action=/command", "format.episode=/status/on"]
    _, topics = prepared(omp, tmp_path, robot, said, *(part for of in line for part in ("--set", of)))
    graph = Graph(robot, types_of(said))
    for name, error, on, moved in (("/status/on", 3, True, True), ("/status/on", 3, False, False)):
        live = on_ros(topics, graph, switch=name)
        live._lacking()
        graph.say(("/joints", robot.joints(NAMES, (1, 2))))
        live._lacking()
        graph.say(("/status", robot("my_msgs/msg/Status", error=error, on=on)))
        live.reset()
        assert live.ready() == moved
    several = on_ros(topics, graph, switch="/status")
    several._lacking()
    graph.say(("/joints", robot.joints(NAMES, (1, 2))))
    several._lacking()
    graph.say(("/status", robot("my_msgs/msg/Status", error=0, on=True)))
    several.reset()
    with pytest.raises(UsageError, match="/status: no number, or true and false, of a message of my_msgs/msg/Status"):
        several.ready()


def test_each_source_has_a_silence_of_its_own(omp: Omp, tmp_path: Path) -> None:
    """An arm at 100 Hz and a gripper at 1 Hz, which is silent for longer and may be; and frames of tf likewise."""
    robot, still = Robot(".mcap"), (0.0, 0.0, 0.0, 1.0)
    said: list[Said] = [(t, "/joints", robot.joints(("arm",), (t,), time=t)) for t in steadily(100, 12.0)]
    said += [(t, "/joints", robot.joints(("grip",), (t,), time=t)) for t in steadily(1, 12.0)]
    said += [(t, "/tf", robot.transforms(("base", "tool", (t, 0, 0), still), time=t)) for t in steadily(100, 12.0)]
    said += [(t, "/tf", robot.transforms(("map", "base", (t, 0, 0), still), time=t)) for t in steadily(1, 12.0)]
    said += [(t, "/command", robot.number(t)) for t in steadily(50, 12.0)]
    line = ["--set", "format.state=/joints/position,tf:map>tool", "--set", "format.action=/command"]
    _, topics = prepared(omp, tmp_path, robot, said, *line)
    every = {name: of.every for name, of in topics.observed.items()}
    assert every["/joints/position"] == pytest.approx({"arm": 0.01}, abs=1e-4)
    assert every["tf:map>tool"] == pytest.approx({"tf:base>tool": 0.01}, abs=1e-4)
    graph = Graph(robot, types_of(said))
    live = on_ros(topics, graph, silence=0.2)
    live._lacking()

    def say(*who: str) -> None:
        frames = {"tool": ("base", "tool", (0, 0, 0), still), "base": ("map", "base", (0, 0, 0), still)}
        graph.say(*(("/joints", robot.joints((one,), (1,))) for one in who if one not in frames))
        graph.say(*(("/tf", robot.transforms(frames[one])) for one in who if one in frames))

    say("arm", "grip", "tool", "base")
    begin(live)
    time.sleep(0.25)
    say("arm", "tool")
    live.observe()
    time.sleep(0.25)
    say("tool")
    with pytest.raises(RunFailed, match=r"nothing was heard of /joints/position \(arm\)"):
        live.observe()
    time.sleep(0.25)
    say("arm")
    with pytest.raises(RunFailed, match=r"nothing was heard of tf:map>tool \(tf:base>tool\)"):
        live.observe()


def test_what_comes_slowly_may_be_silent_for_three_of_its_steps(omp: Omp, tmp_path: Path) -> None:
    robot = Robot(".mcap")
    said = [*arm(robot, 4.0), *((t, "/slow", robot.number(t)) for t in steadily(5, 4.0))]
    line = ["--set", "format.state=/slow,/joints/velocity", "--set", "format.action=/command"]
    _, topics = prepared(omp, tmp_path, robot, said, *line)
    graph = Graph(robot, types_of(said))
    live = on_ros(topics, graph, silence=0.1)
    live._lacking()
    for pause, ends in ((0.4, False), (0.8, True)):
        graph.say(("/slow", robot.number(3)), ("/joints", robot.joints(NAMES, (1, 2), (3, 4))))
        begin(live)
        time.sleep(pause)
        graph.say(("/joints", robot.joints(NAMES, (1, 2), (3, 4))))
        if ends:
            with pytest.raises(RunFailed, match=r"nothing was heard of /slow for 0\.8"):
                live.observe()
        else:
            frame = live.observe()
            assert (frame["/slow"].tolist(), frame["/joints/velocity"].tolist()) == ([3], [3, 4])


def test_joints_that_say_places_and_speeds_in_turn(armed: tuple[RosTopics, Graph, Robot]) -> None:
    topics, graph, robot = armed
    live = on_ros(topics, graph)
    live._lacking()
    graph.say(("/joints", robot.joints(NAMES, (1, 2))), ("/joints", robot.joints(NAMES, (), (3, 4))))
    begin(live)
    assert live.observe()["/joints/position"].tolist() == [1, 2]


def test_a_message_that_is_a_vector_or_a_cloud(omp: Omp, tmp_path: Path) -> None:
    """A cloud whose topic is called as a policy's array is cropped and sampled, also if it has as many points."""
    robot, random = Robot(".mcap"), np.random.default_rng(0)
    said: list[Said] = [(t, "/state", robot.number(t)) for t in steadily(20, 1.0)]
    clouds = [random.uniform(-1, 1, (64, 3)).astype(np.float32) for _ in range(20)]
    said += [(t, "/point_cloud", robot.cloud(of)) for t, of in zip(steadily(20, 1.0), clouds, strict=True)]
    vector = lambda t: robot("geometry_msgs/msg/Vector3", x=t, y=2 * t, z=3 * t)  # noqa: E731
    said += [(t, "/speed", vector(t)) for t in steadily(20, 1.0)]
    line = ["--set", "format.state=/state", "--set", "format.action=/speed", "--set", "format.cloud=/point_cloud"]
    data, topics = prepared(omp, tmp_path, robot, said, *line, "--points", "16", "--crop=-0.8,-0.8,-0.8,0.8,0.8,0.8")
    graph = Graph(robot, types_of(said))
    live = on_ros(topics, graph, stop="zero")
    live._lacking()
    as_read, _ = as_read_by(data.suite)
    few = np.full((16, 3), 0.95, np.float32)
    few[:12] = random.uniform(-0.7, 0.7, (12, 3))
    for cloud in (few, clouds[0]):
        graph.say(("/state", robot.number(3)), ("/point_cloud", robot.cloud(cloud)))
        begin(live)
        frame = as_read(live.observe(), ("state", "point_cloud"))
        assert frame["state"].tolist() == [3]
        assert np.abs(frame["point_cloud"]).max() <= 0.8
    np.testing.assert_array_equal(frame["point_cloud"], data.arrays["point_cloud"][0])
    live.act(np.array([1, 2, 3], np.float32))
    live.close()
    assert [(of.x, of.y, of.z) for _, of in graph.sent] == [(1, 2, 3), (0, 0, 0)]


def test_the_rest_of_a_command_moves_nothing(omp: Omp, tmp_path: Path) -> None:
    """Speeds that a policy does not say are 0; integers are exact, and a time of 0 stays it."""
    robot = Robot(".mcap", **{"my_msgs/msg/Numbered": "std_msgs/Header header\nuint64 id\nfloat64 speed\n"})
    axes = [robot("geometry_msgs/msg/Vector3", x=0.5, y=1.0, z=1.5) for _ in range(2)]
    head = robot("std_msgs/msg/Header", stamp=robot("builtin_interfaces/msg/Time", sec=0, nanosec=0), frame_id="arm")
    numbered = robot("my_msgs/msg/Numbered", header=head, id=2**64 - 1, speed=1.0)
    said: list[Said] = [(t, "/joints", robot.joints(NAMES, (t, t), time=t)) for t in steadily(20, 1.0)]
    for t in steadily(20, 1.0):
        said += [(t, "/go", robot("geometry_msgs/msg/Twist", linear=axes[0], angular=axes[1])), (t, "/set", numbered)]
    line = ["--set", "format.state=/joints/position", "--set", "format.action=/go/linear,/set/speed"]
    _, topics = prepared(omp, tmp_path, robot, said, *line)
    graph = Graph(robot, types_of(said))
    live = on_ros(topics, graph, stop="zero")
    live.act(np.array([1, 2, 3, 4], np.float32))
    live.close()
    (_, go), (_, told), (_, still), (_, last) = graph.sent
    assert [(of.linear.x, of.angular.x, of.angular.z) for of in (go, still)] == [(1, 0, 0), (0, 0, 0)]
    assert [(of.id, of.speed, of.header.stamp.sec) for of in (told, last)] == [(2**64 - 1, 4, 0), (2**64 - 1, 0, 0)]


def test_names_that_meet(omp: Omp, tmp_path: Path) -> None:
    """Two recorded topics can be one live one; two commands cannot."""
    robot = Robot(".mcap")
    said: list[Said] = []
    for t in steadily(50, 1.0):
        said += [(t, "/left", robot.joints(("l",), (t,), time=t)), (t, "/right", robot.joints(("r",), (t,), time=t))]
        said += [(t, "/a", robot.number(t)), (t, "/b", robot.number(t))]
    line = ["--set", "format.state=/left/position,/right/position", "--set", "format.action=/a,/b"]
    _, topics = prepared(omp, tmp_path, robot, said, *line)
    graph = Graph(robot, {"/joints": JOINTS})
    with pytest.raises(UsageError, match="/b is the name of two commands"):
        on_ros(topics, graph, publish=["/a:=/b"])
    live = on_ros(topics, graph, listen=["/left:=/joints", "/right:=/joints"])
    live._lacking()
    graph.say(("/joints", robot.joints(("r", "l"), (1, 2))))
    begin(live)
    frame = live.observe()
    assert (frame["/left/position"].tolist(), frame["/right/position"].tolist()) == ([2], [1])


def test_zero_is_no_place_to_stop_at(omp: Omp, tmp_path: Path) -> None:
    robot = Robot(".mcap")
    said: list[Said] = [(t, "/joints", robot.joints(NAMES, (t, t), time=t)) for t in steadily(20, 1.0)]
    said += [(t, "/hand", robot.pose((t, 0, 0), (0, 0, 0, 1))) for t in steadily(20, 1.0)]
    said += [(t, "/goal", robot("geometry_msgs/msg/Point", x=t, y=t, z=t)) for t in steadily(20, 1.0)]
    for action, place in (("/hand/pose/position", "pose/position"), ("/goal", "geometry_msgs/msg/Point")):
        line = ["--set", "format.state=/joints/position", "--set", f"format.action={action}"]
        folder = tmp_path / place.replace("/", "_")
        folder.mkdir()
        _, topics = prepared(omp, folder, robot, said, *line)
        with pytest.raises(UsageError, match=f"0 for {place} of .* is a place to go to"):
            on_ros(topics, Graph(robot, types_of(said)), stop="zero")


def test_suites_of_simulators_have_no_topics() -> None:
    assert topics_by({"name": "toy"}) is None
    assert SUITES.build(SUITES.parse({"name": "toy"})).topics() is None
