"""``omp deploy --judge`` and ``--record``: what is said of episodes on a robot, and what becomes of them as data."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.commands import deploy as command
from omp_cli.core.base.manifest import check_artifacts, read_manifest
from omp_cli.core.data.store import Dataset, read_store
from omp_cli.core.deploy.recording import stretches
from tests.cli.test_bad_input import refused
from tests.conftest import Omp, in_process, omp_process

ROBOT = """
import gymnasium, numpy as np
from omp_cli.core.suites.base import recorded_suite

class Robot:
    LENGTH = 6
    def __init__(self):
        self.env = recorded_suite({"name": "toy", "cloud": {"points": 48}}).make("reach")
        self.episode = -1
    def reset(self):
        self.episode += 1
        self.env.reset(self.episode)
        self.steps = 0
    def observe(self):
        return self.env.observe(["state", "point_cloud"])
    def act(self, action):
        self.steps += 1
        self.env.step(action)
    def done(self):
        return self.steps == self.LENGTH
    def pause(self):
        open("stopped", "a").write(str(self.steps))
    def close(self):
        pass

class Endless(Robot):
    LENGTH = None

class Sure(Robot):
    '''Every second episode succeeds; of the third nothing is known.'''
    def succeeded(self):
        open("asked", "a").write(str(self.episode))
        return [True, False, None][self.episode % 3]

class Helped(Sure):
    '''Somebody takes over from the third to the fifth step, and once more in the last.'''
    LENGTH = 8
    def act(self, action):
        super().act(action)
        return [0.25, -0.5] if self.steps in (3, 4, 5, 8) else action.tolist()

class Held(Robot):
    '''A guard lets nothing through at the third step.'''
    def act(self, action):
        super().act(action)
        return self.steps != 3

class Odd(Robot):
    def act(self, action):
        super().act(action)
        return "done"

class Rounding(Robot):
    '''A driver that returns its command after a conversion, and has things of its own called as omp calls methods.'''
    pause, succeeded = None, False
    def act(self, action):
        super().act(action)
        return np.rad2deg(np.deg2rad(action)) + 1e-7

class Stale(Robot):
    '''Its word is that of the episode before: the second one has no tick.'''
    def reset(self):
        if self.episode < 0:
            super().reset()
    def succeeded(self):
        return True

class Tensor(Robot):
    '''Returns what is no array, as some drivers do.'''
    def act(self, action):
        import torch
        super().act(action)
        return torch.ones(2, requires_grad=True)

class Guarded(Sure):
    '''Its guard lets nothing through.'''
    def act(self, action):
        super().act(action)
        return False

class Unsteady(Sure):
    '''Fails in its second episode.'''
    def act(self, action):
        super().act(action)
        if self.episode == 1:
            raise ConnectionError("the cable")

class Stopped(Sure):
    '''Somebody presses Ctrl-C in its second episode.'''
    def act(self, action):
        super().act(action)
        if self.episode == 1:
            import os, signal
            os.kill(os.getpid(), signal.SIGINT)

class Broken(Robot):
    def act(self, action):
        super().act(action)
        return [float("nan"), 0.0] if self.steps == 4 else None

class Killed(Robot):
    def act(self, action):
        super().act(action)
        if self.episode == 2:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)

class Speechless(gymnasium.Env):
    '''Has no info, or calls something else success.'''
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float64)
    seen = {"state": np.zeros(5), "point_cloud": np.zeros((48, 3))}
    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return self.seen, {}
    def step(self, action):
        self.steps += 1
        return self.seen, 0.0, self.steps == 4, False, {"success": np.zeros(2, bool)} if self.steps > 2 else None

class Narrow(gymnasium.Env):
    action_space = gymnasium.spaces.Box(-0.1, 0.1, (2,), np.float64)
    seen = {"state": np.zeros(5), "point_cloud": np.zeros((48, 3))}
    episodes = 0
    def reset(self, *, seed=None, options=None):
        self.steps, self.episodes = 0, self.episodes + 1
        return self.seen, {}
    def step(self, action):
        self.steps += 1
        return self.seen, 0.0, self.steps == 4, False, {"is_success": self.steps == 2 and self.episodes < 3}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "robot.py").write_text(ROBOT)
    return tmp_path


