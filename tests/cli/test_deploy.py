"""``omp deploy``: a replay, a robot of the user's own, and how it ends."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import omp_cli as api
from omp_cli.core.base.manifest import check_artifacts, read_manifest
from omp_cli.core.data.store import read_store
from omp_cli.core.deploy.program import ONNX_PACKAGES, missing_packages
from omp_cli.core.deploy.replay import Replay
from tests.cli.test_bad_input import refused
from tests.conftest import Omp, in_process, omp_process

ROBOT = """
import gymnasium, numpy as np
from omp_cli.core.suites.base import recorded_suite

class Robot:
    closed = 0
    def __init__(self):
        self.env = recorded_suite({"name": "toy", "cloud": {"points": 48}}).make("reach")
        self.env.reset(1)
        self.steps = 0
    def observe(self):
        return self.env.observe(["state", "point_cloud"])
    def act(self, action):
        self.steps += 1
        self.env.step(action)
    def close(self):
        open("closed", "a").write("x")

class Broken(Robot):
    def act(self, action):
        raise ConnectionError("the controller is gone")

class Blind(Robot):
    def observe(self):
        return {"state": np.zeros(4), "point_cloud": np.zeros((48, 3))}

class Slow(Robot):
    def act(self, action):
        import time
        time.sleep(0.03)

class Stalling(Robot):
    def act(self, action):
        import time
        super().act(action)
        time.sleep(0.12 if self.steps == 1 else 0)
    def done(self):
        return self.steps == 4

class Refused(Robot):
    act = None

class Unsure(Robot):
    def done(self):
        return np.zeros(2, bool)

class Bare:
    def __init__(self):
        self.robot = Robot()
    def observe(self):
        return self.robot.observe()
    def act(self, action):
        self.robot.act(action)

class SlowToLetGo(Robot):
    def close(self):
        import os, signal
        os.kill(os.getpid(), signal.SIGINT)
        super().close()

class Impatient(SlowToLetGo):
    def act(self, action):
        import os, signal
        os.kill(os.getpid(), signal.SIGINT)
        super().act(action)

class Far(Robot):
    def reset(self):
        import time
        time.sleep(0.4)

class Later(Robot):
    asked = 0
    def ready(self):
        self.asked += 1
        return self.asked > 9
    def act(self, action):
        assert self.asked > 9
        super().act(action)

class Never(Robot):
    def ready(self):
        import os, signal
        os.kill(os.getpid(), signal.SIGTERM)
        return False
    def act(self, action):
        open("moved", "w")

class Narrow(gymnasium.Env):
    action_space = gymnasium.spaces.Box(-0.1, 0.1, (2,), np.float64)
    seen = {"state": np.zeros(5), "point_cloud": np.zeros((48, 3))}
    def reset(self, *, seed=None, options=None):
        self.taken = []
        return self.seen, {}
    def step(self, action):
        self.taken.append(action.tolist())
        open("taken", "w").write(str(self.taken))
        return self.seen, 0.0, False, len(self.taken) == 12, {}

class Lagging(Narrow):
    def step(self, action):
        import time
        time.sleep(0.05)
        return super().step(action)

class InPlace(Robot):
    def act(self, action):
        super().act(action)
        action[:] = 77

class Batched(Robot):
    def observe(self):
        return {name: x[None] for name, x in super().observe().items()}
    def act(self, action):
        open("moved", "w")

class Logged(Robot):
    def act(self, action):
        assert len(open("a/ticks.jsonl").read().splitlines()) == self.steps, "what was done is written out"
        super().act(action)

class Latched(Robot):
    def done(self):
        return self.steps >= 3

nothing = lambda: 3
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "robot.py").write_text(ROBOT)
    return tmp_path


