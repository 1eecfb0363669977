"""ROS bags of both generations: what holds at each frame, what is called how, and what is told of odd ones."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.core.base.errors import DataError, MissingDependency, UsageError
from omp_cli.core.base.progress import Silent
from omp_cli.core.data.catalogue import TaskFacts
from omp_cli.core.data.readers import FORMATS, Recording, Subject
from omp_cli.core.data.readers.base import sniff
from omp_cli.core.data.store import STORE, read_store
from omp_cli.core.spec import Rotation
from tests.conftest import Omp
from tests.data.bags import NAMES, Robot, Said, arm, steadily, write_bags

pytest.importorskip("rosbags", reason="needs the extra rosbag")

KINDS = (".bag", ".db3", ".mcap")
BY_MCAP = Path(__file__).parent / "written_by_mcap" / "arm.mcap"
BY_ROS = Path(__file__).parent / "written_by_ros" / "arm.bag"


def read(path: Path, hz: float | None = 10.0, limit: int | None = None, **config: Any) -> Recording:
    subject = Subject("own", "task", TaskFacts(max_steps=100, control_hz=1.0), hz=hz)
    reader = FORMATS.build(FORMATS.parse({"name": "rosbag", **config}))
    return reader.read(path, subject, limit, Silent())


ARM = {"state": ["/joints/position"], "action": ["/command"]}


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_what_was_said_last(kind: str, tmp_path: Path) -> None:
    """Of observations at the frame, of actions by the next one: 0.085, 0.185 s come before 0.1, 0.2 s."""
    path = Robot(kind).write(tmp_path / "run", arm(Robot(kind)))
    assert sniff(path) == "rosbag"
    found = read(path, **ARM)
    (episode,) = found.episodes
    times = np.arange(20) / 10
    np.testing.assert_allclose(episode["state"], np.stack([times, 2 * times], 1), atol=1e-6)
    np.testing.assert_allclose(episode["action"][:, 0], times + 0.085, atol=1e-6)
    assert (found.hz, found.names["state"], found.names["action"]) == (10.0, NAMES, ("/command",))
    assert found.parts == (("/joints/position", 2),)


def test_what_another_recorder_has_written(omp: Omp, tmp_path: Path) -> None:
    """Forty messages at 20 Hz of joints and of a type of somebody's own, 10 ms later."""
    assert sniff(BY_MCAP) == "rosbag"
    action = "format.action=/command/q,/command/closed,/command/grip/force"
    line = ["--task", "reach", "--hz", 10, "--set", "format.state=/joint_states/position", "--set", action]
    done = omp("prepare", "own", BY_MCAP, *line, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    data, k = read_store(tmp_path / "d"), 2 * np.arange(20)
    np.testing.assert_allclose(data.arrays["state"], np.stack([k * 0.5, -k * 0.25], 1))
    now = k + 1  # the last command before the next frame
    np.testing.assert_allclose(data.arrays["action"], np.stack([now * 0.5, now, now > 20, -now], 1))
    assert data.spec.state_channels is not None
    assert data.spec.state_channels.names == ("lift", "turn")
    assert "left out: /command/mode (one number), /command/grip/width (one number)" in " ".join(done.out.split())


def test_what_ros_has_written(tmp_path: Path) -> None:
    """Packed by ROS 1's own rosbag: joints and a tool at 20 Hz, commands 10 ms later, a camera at 10 Hz."""
    found = read(
        BY_ROS,
        state=["/joint_states/position", "tf:base>tool"],
        action=["/command", "/closed"],
        img="/camera/image_raw",
    )
    (episode,), k = found.episodes, 2 * np.arange(20)
    turn = [0 * k, 0 * k, np.sin(k / 80), np.cos(k / 80)]
    np.testing.assert_allclose(
        episode["state"], np.stack([k * 0.5, -k * 0.25, k, 0 * k, 0 * k + 1, *turn], 1), atol=1e-6
    )
    np.testing.assert_allclose(episode["action"], np.stack([(k + 1) * 0.5, k + 1, k + 1 > 20], 1))
    np.testing.assert_array_equal(episode["img"][:, 2, 3], np.stack([0 * k + 200, 0 * k, k], 1))
    assert (found.names["state"][:3], found.cameras) == (
        ("lift", "turn", "tf:base>tool.x"),
        ("camera",),
    )


def test_a_folder_of_bags_is_an_episode_each(tmp_path: Path) -> None:
    (write_bags(tmp_path / "day") / "notes.txt").write_text("nothing")
    found = read(tmp_path / "day", **ARM)
    assert [len(episode["action"]) for episode in found.episodes] == [10, 20, 30]
    assert found.said[0].startswith("3 bags, by the numbers in their names: run_9.bag to run_11, an episode each")
    assert [len(episode["action"]) for episode in read(tmp_path / "day", limit=2, **ARM).episodes] == [10, 20]
    files = FORMATS.build(FORMATS.parse({"name": "rosbag"})).files(tmp_path / "day", 2)
    assert [file.name for file in files] == ["run_9.bag", "metadata.yaml", "run_10.mcap"]


def test_pictures_of_all_kinds(tmp_path: Path) -> None:
    """Of three cameras, with blue first, behind rows of odd lengths and in grey; a frame repeats what came last."""
    robot, colours = Robot(".mcap"), np.zeros((4, 6, 3), np.uint8)
    colours[..., 0], colours[:2, :, 1] = 200, 90
    said = arm(robot)
    for number, t in enumerate(steadily(5, 2.0)):
        shown = colours.copy()
        shown[..., 2] = number
        said.append((t, "/left/image_raw", robot.picture(shown[..., ::-1], "bgr8", padding=3)))
        said.append((t, "/right/color/image_raw", robot.picture(np.dstack([shown, shown[..., 0]]), "rgba8")))
        said.append((t, "/top/image_mono", robot.picture(shown[..., 2], "mono8")))
    path = robot.write(tmp_path / "run", said)
    found = read(path, **ARM, img=["/left/image_raw", "/right/color/image_raw", "/top/image_mono"])
    pictures = found.episodes[0]["img"]
    expected = np.repeat(np.arange(10), 2)[: len(pictures)]
    for first in (0, 3):
        np.testing.assert_array_equal(pictures[..., first], 200)
        np.testing.assert_array_equal(pictures[0, :, 0, first + 1], [90, 90, 0, 0])
        np.testing.assert_array_equal(pictures[:, 0, 0, first + 2], expected)
    np.testing.assert_array_equal(pictures[:, 3, 5, 6:], np.repeat(expected[:, None], 3, 1))
    assert found.cameras == ("left", "right", "top")
    assert "/left/image_raw comes at 5 Hz, and frames repeat it" in " ".join(found.said)


def png(pixels: np.ndarray) -> bytes:
    av = pytest.importorskip("av")
    coder, form = av.CodecContext.create("png", "w"), "rgb24" if pixels.ndim == 3 else "gray16be"
    coder.height, coder.width, coder.pix_fmt = *pixels.shape[:2], form
    frame = av.VideoFrame.from_ndarray(pixels, format=form)
    return b"".join(bytes(packet) for packet in (*coder.encode(frame), *coder.encode(None)))


def test_packed_pictures(tmp_path: Path) -> None:
    robot, said = Robot(".db3"), arm(Robot(".db3"))
    for number, t in enumerate(steadily(10, 2.0)):
        content = png(np.full((4, 6, 3), (9, 8, number), np.uint8))
        said.append((t, "/cam/image_raw/compressed", robot.packed(content, "rgb8; png compressed")))
        said.append((t, "/cam/other/compressedDepth", robot.packed(b"0" * 99, "16UC1; compressedDepth rvl")))
    found = read(robot.write(tmp_path / "run", said), **ARM, img=["/cam/image_raw/compressed"])
    pictures = found.episodes[0]["img"]
    assert (pictures[:, 0, 0, 2] == np.arange(len(pictures))).all()
    assert (pictures[..., :2] == (9, 8)).all()
    assert found.cameras == ("cam",)
    assert "topics that omp does not read: /cam/other/compressedDepth (16UC1; compressedDepth rvl)" in found.said


def test_packed_depth(tmp_path: Path) -> None:
    """Its PNG comes after twelve bytes; the camera is beside the topic that was packed."""
    robot, said = Robot(".mcap"), arm(Robot(".mcap"))
    for number, t in enumerate(steadily(10, 2.0)):
        content = png((np.arange(24).reshape(4, 6) + 1000 * number).astype(np.uint16))
        how = "16UC1; compressedDepth png"
        said.append((t, "/cam/image_raw/compressedDepth", robot.packed(bytes(12) + content, how)))
        said.append((t, "/cam/camera_info", robot.camera(10, 20, 3, 2)))
    found = read(robot.write(tmp_path / "run", said), **ARM, depth="/cam/image_raw/compressedDepth")
    depth = found.episodes[0]["depth"]
    np.testing.assert_array_equal(depth[3], np.arange(24).reshape(4, 6) + 3000)
    assert found.camera == {"depth_scale": 0.001, "intrinsics": (10.0, 20.0, 3.0, 2.0)}
    for number, t in enumerate(steadily(10, 2.0)):
        odd_one = png(np.zeros((4, 6, 3), np.uint8)) if number == 9 else content
        said.append((t, "/odd/image_raw/compressedDepth", robot.packed(bytes(12) + odd_one, how)))
    with pytest.raises(DataError, match="message 9: its PNG is a picture of rgb24, expected one channel of 16 bits"):
        read(robot.write(tmp_path / "odd", said), **ARM, depth="/odd/image_raw/compressedDepth")


@pytest.mark.parametrize("kind", KINDS)
def test_depth_with_its_camera(kind: str, omp: Omp, tmp_path: Path) -> None:
    """Millimetres, the intrinsics and where the camera is come from the bag: points lie where they were seen."""
    robot = Robot(kind)
    said = arm(robot)
    said.append((0.0, "/tf_static", robot.transforms(("tool", "camera", (0, 0, 0.5), (0, 0, 0, 1)))))
    for t in steadily(20, 2.0):
        depth = np.full((4, 6), 2000, np.uint16)
        said.append((t, "/cam/depth/image_raw", robot.picture(depth, "16UC1", padding=2, big=kind == ".bag")))
        said.append((t, "/cam/depth/camera_info", robot.camera(10, 20, 3, 2)))
        said.append((t, "/tf", robot.transforms(("base", "tool", (t, 0, 0), (0, 0, 0, 1)))))
    path = robot.write(tmp_path / "run", said)
    line = ["--hz", 10, "--task", "see", "--set", "format.state=/joints/position", "--set", "format.action=/command"]
    line += ["--set", "format.depth=/cam/depth/image_raw", "--set", "format.pose=tf:base>camera", "--points", 24]
    done = omp("prepare", "own", path, *line, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    assert "camera, as the file says: depth_scale=0.001, intrinsics=(10.0, 20.0, 3.0, 2.0)" in done.out
    cloud = read_store(tmp_path / "d").arrays["point_cloud"]
    x, y = np.meshgrid((np.arange(6) - 3) / 10 * 2, (np.arange(4) - 2) / 20 * 2)
    for frame, points in enumerate(cloud):
        expected = np.stack([x.ravel() + frame / 10, y.ravel(), np.full(24, 2.5)], 1)
        order, mine = np.lexsort(points.T.round(4)), np.lexsort(expected.T.round(4))
        np.testing.assert_allclose(points[order], expected[mine], atol=1e-5)
    other = omp("prepare", "own", path, *line, "--set", "camera.depth_scale=0.002", "--out", tmp_path / "e")
    assert "camera, as the file says: intrinsics=(10.0, 20.0, 3.0, 2.0)" in other.out
    assert read_store(tmp_path / "e").arrays["point_cloud"][..., 2].max() == pytest.approx(4.5)


def test_depth_is_depth(tmp_path: Path) -> None:
    robot = Robot(".mcap")
    grey = [(t, "/cam", robot.picture(np.zeros((4, 6), np.uint8), "mono8")) for t in steadily(10, 2.0)]
    metres = [(t, "/far", robot.picture(np.full((4, 6), 1.5, np.float32), "32FC1")) for t in steadily(10, 2.0)]
    path = robot.write(tmp_path / "run", [*arm(robot), *grey, *metres])
    with pytest.raises(UsageError, match="/cam is no depth but mono8"):
        read(path, **ARM, depth="/cam")
    found = read(path, **ARM, depth="/far")
    assert found.camera == {"depth_scale": 1.0}
    np.testing.assert_array_equal(found.episodes[0]["depth"], 1.5)


def test_clouds_of_any_size(tmp_path: Path) -> None:
    """Those of all bags get as many points as the largest has; what is missing is not a number."""
    robot = Robot(".mcap")
    for run, most in enumerate((5, 8)):
        said = arm(robot)
        for number, t in enumerate(steadily(10, 2.0)):
            points = np.arange(3 * (most - number % 2), dtype=np.float64 if run else np.float32).reshape(-1, 3)
            said.append((t, "/points", robot.cloud(points, size=32)))
        robot.write(tmp_path / "day" / f"{run}", said)
    found = read(tmp_path / "day", **ARM, cloud="/points")
    first, second = (episode["point_cloud"] for episode in found.episodes)
    assert first.shape[1:] == second.shape[1:] == (8, 3)
    np.testing.assert_array_equal(second[0], np.arange(24).reshape(8, 3))
    np.testing.assert_array_equal(first[1, :4], np.arange(12).reshape(4, 3))
    assert np.isnan(first[1, 4:]).all()


def test_joints_of_several_publishers(tmp_path: Path) -> None:
    """Whoever comes first: the hand's and the arm's joints are one vector, from when both were heard."""
    robot, both = Robot(".mcap"), []
    for t in steadily(100, 2.0):
        both.append((t + 0.3, "/joints", robot.joints(("wrist", "elbow"), (t, -t))))
        both.append((t + 0.004, "/joints", robot.joints(("finger",), (5 + t,))))
    commands = [(t, "/command", robot.numbers(t)) for t in steadily(50, 2.3)]
    found = read(robot.write(tmp_path / "run", both + commands), **ARM)
    assert found.names["state"] == ("finger", "wrist", "elbow")
    state = found.episodes[0]["state"]
    times = np.arange(len(state)) / 10
    np.testing.assert_allclose(state[:17, 1], times[:17], atol=1e-6)
    np.testing.assert_allclose(state[:17, 2], -times[:17], atol=1e-6)
    np.testing.assert_allclose(state[:17, 0], 5.29 + times[:17], atol=1e-6)


def test_joints_of_several_bags(tmp_path: Path) -> None:
    """In the order of the first one, and never others."""
    for number, names in enumerate((("a", "b"), ("b", "a"), ("b", "c"))):
        robot = Robot(".mcap")
        said = [(t, "/joints", robot.joints(names, [ord(name) for name in names])) for t in steadily(50, 2.0)]
        robot.write(tmp_path / "day" / str(number), said + [of for of in arm(robot) if of[1] == "/command"])
    found = read(tmp_path / "day", limit=2, **ARM)
    assert found.names["state"] == ("a", "b")
    for episode in found.episodes:
        np.testing.assert_array_equal(episode["state"][0], [ord("a"), ord("b")])
    with pytest.raises(DataError, match="/joints/position: b, c, and a, b in the first bag"):
        read(tmp_path / "day", **ARM)


def test_poses_of_frames(tmp_path: Path) -> None:
    """The tool in the base, each in another frame that turns: found by hand as a rotation about z."""
    robot, turned = Robot(".db3"), np.sqrt(0.5)
    said = arm(robot, 3.0)
    said.append((0.5, "/tf_static", robot.transforms(("world", "base", (1, 0, 0), (0, 0, turned, turned)))))
    for t in steadily(100, 3.0):
        turn = (0, 0, np.sin(t / 2), np.cos(t / 2))
        said.append(
            (t, "/tf", robot.transforms(("world", "link", (0, 0, t), turn), ("link", "tool", (1, 0, 0), (0, 0, 0, 1))))
        )
    path = robot.write(tmp_path / "run", said)
    names = ["tf:base>tool"]
    found = read(path, state=names, action=["/command"])
    state = found.episodes[0]["state"]
    t = np.arange(len(state)) / 10
    x, y = np.cos(t) - 1, np.sin(t)  # from the base in the world, which is turned by a quarter
    np.testing.assert_allclose(state[:, :3], np.stack([y, -x, t], 1), atol=1e-6)
    angle = t - np.pi / 2
    expected = np.stack([0 * t, 0 * t, np.sin(angle / 2), np.cos(angle / 2)], 1)
    np.testing.assert_allclose(np.abs((state[:, 3:] * expected).sum(1)), 1.0, atol=1e-6)
    assert found.names["state"] == ("x", "y", "z", "qx", "qy", "qz", "qw")
    assert found.spec.state_rotations == (Rotation(first=3, kind="quaternion"),)
    with pytest.raises(UsageError, match="no frame 'tol' in tf") as told:
        read(path, state=["tf:base>tol"], action=["/command"])
    assert "tool" in str(told.value.hint)
    with pytest.raises(UsageError, match="'tf:base' does not name two frames"):
        read(path, state=["tf:base"], action=["/command"])


def test_each_transform_of_a_way_counts(tmp_path: Path) -> None:
    """One that stops ends the episode; what never moves is no time, and what is told twice moves."""
    robot, still = Robot(".mcap"), (0, 0, 0, 1)
    said = arm(robot, 4.0)
    said += [(t, "/tf", robot.transforms(("map", "odom", (t, 0, 0), still))) for t in steadily(50, 2.0)]
    said += [(t, "/tf", robot.transforms(("odom", "base", (0, t, 0), still))) for t in steadily(50, 4.0)]
    said.append(
        (0.0, "/tf_static", robot.transforms(("base", "eye", (0, 0, 2), still), ("map", "cup", (9, 0, 0), still)))
    )
    said += [(t, "/tf", robot.transforms(("map", "cup", (9 + t, 0, 0), still))) for t in steadily(50, 4.0, 0.02)]
    said += [(t, "/tf", robot.transforms(("two", "odd", (0, 0, 0), still))) for t in (1.0, 2.0)]
    said += [(t, "/tf", robot.transforms(("map", "odd", (0, 0, 0), still))) for t in (1.5, 2.5)]
    path = robot.write(tmp_path / "run", said)
    found = read(path, state=["tf:map>eye"], action=["/command"])
    assert len(found.episodes[0]["state"]) == 20
    assert "the last 2.0 s are left out, after tf:map>odom had ended" in " ".join(found.said)
    np.testing.assert_allclose(found.episodes[0]["state"][10, :3], [1, 1, 2], atol=1e-6)
    cup = read(path, state=["tf:/map>cup"], action=["/command"]).episodes[0]["state"]
    np.testing.assert_allclose(cup[20, 0], 11, atol=1e-6)
    fixed = read(path, state=["/joints/position", "tf:base>eye"], action=["/command"])
    assert not any("left out, before" in sentence for sentence in fixed.said)
    with pytest.raises(DataError, match="tf:map>odd: odd is in two, and in map"):
        read(path, state=["tf:map>odd"], action=["/command"])
    with pytest.raises(DataError, match="nothing that is named moves"):
        read(path, state=["tf:base>eye"], action=["tf:base>eye"])


@pytest.mark.parametrize("turn", [(0, 0, 0, 0), (np.nan, 0, 0, 1)])
def test_a_transform_that_is_none(turn: tuple[float, ...], tmp_path: Path) -> None:
    robot = Robot(".mcap")
    said = arm(robot) + [(t, "/tf", robot.transforms(("map", "base", (0, 0, 0), turn))) for t in steadily(20, 2.0)]
    path = robot.write(tmp_path / "run", said)
    with pytest.raises(DataError, match=f"{path}: tf:map>base: the rotation of base in map is no quaternion"):
        read(path, state=["tf:map>base"], action=["/command"])
    assert len(read(path, **ARM).episodes[0]["state"]) == 20, "nobody asked for it"


def test_frames_that_nothing_joins(tmp_path: Path) -> None:
    robot = Robot(".bag")
    said = arm(robot)
    said += [(t, "/tf", robot.transforms(("a", "b", (0, 0, 0), (0, 0, 0, 1)))) for t in steadily(10, 2.0)]
    said += [(t, "/tf", robot.transforms(("c", "d", (0, 0, 0), (0, 0, 0, 1)))) for t in steadily(10, 2.0)]
    with pytest.raises(UsageError, match="nothing in tf leads from b to d: their roots are a and c"):
        read(robot.write(tmp_path / "run", said), state=["tf:b>d"], action=["/command"])


def test_quaternions_that_nobody_has_filled_in(tmp_path: Path) -> None:
    """They are numbers as all others, and told; those of a hand are rotations by their type."""
    robot = Robot(".mcap")
    said = arm(robot)
    said += [(t, "/hand", robot.pose((0, 0, t), (0, 0, 0, 1))) for t in steadily(20, 2.0)]
    said += [(t, "/goal", robot.pose((0, 0, t), (0, 0, 0, 0))) for t in steadily(20, 2.0)]
    state = ["/hand/pose/position", "/hand/pose/orientation", "/goal/pose/orientation"]
    found = read(robot.write(tmp_path / "run", said), state=state, action=["/command"])
    assert found.spec.state_rotations == (Rotation(first=3, kind="quaternion"),)
    assert "state: /goal/pose/orientation is no rotation in 20 of 20 frames, and taken as numbers" in found.said
    assert found.names["state"][2:5] == (
        "/hand/pose/position.z",
        "/hand/pose/orientation.x",
        "/hand/pose/orientation.y",
    )


def test_where_an_episode_begins_and_ends(tmp_path: Path) -> None:
    """From when all is known to when what comes steadily stops; a gripper that is told twice does not end it."""
    robot = Robot(".mcap")
    said = [(t, "/joints", robot.joints(NAMES, (t, t))) for t in steadily(100, 8.0)]
    said += [(t, "/command", robot.numbers(t)) for t in steadily(50, 4.0, late=2.0)]
    said += [(t, "/gripper", robot.number(t)) for t in (2.5, 4.0)]
    path = robot.write(tmp_path / "run", said)
    found = read(path, state=["/joints/position"], action=["/command", "/gripper"])
    state, action = found.episodes[0]["state"], found.episodes[0]["action"]
    assert state[0, 0] == pytest.approx(2.4), "a frame before the first word to the gripper"
    assert state[-1, 0] == pytest.approx(5.9, abs=0.011)
    np.testing.assert_allclose(np.unique(action[:, 1]), [2.5, 4.0])
    assert (action[:, 1] == 4.0).sum() == len(action) - 15
    told = " ".join(found.said)
    assert "run: the first 2.4 s are left out, before /gripper came" in told
    assert "run: the last 2.0 s are left out, after /command had ended" in told
    alone = read(path, state=["/joints/position"], action=["/gripper"])
    assert alone.episodes[0]["state"][-1, 0] == pytest.approx(7.9, abs=0.011)


@pytest.mark.parametrize("clock", ["received", "stamped"])
@pytest.mark.parametrize("kind", KINDS)
def test_several_episodes_in_a_bag(kind: str, clock: str, tmp_path: Path) -> None:
    """As a topic says: from 1 to 3 s the first, then at once the second to 4.5 s, after a slip the third to the end."""
    robot = Robot(kind)
    (tmp_path / "day").mkdir()
    said = arm(robot, 8.0)
    told = ((0.0, 0), (1.0, 1), (3.0, 2), (4.5, 0), (5.0, 1), (5.05, 0), (6.0, 3))
    said += [(t, "/demonstration", robot.number(value)) for t, value in told]
    for number, t in enumerate(steadily(20, 8.0)):
        said.append((t, "/cam/image_raw", robot.picture(np.full((4, 6, 3), number, np.uint8), "rgb8", time=t)))
    path = robot.write(tmp_path / "day" / "run", said)
    found = read(path, **ARM, img="/cam/image_raw", episode="/demonstration", clock=clock)
    assert [len(episode["action"]) for episode in found.episodes] == [20, 15, 20]
    for begin, episode in zip((1.0, 3.0, 6.0), found.episodes, strict=True):
        times = begin + np.arange(len(episode["action"])) / 10
        np.testing.assert_allclose(episode["state"][:, 0], times, atol=1e-6)
        np.testing.assert_allclose(episode["action"][:, 0], times + 0.085, atol=1e-6)
        np.testing.assert_array_equal(episode["img"][:, 0, 0, 0], np.round(times * 20))
    few = read(tmp_path / "day", limit=2, **ARM, episode="/demonstration")
    assert [len(episode["action"]) for episode in few.episodes] == [20, 15]
    assert few.said[0].startswith(f"{path.name}, several episodes each")
    path = robot.write(tmp_path / "day" / "slow", [of for of in said if not 2.0 < of[0] < 2.7])
    told = " ".join(read(tmp_path / "day", **ARM, episode="/demonstration").said)
    assert f"{path.name}, episode 0: nothing came of /joints/position for 0.7 s, 1.0 s after the begin" in told
    with pytest.raises(UsageError, match="no '/demo' in it"):
        read(path, **ARM, episode="/demo")
    with pytest.raises(UsageError, match=r"format\.episode is a topic of one number, or of true and false"):
        read(path, **ARM, episode="/joints/velocity")
    never = robot.write(tmp_path / "never", [*arm(robot), (0.5, "/demonstration", robot.number(0))])
    with pytest.raises(DataError, match="/demonstration is 0 all the time"):
        read(never, **ARM, episode="/demonstration")


@pytest.mark.parametrize("late", [0.500000037, 0.300000101, 0.123456789])
@pytest.mark.parametrize("hz", [7.0, 20.0, 29.97])
def test_no_frame_is_before_the_first_word(late: float, hz: float, tmp_path: Path) -> None:
    """Whatever the nanoseconds, the first action is the first command, and none is the bag's last."""
    robot = Robot(".mcap")
    said = [(t, "/joints", robot.joints(NAMES, (t, t))) for t in steadily(100, 3.0)]
    said += [(t, "/command", robot.numbers(t)) for t in steadily(40, 2.5, late)]
    (episode,) = read(robot.write(tmp_path / "run", said), hz, **ARM).episodes
    assert episode["action"][0, 0] == pytest.approx(late)
    assert (np.diff(episode["action"][:, 0]) >= 0).all()
    assert (np.diff(episode["state"][:, 0]) >= 0).all()


def test_what_is_state_and_action_is_the_next_state(omp: Omp, tmp_path: Path) -> None:
    """Of an arm that is led by hand; a command beside it is not moved twice."""
    robot = Robot(".mcap")
    path = robot.write(tmp_path / "run", arm(robot, 3.0))
    found = read(path, state=["/joints/position"], action=["/joints/position", "/command"])
    (episode,) = found.episodes
    np.testing.assert_array_equal(episode["action"][:-1, :2], episode["state"][1:])
    np.testing.assert_allclose(episode["action"][:, 2], np.arange(30) / 10 + 0.085, atol=1e-6)
    assert found.names["action"] == (*NAMES, "/command")
    line = ["--hz", 10, "--set", "format.state=/joints/position", "--set", "format.action=/joints/position"]
    done = omp("prepare", "own", path, *line, "--out", tmp_path / "d")
    assert "actions from next /joints/position (2)" in " ".join(done.out.split())


def test_what_comes_of_actions_is_nothing_until_it_is_said(tmp_path: Path) -> None:
    robot = Robot(".db3")
    said = [*arm(robot, 3.0), (2.75, "/success", robot.number(1.0)), (2.75, "/time", robot.number(1.0))]
    (episode,) = read(robot.write(tmp_path / "run", said), **ARM, success="/success").episodes
    np.testing.assert_array_equal(episode["success"], [False] * 27 + [True] * 3)


def test_bursts_and_the_last_word(tmp_path: Path) -> None:
    """Three messages at once, 30 times a second, until 3 s; and one of three words of a gripper after that."""
    robot = Robot(".bag")
    said = [(t + k * 0.0002, "/joints", robot.joints(NAMES, (t, t))) for t in steadily(30, 3.0) for k in range(3)]
    said += [(t, "/command", robot.numbers(t)) for t in steadily(50, 6.0)]
    found = read(robot.write(tmp_path / "run", said), **ARM)
    assert len(found.episodes[0]["state"]) == 29
    assert "the last 3.0 s are left out, after /joints/position had ended" in " ".join(found.said)
    slider = [(t, "/slider", robot.number(t)) for begin in (0.0, 4.0) for t in steadily(50, 1.0, begin)]
    told = read(
        robot.write(tmp_path / "two", [*arm(robot, 9.0), *slider]), **{**ARM, "action": ["/command", "/slider"]}
    )
    assert len(told.episodes[0]["state"]) == 90, "it says something when it moves, and holds"
    assert "nothing came of /slider for 4.0 s, 5.0 s after the begin" in " ".join(told.said)


def test_pauses_are_told(tmp_path: Path) -> None:
    robot = Robot(".bag")
    said = [of for of in arm(robot, 6.0) if of[1] != "/command" or not 2.0 < of[0] < 3.5]
    found = read(robot.write(tmp_path / "run", said), **ARM)
    assert "run.bag: nothing came of /command for 1.5 s, 2.0 s after the begin" in " ".join(found.said)
    action = found.episodes[0]["action"][:, 0]
    assert (action[20:34] == action[20]).all(), "what was said last holds"


def test_the_time_that_a_message_says(tmp_path: Path) -> None:
    """A recorder that got joints 0.3 s late: with ``clock=stamped`` they count from when they were measured."""
    robot = Robot(".mcap")
    said: list[Said] = [(t + 0.3, "/joints", robot.joints(NAMES, (t, t), (), t)) for t in steadily(100, 3.0)]
    said += [(t, "/command", robot.numbers(t)) for t in steadily(50, 3.3)]
    path = robot.write(tmp_path / "run", said)
    late = read(path, **ARM).episodes[0]
    assert late["action"][5, 0] - late["state"][5, 0] == pytest.approx(0.4, abs=0.021)
    there = read(path, **ARM, clock="stamped").episodes[0]
    assert there["action"][5, 0] - there["state"][5, 0] == pytest.approx(0.1, abs=0.021)
    said = [(t + (0.045 if number % 5 == 0 else 0.0), *of) for number, (t, *of) in enumerate(said)]
    swapped = read(robot.write(tmp_path / "swapped", said), **ARM, clock="stamped").episodes[0]
    np.testing.assert_array_equal(swapped["state"][:20], there["state"][:20])


def test_pictures_that_arrive_in_another_order(tmp_path: Path) -> None:
    robot = Robot(".db3")
    said = arm(robot, 3.0)
    for number, t in enumerate(steadily(20, 3.0)):
        shown = robot.picture(np.full((4, 6, 3), number, np.uint8), "rgb8", time=t)
        said.append((t + (0.13 if number % 3 == 0 else 0.01), "/cam", shown))
    (episode,) = read(robot.write(tmp_path / "run", said), **ARM, img="/cam", clock="stamped").episodes
    np.testing.assert_array_equal(episode["img"][:, 0, 0, 0], 2 * np.arange(len(episode["img"])))


def test_topics_that_nobody_names_refuse_nothing(omp: Omp, tmp_path: Path) -> None:
    """A radar without coordinates, a picture of nothing, pictures in mosaic, times; what is asked for is said."""
    robot = Robot(".mcap")
    mosaic = robot.picture(np.zeros((4, 6), np.uint8), "bayer_rggb8")
    said = [*arm(robot), (0.5, "/bayer", mosaic), (0.5, "time", robot.number(3)), (0.5, "reward", robot.number(1))]
    said.append((0.5, "/radar", replace(robot.cloud(np.zeros((4, 3), np.float32)), fields=[])))
    said.append((0.5, "/none", replace(mosaic, encoding="rgb8", height=0, width=0, step=0, data=np.zeros(0, np.uint8))))
    path = robot.write(tmp_path / "run", said)
    found = read(path, **ARM)
    told = " ".join(found.said)
    assert "/bayer (bayer_rggb8)" in told
    assert "/radar (its points have no x, y and z" in told
    assert "reward" not in found.episodes[0]
    with pytest.raises(UsageError, match="no '/bayer': bayer_rggb8, which omp does not read"):
        read(path, **ARM, img="/bayer")
    line = ["--hz", 10, "--set", "format.state=/a", "--set", "format.action=/b"]
    assert omp("prepare", "own", path, *line, "--out", tmp_path / "d").code == 2
    robot.write(tmp_path / "day" / "a", arm(robot))
    robot.write(tmp_path / "day" / "b", [(0.0, "/other", robot.number(1))])
    with pytest.raises(UsageError, match="b: no '/joints/position' in it"):
        read(tmp_path / "day", **ARM)


def test_what_lies_beside_bags_is_told(tmp_path: Path) -> None:
    robot = Robot(".mcap")
    for name in ("run0", "run1", "sub/run2"):
        robot.write(tmp_path / "day" / name, arm(robot))
    (tmp_path / "day" / "run1" / "metadata.yaml").unlink()
    told = " ".join(read(tmp_path / "day", **ARM).said)
    assert "not taken, for they are no bags: run1, sub (ros2 bag reindex mends one without metadata)" in told


def test_joints_whose_first_message_says_less(tmp_path: Path) -> None:
    robot = Robot(".bag")
    said = [(t, "/joints", robot.joints(("finger",), (t,), (), t)) for t in steadily(50, 2.0)]
    said += [(t + 0.001, "/joints", robot.joints(NAMES, (t, t), (1, 2), t)) for t in steadily(50, 2.0)]
    said += [of for of in arm(robot) if of[1] == "/command"]
    found = read(robot.write(tmp_path / "run", said), state=["/joints/velocity"], action=["/command"])
    assert found.names["state"] == NAMES
    np.testing.assert_array_equal(found.episodes[0]["state"][3], [1, 2])
    bare = [(t, "/joints", robot.joints((), (t, t))) for t in steadily(50, 2.0)]
    bare += [of for of in arm(robot) if of[1] == "/command"]
    assert read(robot.write(tmp_path / "bare", bare), **ARM).episodes[0]["state"].shape == (20, 2)


def test_what_is_state_what_is_action_and_how_often_has_to_be_said(tmp_path: Path) -> None:
    robot = Robot(".mcap")
    path = robot.write(tmp_path / "run", arm(robot))
    with pytest.raises(UsageError, match="does not say what is the state; it has: /command") as told:
        read(path)
    assert "/joints/position (2), /joints/velocity (2)" in told.value.message
    assert "--set 'format.state=" in str(told.value.hint)
    with pytest.raises(UsageError, match="what is the action"):
        read(path, state=["/joints/position"])
    with pytest.raises(UsageError, match=r"rates of their own: /joints/position 100 Hz, /command 50 Hz") as told:
        read(path, hz=None, **ARM)
    assert "--hz 20" in str(told.value.hint)
    with pytest.raises(UsageError, match="no '/joint/position' in it") as told:
        read(path, state=["/joint/position"], action=["/command"])
    assert "/joints/position" in str(told.value.hint)
    with pytest.raises(DataError, match=r"fewer than two frames at 0\.5 Hz"):
        read(path, hz=0.5, **ARM)


def test_types_that_nothing_defines(tmp_path: Path) -> None:
    """An older bag of ROS 2 has no definitions: the usual types are known, one of somebody's own is told."""
    robot = Robot(".db3", **{"lab_msgs/msg/Grip": "float64 width"})
    said = arm(robot)
    said.append((0.1, "/grip", robot("lab_msgs/msg/Grip", width=0.1)))
    path = robot.write(tmp_path / "run", said)
    import apsw

    database = apsw.Connection(str(path / "run.db3"))
    for (table,) in list(database.execute("select name from sqlite_master where name = 'message_definitions'")):
        database.execute(f"delete from {table}")
    database.close()
    found = read(path, **ARM)
    assert "topics that omp does not read: /grip (lab_msgs/msg/Grip, which nothing defines)" in found.said


def picture(robot: Robot, number: int, width: int = 6) -> Any:
    return robot.picture(np.zeros((4, 6 if number < 9 else width, 3), np.uint8), "rgb8")


def odd(message: Any, number: int, **values: Any) -> Any:
    """A message that contradicts itself from the tenth on."""
    return message if number < 9 else replace(message, **values)


def cloud(robot: Robot, number: int) -> Any:
    return odd(robot.cloud(np.zeros((4, 3), np.float32)), number, point_step=8)


ODD: dict[str, tuple[Any, str, str]] = {
    "size": (lambda r, n: picture(r, n, 5), "img", r"message 9 is \(4, 5, 3\) uint8, the first \(4, 6, 3\) uint8"),
    "rows": (lambda r, n: odd(picture(r, n), n, step=17), "img", "4 rows of 17 bytes, 6 pixels of rgb8 each"),
    "encoding": (lambda r, n: odd(picture(r, n), n, encoding="yuv422"), "img", "its encoding is yuv422"),
    "points": (cloud, "cloud", "4 points of 8 each, and has 80 bytes"),
    "numbers": (lambda r, n: r.numbers(*range(3 if n < 9 else 2)), "state", r"has \(2,\) numbers in message 9"),
}
"""What makes the messages of a topic, its role, and what is said of the tenth."""


@pytest.mark.parametrize("what", ODD)
def test_messages_that_change_are_told(what: str, tmp_path: Path) -> None:
    make, role, message = ODD[what]
    robot = Robot(".mcap")
    said = arm(robot) + [(t, "/odd", make(robot, number)) for number, t in enumerate(steadily(10, 2.0))]
    path = robot.write(tmp_path / "run", said)
    with pytest.raises(DataError, match=message) as told:
        read(path, **{**ARM, role: ["/odd"]})
    assert f"{path}: /odd" in told.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_told(kind: str, omp: Omp, tmp_path: Path) -> None:
    robot = Robot(kind)
    path = robot.write(tmp_path / "run", arm(robot))
    file = path if kind == ".bag" else path / f"run{kind}"
    whole = file.read_bytes()
    state, action = ("format.state=/joints/position", "format.action=/command")
    for cut in (len(whole) // 2, 100):
        file.write_bytes(whole[:cut])
        done = omp("prepare", "own", path, "--hz", 10, "--set", state, "--set", action, "--out", tmp_path / "d")
        assert done.code == 3, done.err
        assert "damaged, or no bag" in done.err
        assert not (tmp_path / "d" / STORE).exists()
    file.unlink()
    done = omp("prepare", "own", path, "--hz", 10, "--set", state, "--set", action)
    assert done.code == 3, done.err


def test_what_only_ends_as_a_bag(omp: Omp, tmp_path: Path) -> None:
    (tmp_path / "a.bag").write_text("no bag")
    done = omp("prepare", "own", tmp_path / "a.bag", "--hz", 10)
    assert (done.code, "of no known format" in done.err) == (3, True)
    done = omp("prepare", "own", tmp_path / "a.bag", "--hz", 10, "--format", "rosbag")
    assert done.code == 3
    assert "no bag of ROS" in done.err


def test_a_trajectory_is_for_the_same_joints_in_each_message(tmp_path: Path) -> None:
    robot, duration = Robot(".mcap"), Robot(".mcap")("builtin_interfaces/msg/Duration", sec=0, nanosec=0)

    def way(names: tuple[str, ...], t: float) -> Any:
        none = {key: np.zeros(0) for key in ("velocities", "accelerations", "effort")}
        kind = "trajectory_msgs/msg/JointTrajectoryPoint"
        point = robot(kind, positions=np.array([t, 2 * t]), time_from_start=duration, **none)
        kind = "trajectory_msgs/msg/JointTrajectory"
        return robot(kind, header=robot.header(t), joint_names=list(names), points=[point])

    settings = {"state": ["/joints/position"], "action": ["/way/points/positions"]}
    said = [*arm(robot), *((t, "/way", way(NAMES, t)) for t in steadily(50, 2.0))]
    found = read(robot.write(tmp_path / "a", said), **settings)
    assert found.names["action"] == NAMES
    turned = [(t, topic, way(NAMES[::-1], t) if topic == "/way" and t > 1 else of) for t, topic, of in said]
    with pytest.raises(DataError, match="it is for the joints turn, lift, the first one for lift, turn"):
        read(robot.write(tmp_path / "b", turned), **settings)


def test_from_bags_to_an_action(omp: Omp, tmp_path: Path) -> None:
    """Two bags that are named, a policy of them, and a robot that is asked by the names of its topics."""
    import omp_cli as library

    for number, kind in enumerate((".mcap", ".bag")):
        robot = Robot(kind)
        said = arm(robot, 3.0)
        said += [(t, "/hand", robot.pose((t, 0, 0), (0, 0, np.sin(t), np.cos(t)))) for t in steadily(50, 3.0)]
        said += [
            (t, "/wrist/image_raw", robot.picture(np.full((16, 16, 3), number, np.uint8), "rgb8"))
            for t in steadily(20, 3.0)
        ]
        robot.write(tmp_path / f"run{number}", said)
    state = "format.state=/joints/position,/hand/pose/orientation"
    line = ["--task", "reach", "--hz", 10, "--set", state, "--set", "format.action=/hand/pose/orientation,/command"]
    bags = [tmp_path / "run0", tmp_path / "run1.bag"]
    done = omp("prepare", "own", *bags, *line, "--set", "format.img=/wrist/image_raw", "--out", tmp_path / "d")
    assert done.code == 0, done.err
    few = ["--steps", 2, "--batch-size", 4]
    done = omp("pretrain", tmp_path / "d", "--preset", "dmpo", *few, "--out", tmp_path / "r")
    assert done.code == 0, done.err
    policy = library.load(tmp_path / "r")
    frame = {"position": np.zeros(2), "orientation": np.array([0, 0, 0, 1.0]), "wrist": np.zeros((16, 16, 3), np.uint8)}
    action = policy.act(frame)
    assert action.shape[-1] == 5
    np.testing.assert_allclose(np.linalg.norm(np.atleast_2d(action)[..., :4], axis=-1), 1.0, atol=1e-5)


def test_without_rosbags_the_line_that_installs_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    robot = Robot(".mcap")
    path = robot.write(tmp_path / "run", arm(robot))
    for name in [name for name in sys.modules if name.startswith("rosbags")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency, match="rosbags is not installed") as told:
        read(path, **ARM)
    assert told.value.hint == "pip install 'omp-cli[rosbag]'"