@pytest.fixture
def moved(omp: Omp, workshop: Path, place: Path) -> Callable[..., Any]:
    """Moves a robot of the file and returns what came of it; ``d`` is the run's folder.

    At the data's rate, for at a higher one a busy machine drops ticks, and where it drops many an episode is cut.
    """

    def run(robot: str, *more: object, episodes: int = 3, hz: float = 20) -> Any:
        line = ("deploy", workshop / "run", "--hz", hz, "--json", "--env", f"robot.py:{robot}")
        return omp(*line, "--episodes", episodes, "--out", "d", *more)

    return run


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path("d") / name).read_text().splitlines()]


def outcomes() -> list[tuple[Any, ...]]:
    return [tuple(row[key] for key in ("success", "counts", "ticks", "corrected")) for row in rows("episodes.jsonl")]


def recorded() -> Dataset:
    manifest = read_manifest(Path("d"))
    check_artifacts(Path("d"), manifest)
    data = read_store(Path("d"))
    assert manifest.metrics["recorded"] == {
        "episodes": len(data.episode_ends),
        "frames": int(data.episode_ends[-1]),
        "content_sha256": data.sha256,
    }
    return data


def test_stretches_of_frames_that_are_long_enough() -> None:
    def found(text: str, corrections: bool = False) -> list[tuple[int, int]]:
        """Of a letter for each tick: sent, not sent, corrected, failed, or sent and two or three ticks dropped."""
        of = {"n": {"sent": False}, "c": {"corrected": True}, "f": {"failed": True}}
        rows = [{"dropped": int(x) if x in "23" else 0, **of.get(x, {})} for x in text]
        return stretches(rows, corrections, 3)

    assert found("") == found("s") == found("nn") == found("f") == []
    assert found("snssnnsss") == [(2, 4), (6, 9)]
    assert found("sssf") == [(0, 3)]
    assert found("s2s3ss3") == [(0, 4), (4, 7)]
    assert found("sccscssccc", corrections=True) == [(1, 3), (7, 10)]


def test_a_robot_says_itself_what_succeeded(moved: Callable[..., Any], omp: Omp) -> None:
    done = moved("Sure", episodes=4)
    assert done.code == 0, done.err
    figures = done.json["result"]
    assert {key: figures["success"][key] for key in ("successes", "episodes", "rate")} == {
        "successes": 2,
        "episodes": 3,
        "rate": pytest.approx(2 / 3, abs=1e-4),
    }
    assert figures["success"]["low"] == pytest.approx(0.2077, abs=1e-4), "Wilson's interval of 2 of 3"
    assert (figures["judged_by"], figures["helped"], figures["discarded"], figures["not_judged"]) == ("robot", 0, 0, 1)
    assert outcomes() == [(True, True, 6, 0), (False, True, 6, 0), (None, True, 6, 0), (True, True, 6, 0)]
    assert Path("stopped").read_text() == "6666", "it stands still after each episode"
    assert Path("asked").read_text() == "0123", "and is asked once"
    (listed,) = omp("runs", "d", "--json").json["runs"]
    assert listed["success"] == "2/3 = 0.67"


def test_a_report_counts_sessions_of_one_policy_together(omp: Omp, workshop: Path, place: Path) -> None:
    line = ("deploy", workshop / "run", "--env", "robot.py:Sure")
    sessions = {"a": ("--episodes", 2), "b": ("--episodes", 1), "c": ("--label", "again", "--nfe", 3)}
    sessions |= {"d": ("--env", "robot.py:Narrow")}
    for name, more in sessions.items():
        done = omp(*line, *more, "--out", f"runs/{name}")
        assert done.code == 0, done.err
    assert omp("deploy", workshop / "run", "--env", "robot.py:Robot", "--out", "runs/unjudged").code == 0
    report = omp("report", "runs", "--json", "--out", "report")
    assert report.code == 0, report.err
    first, second, third = report.json["result"]["robots"]
    assert (first["robot"], third["robot"]) == ("robot.py:Sure", "robot.py:Narrow"), "another robot is another row"
    assert (first["title"], first["nfe"], len(first["sessions"]), first["ticks"]) == ("omp dde", 1, 2, 18)
    assert (first["success"]["successes"], first["success"]["episodes"]) == (2, 3)
    assert (second["title"], second["nfe"], second["success"]["successes"]) == ("again", 3, 1)
    assert report.json["result"]["warnings"] == []
    page = Path("report/report.md").read_text()
    assert "4 of omp deploy" in page
    row = "| toy/reach | robot.py:Sure, 20 Hz | omp dde | 0 | 1 | 30 (last) | 2/3 = 0.67 [0.21, 0.94] | 0 | 0 | 0 |"
    assert f"{row} the robot |" in page
    renamed = omp("report", "runs", "--rename", "omp dde=mine", "--json", "--out", "report2").json["result"]["robots"]
    assert [row["title"] for row in renamed] == ["mine", "again", "mine"]