def test_a_replay_tells_error_and_clock(omp: Omp, workshop: Path, place: Path) -> None:
    line = ("deploy", workshop / "run", "--replay", workshop / "toy", "--hz", 1000, "--episodes", 2, "--json")
    done = omp(*line, "--out", place / "d")
    assert done.code == 0, done.err
    result = done.json["result"]
    data = read_store(workshop / "toy")
    assert result["ticks"] == result["replay"]["frames"] == data.episode_ends[1]
    assert result["decisions"] == sum(
        -(-int(n) // 3) for n in (data.episode_ends[0], data.episode_ends[1] - data.episode_ends[0])
    )
    assert 0 < result["decision_p50_ms"] <= result["decision_p99_ms"] <= result["decision_max_ms"]
    rows = [json.loads(row) for row in (place / "d" / "ticks.jsonl").read_text().splitlines()]
    error = sum(abs(row["action"][0] - float(data.arrays["action"][i, 0])) for i, row in enumerate(rows)) / len(rows)
    assert result["replay"]["names"] == ["action[0]", "action[1]"]
    assert result["replay"]["error"][0] == pytest.approx(error, abs=1e-5)
    manifest = read_manifest(place / "d")
    check_artifacts(place / "d", manifest)
    assert {i.kind for i in manifest.inputs} == {"checkpoint", "dataset"}
    again = omp(*line, "--out", place / "again").json["result"]
    assert again["replay"] == result["replay"], "whatever the clock did"
    ensembled = omp(*line, "--ensemble", 0.01, "--out", place / "e").json["result"]
    assert ensembled["decisions"] == ensembled["ticks"]
    assert ensembled["replay"] != result["replay"]


def test_a_recording_with_fewer_episodes_than_asked_for_says_so(omp: Omp, workshop: Path, place: Path) -> None:
    done = omp("deploy", workshop / "run", "--replay", workshop / "toy", "--hz", 5000, "--episodes", 9, "--json")
    assert done.code == 0, done.err
    assert "the recording has 8 of the 9 that were asked for" in done.err
    assert done.json["result"]["replay"]["frames"] == read_store(workshop / "toy").episode_ends[-1]


@pytest.mark.skipif(bool(missing_packages(ONNX_PACKAGES)), reason="needs the extra export")
def test_an_export_acts_as_its_run(omp: Omp, workshop: Path, place: Path) -> None:
    in_process(place, "export", workshop / "run", "--out", "policy")
    line = ("deploy", "--replay", workshop / "toy", "--hz", 1000, "--json")
    one, other, third = (
        omp(*line, path, "--out", place / name).json["result"]["replay"]["error"]
        for name, path in (("a", workshop / "run"), ("b", place / "policy"), ("c", place / "policy" / "policy.pt2"))
    )
    assert one == pytest.approx(other, abs=1e-4)
    assert one == pytest.approx(third, abs=1e-4)
    refused(omp("deploy", place / "policy", "--replay", workshop / "toy", "--nfe", 2), 2, "nfe", "export")
    clipped = omp("deploy", place / "policy", "--hz", 500, "--env", "robot.py:Narrow", "--out", "n")
    assert clipped.code == 0, clipped.err
    assert "-0.1 to 0.1, the policy's actions go from -1 to 1 (and 1 more)" in " ".join(clipped.err.split())


def test_what_decides_is_said_and_what_a_lower_precision_changes(omp: Omp, workshop: Path, place: Path) -> None:
    line = ("deploy", workshop / "run", "--replay", workshop / "toy", "--hz", 1000, "--device", "cpu", "--json")
    result = omp(*line, "--out", place / "a").json["result"]
    assert result["runtime"] == "eager: a graph needs CUDA, and this runs on cpu"
    assert "against_float32" not in result
    done = omp(*line, "--precision", "bf16", "--out", place / "b")
    moved = done.json["result"]["against_float32"]
    assert 0 < moved["max_rel"] < moved["tolerance"]
    assert f"precision bf16: actions differ from float32's by max abs {moved['max_abs']:.2g}" in done.err
    assert read_manifest(place / "b").metrics["against_float32"] == moved
    refused(omp(*line, "--set", "graph=on"), 2, "graph: on, but a graph needs CUDA, and this runs on cpu")


def test_a_robot_is_moved_and_let_go(omp: Omp, workshop: Path, place: Path) -> None:
    line = ("deploy", workshop / "run", "--hz", 100, "--seconds", 0.3, "--json", "--env")
    done = omp(*line, "robot.py:Robot", "--out", "a")
    assert done.code == 0, done.err
    result = done.json["result"]
    assert 5 <= result["ticks"] + result["dropped_ticks"] <= 31
    assert (place / "closed").read_text() == "x"
    slow = omp(*line, "robot:Slow", "--out", "b").json["result"]
    assert slow["missed_deadlines"] == slow["ticks"]
    assert slow["dropped_ticks"] >= 2 * slow["ticks"]
    refused(omp(*line, "robot.py:Broken", "--out", "c"), 1, "robot.py:Broken: act()", "the controller is gone")
    assert (place / "closed").read_text() == "xxx"
    assert read_manifest(place / "c").status == "failed"
    refused(omp(*line, "robot.py:Blind"), 3, "'state' has shape (4,)")


@pytest.mark.parametrize("named", ["{}.py", "{}"], ids=["file", "module"])
def test_a_robot_can_import_what_lies_beside_it(
    omp: Omp, workshop: Path, place: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """At the head of its file, and later where it is made; by the file's name also from another folder."""
    rig = f"rig_by_{'file' if named.endswith('.py') else 'module'}"
    (place / f"{rig}.py").write_text(
        f"import {rig}_driver\ndef make():\n    import {rig}_later\n    return {rig}_later.x\n"
    )
    (place / f"{rig}_driver.py").write_text("")
    (place / f"{rig}_later.py").write_text("import sys\nsys.path.insert(0, 'of the robot itself')\nx = 3\n")
    if named.endswith(".py"):
        (place / "elsewhere").mkdir()
        monkeypatch.chdir(place / "elsewhere")
        rig = f"../{rig}"
    refused(omp("deploy", workshop / "run", "--env", f"{named.format(rig)}:make"), 2, "made int, which has no method")
    assert "of the robot itself" in sys.path


def test_what_an_environment_clips_is_counted_and_the_ticks_have_what_was_sent(
    omp: Omp, workshop: Path, place: Path
) -> None:
    line = ("deploy", workshop / "run", "--hz", 500, "--json", "--env")
    done = omp(*line, "robot.py:Narrow", "--out", "a")
    assert done.code == 0, done.err
    rows = [json.loads(row) for row in (place / "a" / "ticks.jsonl").read_text().splitlines()]
    assert [row["action"] for row in rows] == json.loads((place / "taken").read_text())
    wanted = [(row.get("wanted", row["action"]), row["action"]) for row in rows]
    changed = sum(x != sent for pair in wanted for x, sent in zip(*pair, strict=True))
    assert all(
        ("wanted" in row) == any(abs(x) > 0.1 for x in ours) for row, (ours, _) in zip(rows, wanted, strict=True)
    )
    assert changed > 0
    figures = {"clipped_numbers": changed, "clipped_share": pytest.approx(changed / 24, abs=1e-6)}
    for found in (done.json["result"], read_manifest(place / "a").metrics):
        assert {key: found[key] for key in figures} == figures
    assert done.err.count("is clipped to the bound") == 1
    assert "the bounds of action[0] are -0.1 to 0.1, the policy's actions go from -1 to 1 (and 1 more)" in done.err
    own = omp(*line, "robot.py:Robot", "--seconds", 0.05, "--out", "b")
    assert "clipped_numbers" not in own.json["result"]
    assert "wanted" not in (place / "b" / "ticks.jsonl").read_text()


@pytest.mark.parametrize("robot", ["SlowToLetGo", "Impatient"])
def test_one_more_ctrl_c_does_not_cut_letting_go_short(omp: Omp, workshop: Path, place: Path, robot: str) -> None:
    """The loop of the second has been stopped by Ctrl-C already, as by somebody who presses it twice."""
    done = omp("deploy", workshop / "run", "--hz", 500, "--seconds", 0.02, "--env", f"robot.py:{robot}", "--out", "a")
    assert done.code == 130, done.err
    assert (place / "closed").read_text() == "x"
    assert ("is let go by its close()" in done.err) == (robot == "Impatient")
    manifest = read_manifest(place / "a")
    assert manifest.status == "interrupted"
    assert manifest.metrics["ticks"] > 0


def test_a_robot_that_is_refused_is_let_go(omp: Omp, workshop: Path, place: Path) -> None:
    refused(omp("deploy", workshop / "run", "--env", "robot.py:Refused"), 2, "which has no method act")
    assert (place / "closed").read_text() == "x"


def test_an_environment_waits_for_a_loop_that_is_late(omp: Omp, workshop: Path, place: Path) -> None:
    """A simulator stands still between two steps, so what is rolled out does not hang on the machine."""
    line = ("deploy", workshop / "run", "--episodes", 2, "--json", "--env")
    slow = omp(*line, "robot.py:Lagging", "--hz", 100, "--record", "all", "--out", "a")
    assert slow.code == 0, slow.err
    result = slow.json["result"]
    assert (result["ticks"], result["missed_deadlines"], result["dropped_ticks"]) == (24, 24, 0)
    assert result["decisions"] == omp(*line, "robot.py:Narrow", "--hz", 20, "--out", "b").json["result"]["decisions"]
    assert {key: result["recorded"][key] for key in ("episodes", "frames")} == {"episodes": 2, "frames": 24}
    rows = [json.loads(row) for row in (place / "a" / "ticks.jsonl").read_text().splitlines()]
    assert [row["tick"] for row in rows] == 2 * list(range(12))
    assert all(row["late_ms"] < 40 for row in rows), "it is not made up for, either"
    cut = omp(*line, "robot.py:Lagging", "--hz", 100, "--episode-seconds", 0.05, "--out", "c").json["result"]
    assert cut["ticks"] == 10, "five of each episode: its time passes by its steps"


def test_what_a_robot_lacks_is_said(omp: Omp, workshop: Path, place: Path) -> None:
    line = ("deploy", workshop / "run", "--seconds", 0.02, "--env")
    done = omp(*line, "robot.py:Bare", "--episodes", 2, "--hz", 500)
    said = " ".join(done.err.split())
    assert "robot.py:Bare: the robot has no close(), so nothing stops it when the loop ends" in said
    assert "the robot has no done(), so the first of 2 episodes goes on until --seconds 0.02" in said
    assert "--episode-seconds 0.2 ends it after the 60 actions of the policy's longest episode" in said
    assert "--hz 500: the policy's data are at 20 Hz, so the robot is moved 25 times as fast" in said
    assert " the robot " not in omp(*line, "robot.py:Robot", "--out", "whole").err
    refused(omp(*line, "robot.py:Unsure"), 1, "robot.py:Unsure: done(): ValueError")


def test_a_stall_is_said_and_what_was_left_of_the_chunk_is_not_executed(omp: Omp, workshop: Path, place: Path) -> None:
    done = omp("deploy", workshop / "run", "--hz", 100, "--json", "--env", "robot.py:Stalling", "--out", "a")
    rows = [json.loads(row) for row in (place / "a" / "ticks.jsonl").read_text().splitlines()]
    assert [row["decided"] for row in rows][:2] == [True, True]
    assert rows[0]["dropped"] >= 12
    assert rows[0]["send_ms"] >= 120 > rows[0]["observe_ms"]
    said = " ".join(done.err.split())
    assert said.count("missed its deadline of 10 ms at 100 Hz") == 1
    assert f"act() {rows[0]['send_ms']:.3g} ms" in said


def test_the_action_at_which_a_robot_raised_is_written_down(omp: Omp, workshop: Path, place: Path) -> None:
    done = omp("deploy", workshop / "run", "--env", "robot.py:Broken", "--out", "a")
    assert "the controller is gone" in done.err
    assert "ticks until then: a/ticks.jsonl" in done.err
    (row,) = [json.loads(line) for line in (place / "a" / "ticks.jsonl").read_text().splitlines()]
    assert row["failed"] is True
    assert len(row["action"]) == 2


@pytest.mark.parametrize(
    ("made", "more", "told"),
    [
        ("endless", (), True),
        ("endless", ("--seconds", 0.05), False),
        ("endless", ("--episode-seconds", 0.05), False),
        ("limited", (), False),
    ],
)
def test_an_environment_that_nothing_ends_is_told_with_what_would(
    omp: Omp, workshop: Path, place: Path, made: str, more: tuple[object, ...], told: bool
) -> None:
    """Somebody presses Ctrl-C, for it would not end otherwise."""
    (place / "env.py").write_text(
        "import gymnasium, os, signal\nfrom robot import Narrow\nclass Endless(Narrow):\n"
        "    def step(self, action):\n        if self.of_nobody: os.kill(os.getpid(), signal.SIGINT)\n"
        "        return self.seen, 0.0, False, False, {}\n"
        f"    of_nobody = {told}\n"
        "def endless(): return Endless()\ndef limited(): return gymnasium.wrappers.TimeLimit(Endless(), 5)\n"
    )
    done = omp("deploy", workshop / "run", "--hz", 40, "--env", f"env.py:{made}", *more)
    assert done.code == (130 if told else 0), done.err
    said = (
        "the environment has no TimeLimit, so an episode that it does not end otherwise goes on until Ctrl-C; "
        "--episode-seconds 1.5 ends it after the 60 actions of the policy's longest episode"
    )
    assert " ".join(done.err.split()).count(said) == told, done.err


FAILING = """
import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit, TransformObservation
def at(where): raise RuntimeError(f"the arm\\nis gone at {where}")
class Arm:
    def __init__(self, where): self.where = where
    def observe(self): at(self.where)
    def act(self, action): pass
class Env(gymnasium.Env):
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    observation_space = gymnasium.spaces.Dict()
    def __init__(self, where=None): self.where = where
    def reset(self, *, seed=None, options=None):
        if self.where == "reset": at(self.where)
        return {"state": np.zeros(5), "point_cloud": np.zeros((48, 3))}, {}
    def step(self, action):
        if self.where == "step": at(self.where)
        return self.reset()[0], 0.0, False, True, {}
def robot(): return Arm("observe")
def step(): return TimeLimit(Env("step"), 9)
def reset(): return TimeLimit(Env("reset"), 9)
def wrapped(): return TransformObservation(TimeLimit(Env(), 9), lambda frame: at("wrapper"), None)
def made(): at("making")
"""


@pytest.mark.parametrize("named", ["{}.py", "{}"], ids=["file", "module"])
@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("robot", "observe(): RuntimeError: the arm is gone at observe"),
        ("step", "step(): RuntimeError: the arm is gone at step"),
        ("reset", "reset(): RuntimeError: the arm is gone at reset"),
        ("wrapped", "reset(): RuntimeError: the arm is gone at wrapper"),
        ("made", "made(): RuntimeError: the arm is gone at making"),
    ],
)
def test_where_a_robot_raised_is_told_with_its_file_and_line(
    omp: Omp, workshop: Path, place: Path, named: str, made: str, told: str
) -> None:
    """By the name of a method that its author knows: an environment of Gymnasium has a step and no act."""
    (place / "rig").mkdir()
    (place / "rig" / f"failing_{made}.py").write_text(FAILING)
    where = f"rig/failing_{made}.py" if named.endswith(".py") else f"rig.failing_{made}"
    sys.modules.pop("rig", None)
    line = ("deploy", workshop / "run", "--hz", 500, "--seconds", 1, "--env", f"{where}:{made}")
    raised = f"raised in {place / 'rig' / f'failing_{made}.py'}, line 5; --verbose shows the way there"
    refused(omp(*line), 1, told if made == "made" else f"{where}:{made}: {told}", raised)


