"""``omp deploy --ros`` on a graph of ROS 2 itself: a node of another process, and of another Python, is moved."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.data.topics import RosTopics
from omp_cli.core.deploy.ros import links, node
from omp_cli.core.deploy.ros.links import RosNode
from omp_cli.core.deploy.ros.messages import RosMessages
from tests.conftest import Omp, omp_process
from tests.data.bags import Robot, Said, arm

pytest.importorskip("rosbags", reason="needs the extra rosbag")

PYTHON = Path(sys.prefix) / "ros2" / "bin" / "python"
"""Of an environment with rclpy, which ``tests/run.sh`` makes."""


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of bags of ROS 2: two joints and a goal that is said once."""
    folder = tmp_path_factory.mktemp("ros2")
    robot = Robot(".mcap")
    said: list[Said] = [*arm(robot, 2.0), (0.0, "/goal", robot.number(0.5))]
    robot.write(folder / "bag", said)
    line = ["--task", "reach", "--hz", "10", "--set", "format.action=/command"]
    lines = [
        ["prepare", "own", "bag", *line, "--set", "format.state=/joints/position,/goal", "--out", "d"],
        ["pretrain", "d", "--preset", "dmpo-state", "--lambda-disp", "0", "--steps", "2", "--out", "r"],
    ]
    for each in lines:
        done = omp_process(*each, cwd=folder)
        _, err = done.communicate(timeout=120)
        assert done.returncode == 0, err
    return folder / "r"


class Arm:
    """The node of ``ros_arm.py``.

    Args:
        folder: where its output goes.
        each: seconds for which its switch is off and on in turn; 0 for off.
    """

    def __init__(self, folder: Path, each: float) -> None:
        self.file = folder / "commands.jsonl"
        script = Path(__file__).parent / "ros_arm.py"
        with self.file.open("w") as out:
            self.process = subprocess.Popen([PYTHON, script, str(each)], stdout=out)

    @property
    def heard(self) -> list[list[float] | bool]:
        """Commands, and what the switch said when it changed."""
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    @property
    def commands(self) -> list[list[float]]:
        return [of for of in self.heard if not isinstance(of, bool)]

    def wait(self, commands: int, seconds: float = 60.0) -> bool:
        ends = time.monotonic() + seconds
        while len(self.commands) < commands and time.monotonic() < ends:
            time.sleep(0.02)
        return len(self.commands) >= commands


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Arm]:
    if not PYTHON.exists():
        pytest.skip("needs rclpy, of ROS 2, in an environment of its own (tests/run.sh)")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(20 + os.getpid() % 80))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    found = Arm(tmp_path, 2.0)
    yield found
    found.process.kill()
    found.process.wait()


LINE = ("--ros", "--set", f"ros.python={PYTHON}")


def test_a_robot_is_watched_and_moved_until_ctrl_c(robot: Arm, learned: Path, tmp_path: Path) -> None:
    loop = omp_process("deploy", learned, *LINE, "--set", "ros.stop=zero", "--out", tmp_path / "o", cwd=tmp_path)
    assert robot.wait(5), loop.communicate(timeout=5)
    loop.send_signal(signal.SIGINT)
    _, err = loop.communicate(timeout=30)
    assert loop.returncode == 130, err
    for line in ("listens to /goal, /joints", "publishes /command (std_msgs/msg/Float64MultiArray)"):
        assert line in " ".join(err.split())
    assert read_manifest(tmp_path / "o").status == "interrupted"
    ticks = [json.loads(line) for line in (tmp_path / "o" / "ticks.jsonl").read_text().splitlines()]
    assert robot.wait(len(ticks) + 1, 5), "each tick is one message, and the end is one more"
    *commands, last = robot.commands
    assert last == [0]
    np.testing.assert_allclose([tick["action"] for tick in ticks], commands, rtol=1e-6)


def test_a_robot_moves_while_its_switch_is_on_and_stops_when_it_is_off(
    robot: Arm, learned: Path, omp: Omp, tmp_path: Path
) -> None:
    line = ("--set", "ros.episode=/enable", "--set", "ros.stop=zero", "--episodes", 2)
    done = omp("deploy", learned, *LINE, *line, "--out", tmp_path / "o", "--json")
    assert done.code == 0, done.err
    episodes = "".join("+" if of is True else "-" if of is False else "0" if of == [0] else "c" for of in robot.heard)
    assert re.fullmatch(r"[+-]*\+c+-c?0\+c+-c?0[+-]*", episodes), episodes


def test_who_waits_for_the_switch_can_be_stopped(robot: Arm, learned: Path, tmp_path: Path) -> None:
    robot.process.kill()
    robot.process.wait()
    off = Arm(tmp_path, 0)
    try:
        line = ("--set", "ros.episode=/enable", "--set", "ros.stop=zero", "--out", tmp_path / "o")
        loop = omp_process("deploy", learned, *LINE, *line, cwd=tmp_path)
        assert loop.stderr is not None
        assert any("waits for /enable" in text for text in loop.stderr)
        loop.terminate()
        loop.communicate(timeout=20)
        assert loop.returncode == 143
        assert off.commands == []
    finally:
        off.process.kill()