def test_an_environment_says_so_in_its_info(moved: Callable[..., Any]) -> None:
    figures = moved("Narrow").json["result"]
    assert (figures["success"]["successes"], figures["success"]["episodes"]) == (2, 3)


def test_what_an_environment_calls_otherwise_is_passed_over(moved: Callable[..., Any]) -> None:
    done = moved("Speechless", episodes=1)
    assert done.code == 0, done.err
    assert outcomes() == [(None, True, 4, 0)]


def test_what_was_not_sent_is_no_success(moved: Callable[..., Any]) -> None:
    done = moved("Guarded", episodes=1)
    assert rows("episodes.jsonl")[0]["sent"] == 0
    assert "success" not in done.json["result"]


def test_a_robot_that_says_nothing_has_no_rate(moved: Callable[..., Any]) -> None:
    assert not {"success", "judged_by"} & moved("Robot").json["result"].keys()


def test_what_happened_is_data_to_train_on(moved: Callable[..., Any], omp: Omp, workshop: Path) -> None:
    done = moved("Robot", "--record", "all", hz=50)
    assert done.code == 0, done.err
    data, ticks = recorded(), rows("ticks.jsonl")
    assert data.spec.control_hz == 50
    assert data.episode_ends.tolist() == [6, 12, 18]
    np.testing.assert_array_equal(data.arrays["action"], np.array([row["action"] for row in ticks], np.float32))
    whole = read_store(workshop / "toy")
    assert set(data.arrays) == {"state", "point_cloud", "action"} <= set(whole.arrays)
    assert (data.spec.points, data.spec.image, data.spec.state_dim) == (48, None, 5)
    assert data.suite == whole.suite
    trained = omp("pretrain", "d", "--preset", "dmpo-state", "--steps", 2, "--out", "again")
    assert trained.code == 0, trained.err
    replayed = omp("deploy", "again", "--replay", "d", "--hz", 5000, "--out", "r")
    assert replayed.code == 0, replayed.err
    assert omp("view", "d", "--out", "v").code == 0


def test_a_policy_that_sees_less_records_what_it_sees(omp: Omp, workshop: Path, place: Path) -> None:
    line = ("pretrain", workshop / "toy", "--preset", "dmpo-state", "--steps", 2, "--out", "blind")
    assert omp(*line).code == 0
    line = ("deploy", "blind", "--env", "robot.py:Robot", "--record", "all", "--out", "d")
    assert omp(*line).code == 0
    data = recorded()
    assert (set(data.arrays), data.spec.points) == ({"state", "action"}, None)
    joined = ("prepare", "own", workshop / "toy", "d", "--task", "reach", "--out", "j")
    left_out = [f"format.{name}=[]" for name in ("cloud", "reward", "success")]
    hint = " ".join(f"--set '{one}'" for one in left_out)
    refused(omp(*joined), 3, "it has no point_cloud", f"leave it out of all files: {hint}")
    done = omp(*joined, *(word for one in left_out for word in ("--set", one)))
    assert done.code == 0, done.err


def test_only_what_succeeded_is_kept(moved: Callable[..., Any]) -> None:
    moved("Sure", "--record", "successes", episodes=4)
    assert recorded().episode_ends.tolist() == [6, 12]
    episodes = recorded().provenance["environment"]["episodes"]
    assert episodes == [{"episode": episode, "tick": 0, "success": True} for episode in (0, 3)]