def test_where_the_file_of_a_robot_raised_is_told(omp: Omp, workshop: Path, place: Path) -> None:
    (place / "rig").mkdir()
    file = place / "rig" / "failing_when_imported.py"
    file.write_text("x = 1\nx.y\n")
    sys.modules.pop("rig", None)
    for named in ("rig/failing_when_imported.py:make", "rig.failing_when_imported:make"):
        raised = f"raised in {file}, line 2; --verbose shows the way there"
        refused(omp("deploy", workshop / "run", "--env", named), 1, f"--env {named}: AttributeError: ", raised)


def test_a_recording_at_another_rate_is_said(omp: Omp, workshop: Path, place: Path) -> None:
    data = read_store(workshop / "toy")
    signature = api.load(workshop / "run", device="cpu").signature
    said: list[str] = []
    Replay(data, signature, said.append)
    assert not said
    Replay(data, replace(signature, control_hz=10.0), said.append)
    assert "its actions are 20 a second, the policy's 10" in said[0]


def test_a_batch_moves_no_robot(omp: Omp, workshop: Path, place: Path) -> None:
    line = ("deploy", workshop / "run", "--hz", 500, "--seconds", 1, "--env", "robot.py:Batched")
    refused(omp(*line), 3, "observation: a batch of 1, where one robot is moved", "without the axis")
    assert not (place / "moved").exists()


