"""``omp deploy --ros`` on a graph of ROS 2 itself: a node of another process is watched and moved."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.core.base.manifest import read_manifest
from tests.conftest import Omp, omp_process
from tests.data.bags import NAMES, Robot, Said, arm

pytest.importorskip("rosbags", reason="needs the extra rosbag")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of bags of ROS 2: two joints and a goal that is said once."""
    folder = tmp_path_factory.mktemp("ros2")
    robot = Robot(".mcap")
    said: list[Said] = [*arm(robot, 2.0), (0.0, "/goal", robot.number(0.5))]
    robot.write(folder / "bag", said)
    line = ["--task", "reach", "--hz", "10", "--set", "format.action=/command"]
    lines = [
        [
            "prepare",
            "own",
            folder / "bag",
            *line,
            "--set",
            "format.state=/joints/position,/goal",
            "--out",
            folder / "d",
        ],
        [
            "pretrain",
            folder / "d",
            "--preset",
            "dmpo-state",
            "--lambda-disp",
            "0",
            "--steps",
            "2",
            "--out",
            folder / "r",
        ],
    ]
    for each in lines:
        done = omp_process(*each, cwd=folder)
        _, err = done.communicate(timeout=120)
        assert done.returncode == 0, err
    return folder / "r"


class Arm:
    """A node with joints at 100 Hz, best effort and in another order; a goal, which it says once; and a command."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
        from rclpy.signals import SignalHandlerOptions
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Float64, Float64MultiArray

        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("arm", context=self.context)
        self.commands: list[list[float]] = []
        self.moved = threading.Event()
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.joints = self.node.create_publisher(JointState, "/joints", best_effort)
        self.goal = self.node.create_publisher(Float64, "/goal", latched)
        self.goal.publish(Float64(data=0.25))
        self.node.create_subscription(Float64MultiArray, "/command", self.hear, 10)
        self.timer = self.node.create_timer(0.01, self.say)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin, daemon=True)
        self.thread.start()

    def say(self) -> None:
        from sensor_msgs.msg import JointState

        self.joints.publish(JointState(name=list(NAMES[::-1]), position=[2.0, 1.0]))

    def hear(self, message: Any) -> None:
        self.commands.append(list(message.data))
        if len(self.commands) >= 5:
            self.moved.set()

    def close(self) -> None:
        self.executor.shutdown()
        self.thread.join(timeout=5)
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def arm_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Arm]:
    pytest.importorskip("rclpy", reason="needs rclpy, of ROS 2", exc_type=ImportError)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(20 + os.getpid() % 80))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    node = Arm()
    yield node
    node.close()


def test_a_robot_is_watched_and_moved_until_ctrl_c(arm_node: Arm, learned: Path, tmp_path: Path) -> None:
    loop = omp_process("deploy", learned, "--ros", "--out", tmp_path / "o", cwd=tmp_path)
    assert arm_node.moved.wait(60), loop.communicate(timeout=5)
    loop.send_signal(signal.SIGINT)
    _, err = loop.communicate(timeout=30)
    assert loop.returncode == 130, err
    for line in ("listens to /goal, /joints", "publishes /command (std_msgs/msg/Float64MultiArray)"):
        assert line in " ".join(err.split())
    manifest = read_manifest(tmp_path / "o")
    assert manifest.status == "interrupted"
    ticks = [json.loads(line) for line in (tmp_path / "o" / "ticks.jsonl").read_text().splitlines()]
    time.sleep(0.2)
    assert len(ticks) == len(arm_node.commands), "each tick is one message, and none is lost"
    np.testing.assert_allclose([tick["action"] for tick in ticks], arm_node.commands, rtol=1e-6)


def test_the_shadow_says_nothing_and_sees_what_is_said(arm_node: Arm, learned: Path, omp: Omp, tmp_path: Path) -> None:
    done = omp(
        "deploy", learned, "--ros", "--set", "ros.shadow=true", "--seconds", 1, "--out", tmp_path / "o", "--json"
    )
    assert done.code == 0, done.err
    assert done.json["result"]["ticks"] >= 8
    assert arm_node.commands == []


def test_what_a_line_asks_for_and_cannot_have(
    learned: Path, run: Path, omp: Omp, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = omp("deploy", run, "--ros")
    assert none.code == 2
    assert "this policy did not learn from ROS bags" in none.err
    both = omp("deploy", learned, "--ros", "--replay", learned)
    assert (both.code, "two things" in both.err) == (2, True)
    without = omp("deploy", learned, "--replay", learned, "--set", "ros.shadow=true")
    assert (without.code, "settings of ros go with --ros" in without.err) == (2, True)
    for module, line in (("rclpy", ()), ("rospy", ("--set", "ros.version=1"))):
        monkeypatch.setitem(sys.modules, module, None)
        missing = omp("deploy", learned, "--ros", *line)
        assert missing.code == 4
        assert f"{module}, of ROS" in missing.err
        assert "--system-site-packages" in " ".join(missing.err.split())