def test_only_what_somebody_else_did_is_kept(moved: Callable[..., Any]) -> None:
    """As stretches, each an episode; one frame alone is none. The policy decides anew after each of them."""
    done = moved("Helped", "--record", "corrections", episodes=2)
    assert done.code == 0, done.err
    assert done.err.count("act() returned another action than the policy's: somebody took over") == 1
    data, ticks = recorded(), rows("ticks.jsonl")
    assert data.episode_ends.tolist() == [3, 6]
    assert data.arrays["action"].tolist() == [[0.25, -0.5]] * 6
    assert [row.get("corrected", False) for row in ticks[:8]] == [False, False, True, True, True, False, False, True]
    assert [row["decided"] for row in ticks[:8]] == [True, False, False, True, True, True, False, False]
    assert all(("wanted" in row) == row.get("corrected", False) for row in ticks)
    assert outcomes() == [(True, True, 8, 4), (False, True, 8, 4)]
    figures = read_manifest(Path("d")).metrics
    assert (figures["success"]["successes"], figures["helped"]) == (0, 2), "with help it is no success of the policy"


def test_what_was_not_sent_is_no_action_of_the_data(moved: Callable[..., Any]) -> None:
    moved("Held", "--record", "all", episodes=1)
    ticks = rows("ticks.jsonl")
    assert [row.get("sent", True) for row in ticks] == [True, True, False, True, True, True]
    assert recorded().episode_ends.tolist() == [2, 5], "time passed between the second frame and the fourth"


def test_what_is_no_action_is_told_once(moved: Callable[..., Any]) -> None:
    for robot, returned in (("Odd", "str"), ("Tensor", "Tensor")):
        done = moved(robot, episodes=1)
        assert done.err.count(f"act() returned {returned}, which is no action (2,), and is passed over") == 1
        assert outcomes() == [(None, True, 6, 0)]
        shutil.rmtree("d")


def test_what_was_recorded_before_a_robot_raised_is_kept(moved: Callable[..., Any]) -> None:
    refused(moved("Broken", "--record", "all", episodes=1), 1, "act() returned an action with numbers that are not")
    assert recorded().episode_ends.tolist() == [3]
    assert rows("ticks.jsonl")[-1]["failed"] is True


def test_an_episode_without_a_tick_is_no_success(moved: Callable[..., Any]) -> None:
    figures = moved("Stale", episodes=2).json["result"]
    assert outcomes() == [(True, True, 6, 0), (None, True, 0, 0)]
    assert (figures["success"]["episodes"], figures["not_judged"]) == (1, 1)


def test_what_is_equal_but_for_rounding_is_no_help(moved: Callable[..., Any]) -> None:
    done = moved("Rounding", episodes=1)
    assert done.code == 0, done.err
    assert outcomes() == [(None, True, 6, 0)]
    assert "wanted" not in Path("d/ticks.jsonl").read_text()


def test_an_episode_at_which_something_was_raised_is_written_down(moved: Callable[..., Any]) -> None:
    refused(moved("Unsteady", "--record", "all"), 1, "the cable")
    assert outcomes() == [(True, True, 6, 0), (None, True, 0, 0)]
    figures = read_manifest(Path("d")).metrics
    assert (figures["success"]["successes"], figures["success"]["episodes"], figures["not_judged"]) == (1, 1, 1)
    assert recorded().episode_ends.tolist() == [6]


def test_what_happened_outlives_the_one_who_stops_it(moved: Callable[..., Any], omp: Omp) -> None:
    """The rate is said, listed and reported, and the run is none that came to nothing."""
    done = moved("Stopped")
    assert done.code == 130
    assert "stopped: after 7 ticks, 0 missed deadlines, success 1/1 = 1.00 [0.21, 1.00]" in done.err
    assert outcomes() == [(True, True, 6, 0), (None, True, 1, 0)]
    (listed,) = omp("runs", "d", "--json").json["runs"]
    assert (listed["status"], listed["success"]) == ("interrupted", "1/1 = 1.00")
    assert "came to nothing" not in omp("runs", "d").out
    pruned = omp("runs", ".", "--prune", "--yes")
    assert "what happened on a robot is in it" in pruned.out + pruned.err
    assert Path("d/episodes.jsonl").is_file()
    (row,) = omp("report", "d", "--json", "--out", "report").json["result"]["robots"]
    assert row["success"]["episodes"] == 1