def test_a_tick_is_written_out_before_the_next_one_begins(omp: Omp, workshop: Path, place: Path) -> None:
    line = ("deploy", workshop / "run", "--hz", 500, "--seconds", 0.05, "--env", "robot.py:Logged", "--out", "a")
    done = omp(*line)
    assert done.code == 0, done.err


def test_an_episode_without_a_tick_is_told(omp: Omp, workshop: Path, place: Path) -> None:
    done = omp("deploy", workshop / "run", "--hz", 500, "--episodes", 2, "--json", "--env", "robot.py:Latched")
    assert done.json["result"]["ticks"] == 3
    assert "episode 1 has no tick: done() was true right after reset()" in done.err


def test_a_robot_that_converts_actions_in_place_does_not_change_what_is_written_down(
    omp: Omp, workshop: Path, place: Path
) -> None:
    line = ("deploy", workshop / "run", "--hz", 500, "--seconds", 0.05, "--json", "--env", "robot.py:InPlace")
    assert omp(*line, "--out", "a").json["result"]["ticks"] > 0
    assert "77.0" not in (place / "a" / "ticks.jsonl").read_text()


def test_the_way_to_the_start_does_not_count(omp: Omp, workshop: Path, place: Path) -> None:
    done = omp("deploy", workshop / "run", "--hz", 100, "--seconds", 0.3, "--json", "--env", "robot.py:Far")
    assert done.code == 0, done.err
    assert 5 <= done.json["result"]["ticks"] + done.json["result"]["dropped_ticks"] <= 31