def test_the_shadow_says_nothing(robot: Arm, learned: Path, omp: Omp, tmp_path: Path) -> None:
    setup = tmp_path / "setup"  # whatever sets ROS up may print something
    setup.write_text(f'#!/bin/sh\necho welcome\nexec {PYTHON} "$@"\n')
    setup.chmod(0o755)
    line = ("--ros", "--set", f"ros.python={setup}", "--set", "ros.shadow=true", "--seconds", 1)
    done = omp("deploy", learned, *line, "--out", tmp_path / "o", "--json")
    assert done.code == 0, done.err
    assert done.json["result"]["ticks"] >= 8
    assert robot.commands == []
    assert (tmp_path / "o" / "ros.log").read_text().startswith("welcome")


@pytest.mark.parametrize("what", ["the robot", "the node"])
def test_who_dies_ends_the_loop(what: str, robot: Arm, learned: Path, tmp_path: Path) -> None:
    loop = omp_process("deploy", learned, *LINE, "--set", "ros.silence=0.5", "--out", tmp_path / "o", cwd=tmp_path)
    assert robot.wait(3), loop.communicate(timeout=5)
    (child,) = [of for of in psutil.Process(loop.pid).children() if "node.py" in " ".join(of.cmdline())]
    robot.process.kill() if what == "the robot" else child.kill()
    _, err = loop.communicate(timeout=30)
    assert loop.returncode == 1
    said = {"the robot": "nothing was heard of /joints/position (lift) for 0.5", "the node": "has ended with code -9"}
    assert said[what] in " ".join(err.split())
    assert "Traceback" not in err
    assert read_manifest(tmp_path / "o").status == "failed"
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running(), "no node is left behind"


CLOCK = """
import rclpy
from rosgraph_msgs.msg import Clock
rclpy.init()
node = rclpy.create_node("simulator")
said = Clock()
said.clock.sec, said.clock.nanosec = 100, 7
clock = node.create_publisher(Clock, "/clock", 10)
node.create_timer(0.02, lambda: clock.publish(said))
rclpy.spin(node)
"""


def test_stamps_have_the_time_of_a_simulator_that_says_it(robot: Arm, tmp_path: Path) -> None:
    link = RosNode(str(PYTHON), RosMessages(RosTopics(version=2, observed={}, commands=()), 2), tmp_path / "log")
    try:
        assert abs(link.now()[0] - time.time()) < 5
        with subprocess.Popen([PYTHON, "-c", CLOCK]) as simulator:
            ends = time.monotonic() + 30
            while link.now() != (100, 7) and time.monotonic() < ends:
                link.published()
                time.sleep(0.05)
            assert link.now() == (100, 7)
            simulator.kill()
    finally:
        link.close()


def test_what_a_line_asks_for_and_cannot_have(
    learned: Path, run: Path, omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = omp("deploy", run, "--ros")
    assert none.code == 2
    assert "this policy did not learn from ROS bags" in none.err
    both = omp("deploy", learned, "--ros", "--replay", learned)
    assert (both.code, "two things" in both.err) == (2, True)
    without = omp("deploy", learned, "--replay", learned, "--set", "ros.shadow=true")
    assert (without.code, "settings of ros go with --ros" in without.err) == (2, True)
    empty = tmp_path / "python"
    empty.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # without what is installed
    empty.chmod(0o755)
    for version, package in ((2, "rclpy"), (1, "rospy")):
        missing = omp("deploy", learned, "--ros", "--set", f"ros.python={empty}", "--set", f"ros.version={version}")
        assert missing.code == 4
        assert f"{package} cannot be imported: No module named" in missing.err
        assert "/setup.bash before omp; --set ros.python=PYTHON names one" in " ".join(missing.err.split())
    nowhere = omp("deploy", learned, "--ros", "--set", "ros.python=/nowhere/python3")
    assert nowhere.code == 4
    assert "/nowhere/python3: no such file" in nowhere.err.lower()
    path = tmp_path / "of_another_python"
    (path / "rclpy").mkdir(parents=True)
    (path / "rclpy" / "__init__.py").write_text("raise ImportError('of another\\nPython')")
    monkeypatch.syspath_prepend(path)
    monkeypatch.setenv("PYTHONPATH", str(path))
    monkeypatch.setattr(links, "_OF_THE_SYSTEM", "/nowhere/python3")
    neither = omp("deploy", learned, "--ros")
    assert neither.code == 4
    said = f"ROS: {sys.executable}: rclpy cannot be imported: of another Python; /nowhere/python3: no such file"
    assert said in " ".join(neither.err.split())
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho it is raining >&2\nexit 3\n")
    broken.chmod(0o755)
    ended = omp("deploy", learned, "--ros", "--set", f"ros.python={broken}")
    assert ended.code == 1
    assert "has ended with code 3: it is raining" in " ".join(ended.err.split())


def test_the_node_is_a_program_that_older_pythons_run() -> None:
    """ROS Noetic has 3.8, Humble 3.10."""
    text = Path(node.__file__).read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    taken = set[str]()
    for of in ast.walk(tree):
        if isinstance(of, ast.ImportFrom):
            taken.add(str(of.module))
        elif isinstance(of, ast.Import):
            taken.update(one.name for one in of.names)
    known = set(sys.stdlib_module_names) | {"rclpy", "rospy", "rosgraph"}
    assert {name.partition(".")[0] for name in taken} <= known