def test_an_export_records_too(omp: Omp, workshop: Path, place: Path) -> None:
    pytest.importorskip("onnxruntime")
    in_process(place, "export", workshop / "run", "--format", "onnx", "--out", "policy")
    line = ("deploy", "policy", "--env", "robot.py:Sure", "--record", "all", "--json")
    done = omp(*line, "--out", "d")
    assert done.code == 0, done.err
    assert recorded().spec == read_store(workshop / "toy").spec
    (row,) = omp("report", "d", "--json", "--out", "report").json["result"]["robots"]
    assert row["title"] == "omp dde by policy.onnx"
    Path("policy/manifest.json").unlink()  # which says where its checkpoint is
    assert omp(*line, "--out", "alone").code == 0
    refused(omp("report", "alone"), 3, "the checkpoint that its export was made of is gone")


def test_nothing_of_the_kind_is_told(moved: Callable[..., Any]) -> None:
    done = moved("Robot", "--record", "corrections")
    assert "--record corrections: nothing of the kind was there, so there is no data set" in done.err
    assert "recorded" not in done.json["result"]


def test_episodes_outlive_the_process(omp: Omp, workshop: Path, place: Path) -> None:
    line = ("deploy", workshop / "run", "--env", "robot.py:Killed", "--episodes", 5, "--record", "all")
    process = omp_process(*line, "--out", "d", cwd=place)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    refused(omp("report", "d"), 3, "its episodes.jsonl has what was said until then", "omp deploy --judge")
    assert not Path("d/demos.zarr").exists()
    done = omp("prepare", "own", "d/episodes", "--task", "reach", "--hz", 20, "--out", "saved")
    assert done.code == 0, done.err
    assert read_store(Path("saved")).episode_ends.tolist() == [6, 12]


def typing(monkeypatch: pytest.MonkeyPatch, keys: Iterator[str]) -> None:
    """A person who types what comes next whenever the loop looks, and nothing at the end."""

    @contextmanager
    def typed_keys(what: str) -> Iterator[Callable[[], str]]:
        yield lambda: next(keys, "")

    monkeypatch.setattr(command, "typed_keys", typed_keys)