def test_an_episode_begins_when_the_robot_is_ready(omp: Omp, workshop: Path, place: Path) -> None:
    line = ("deploy", workshop / "run", "--hz", 100, "--seconds", 0.1, "--json", "--env")
    done = omp(*line, "robot.py:Later")
    assert done.code == 0, done.err
    assert done.json["result"]["ticks"] > 0
    refused(omp(*line, "robot.py:Never"), 143, "after 0 ticks")
    assert not (place / "moved").exists()
    assert (place / "closed").read_text() == "xx", "both robots are let go"


def test_bad_lines(omp: Omp, workshop: Path, place: Path) -> None:
    run, toy = workshop / "run", workshop / "toy"
    refused(omp("deploy", run), 2, "--env", "--replay")
    refused(omp("deploy", run, "--replay", toy, "--env", "robot.py:Robot"), 2, "two things")
    refused(omp("deploy", run, "--replay", "nowhere"), 3, "nowhere")
    refused(omp("deploy", "nowhere", "--replay", toy), 3, "nowhere")
    refused(omp("deploy", run, "--env", "robot"), 2, "module:function")
    refused(omp("deploy", run, "--env", "no_such_robot:make"), 2, "no such module")
    refused(omp("deploy", run, "--env", "none.py:make"), 3, "none.py")
    refused(omp("deploy", run, "--env", "robot.py:mke"), 2, "mke")
    refused(omp("deploy", run, "--env", "robot.py:nothing"), 2, "int", "observe")
    refused(omp("deploy", run, "--replay", toy, "--hz", 0), 2, "hz")
    refused(omp("deploy", run, "--replay", toy, "--execute", 4), 2, "execute")
    refused(omp("deploy", run, "--replay", toy, "--execute", 2, "--ensemble", 0.1), 2, "execute")


def test_ctrl_c_lets_the_robot_go_and_leaves_a_manifest(workshop: Path, place: Path) -> None:
    process = omp_process("deploy", workshop / "run", "--env", "robot.py:Robot", "--out", place / "d", cwd=place)
    ticks, deadline = place / "d" / "ticks.jsonl", time.monotonic() + 60
    while not ticks.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "stopped: after" in err
    assert "error:" not in err, "it is how the loop is meant to end"
    assert "Traceback" not in err
    manifest = read_manifest(place / "d")
    assert manifest.status == "interrupted"
    assert manifest.metrics["ticks"] == len(ticks.read_text().splitlines()) > 0
    assert (place / "closed").read_text() == "x"


def test_the_example_of_a_robot(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(Path(__file__).parents[2] / "examples" / "my_robot.py", tmp_path)
    in_process(tmp_path, "prepare", "toy", "--demos", 3, "--workers", 1, "--out", "toy")
    in_process(tmp_path, "pretrain", "toy", "--preset", "dmpo-state", "--steps", 5, "--out", "run")
    monkeypatch.chdir(tmp_path)
    done = omp("deploy", "run", "--env", "my_robot.py:make", "--hz", 500, "--episodes", 2, "--json")
    assert done.code == 0, done.err
    assert 2 <= done.json["result"]["ticks"] <= 120