def test_a_person_begins_ends_and_judges(moved: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop looks once when an episode is announced, then until it may begin (of the first one once more, after the
    policy has warmed up), then before each tick.
    """
    looked = [
        *("s", "", "f ", "f", "", "", "s"),  # what was typed before does not count; success ends it after two ticks
        *("", " ", "", "d"),  # does not count, and is made up for
        *("", " ", "", "", "", "x", "F"),  # as a capital, too
        *("", " ", *[""] * 7, "", "", "s"),  # over by itself after six ticks: asked
    ]
    typing(monkeypatch, iter(looked))
    done = moved("Sure", "--judge", "--record", "all", episodes=3)
    assert done.code == 0, done.err
    assert outcomes() == [(True, True, 2, 0), (None, False, 1, 0), (False, True, 4, 0), (True, True, 6, 0)]
    figures = done.json["result"]
    assert (figures["success"]["successes"], figures["success"]["episodes"]) == (2, 3)
    assert (figures["judged_by"], figures["discarded"], figures["not_judged"]) == ("person", 1, 0)
    assert recorded().episode_ends.tolist() == [2, 6, 12], "what does not count is no data"
    said = " ".join(done.err.split())
    assert said.count("episode 2 of 3: put everything in its place, then press space") == 2
    assert said.count("is over: s it succeeded") == 1


def test_an_episode_ends_after_its_time(moved: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    typing(monkeypatch, iter(["", " ", "", *[""] * 55, "f", "", " ", *[""] * 55, "s"]))
    done = moved("Endless", "--judge", "--episode-seconds", 0.1, episodes=2)
    assert done.code == 0, done.err
    assert [row["success"] for row in rows("episodes.jsonl")] == [False, True]
    assert all(0.1 <= row["seconds"] < 1 for row in rows("episodes.jsonl"))


def test_an_episode_that_is_cut_is_not_judged(moved: Callable[..., Any]) -> None:
    """It did not have its time."""
    done = moved("Sure", "--seconds", 0.02, episodes=1)
    assert done.code == 0, done.err
    assert rows("episodes.jsonl")[0]["success"] is None
    assert "success" not in done.json["result"]
    for figures in (done.json["result"], read_manifest(Path("d")).metrics):
        assert [figures[name] for name in ("helped", "discarded", "not_judged")] == [0, 0, 1]


def test_bad_lines(moved: Callable[..., Any], omp: Omp, workshop: Path) -> None:
    refused(moved("Robot", "--judge"), 2, "--judge: standard input is no terminal")
    refused(moved("Robot", "--judge", "--quiet"), 2, "--judge: asks at the terminal, which --quiet hides")
    assert not Path("d").exists()
    line = ("deploy", workshop / "run", "--replay", workshop / "toy")
    refused(omp(*line, "--judge"), 2, "--judge: of a recording there is nothing to judge")
    refused(omp(*line, "--record", "all"), 2, "--record: of a recording there is nothing")
    refused(omp(*line, "--record", "some"), 2, "record")


@contextmanager
def at_a_terminal(workshop: Path, *more: str, ignoring: bool = False) -> Iterator[tuple[int, Callable[[str], None]]]:
    """A robot without an end that is moved at a terminal of its own, and a function that waits until that shows a text.

    ``ignoring``: whether the process ignores that a terminal is gone, as with nohup.
    """
    line = ("deploy", workshop / "run", "--hz", 20, "--env", "robot.py:Endless", "--judge", "--out", "d", *more)
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignoring else signal.SIG_DFL)
        arguments = [sys.executable, "-m", "omp_cli", *map(str, line)]
        os.execve(sys.executable, arguments, {**os.environ, "OMP_NUM_THREADS": "1"})
    shown, deadline = bytearray(), time.monotonic() + 60

    def until(text: str) -> None:
        while text.encode() not in shown:
            assert time.monotonic() < deadline, shown.decode()
            if select.select([terminal], [], [], 1)[0]:
                shown.extend(os.read(terminal, 4096))
        del shown[: shown.index(text.encode()) + len(text)]

    try:
        yield terminal, until
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            assert time.monotonic() < deadline, shown.decode()
            time.sleep(0.05)
        codes.append(os.waitstatus_to_exitcode(ended[1]))
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with suppress(OSError):
            os.close(terminal)


codes: list[int] = []
"""Exit codes of what was started at a terminal."""


def test_keys_of_a_terminal(workshop: Path, place: Path) -> None:
    """The whole way: a terminal and its keys without Enter; Ctrl-Z does not leave a robot alone."""
    with at_a_terminal(workshop, "--episodes", "2") as (terminal, until):
        for number, keys in ((1, b"s"), (2, b"\x1af")):
            until(f"episode {number} of 2: put everything in its place")
            os.write(terminal, b" ")
            time.sleep(0.4)
            os.write(terminal, keys)
        until("1/2 = 0.50")
        with suppress(OSError):  # the terminal's other end is closed
            until("never")
    assert codes[-1] == 0
    assert [row["success"] for row in rows("episodes.jsonl")] == [True, False]
    assert all(2 <= row["ticks"] <= 40 for row in rows("episodes.jsonl"))


@pytest.mark.parametrize("ignoring", [False, True], ids=["heeded", "ignored"])
def test_a_terminal_that_is_gone_ends_the_loop(ignoring: bool, workshop: Path, place: Path) -> None:
    with at_a_terminal(workshop, ignoring=ignoring) as (terminal, until):
        until("episode 1 of 1: put everything in its place")
        os.write(terminal, b" ")
        time.sleep(0.4)
        os.close(terminal)
    manifest = read_manifest(Path("d"))
    assert codes[-1] == (1 if ignoring else 129)
    assert manifest.status == ("failed" if ignoring else "interrupted")
    assert manifest.error is not None
    assert ("the terminal is gone" in manifest.error.message) == ignoring
    (row,) = rows("episodes.jsonl")
    assert row["success"] is None
    assert row["ticks"] >= 2
