"""``omp deploy --against``: policies that take turns at the same starts, and what is said of which is better."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.manifest import check_artifacts, read_manifest
from omp_cli.core.base.paired import paired, paired_table
from omp_cli.core.base.statistics import wilson
from omp_cli.core.data.store import read_store
from omp_cli.core.deploy.deciders import open_decider
from omp_cli.core.deploy.player import Player
from omp_cli.core.deploy.turns import drawn_turns, same_robot
from tests.cli.test_bad_input import refused
from tests.cli.test_deploy_outcomes import ROBOT, typing
from tests.conftest import Omp

ROBOTS = (
    ROBOT
    + """
class Told(Sure):
    '''Is told the number of the start, and keeps it with what it shows there; every second episode succeeds.'''
    def reset(self, start):
        self.episode += 1
        self.env.reset(start)
        self.steps = 0
        open("starts", "a").write(f"{start} {self.env.observe(['state'])['state'].tolist()}\\n")
    def succeeded(self):
        return self.episode % 2 == 0

class Homing(Robot):
    '''Its reset has a parameter of its own, which is none of ours.'''
    def reset(self, home=True):
        assert home is True
        super().reset()

class Failing(Told):
    '''Its cable goes in the fourth episode.'''
    def act(self, action):
        super().act(action)
        if self.episode == 3:
            raise ConnectionError("the cable")

class Halted(Told):
    '''Somebody presses Ctrl-C in the fourth episode.'''
    def act(self, action):
        super().act(action)
        if self.episode == 3:
            import os, signal
            os.kill(os.getpid(), signal.SIGINT)

class Seeded(gymnasium.Env):
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float64)
    seen = {"state": np.zeros(5), "point_cloud": np.zeros((48, 3))}
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        open("seeds", "a").write(f"{seed}\\n")
        self.steps = 0
        return self.seen, {}
    def step(self, action):
        self.steps += 1
        return self.seen, 0.0, self.steps == 4, False, {"is_success": True}

class Unseeded(Seeded):
    '''Begins elsewhere each time, whatever the seed.'''
    resets = 0
    def reset(self, *, seed=None, options=None):
        self.resets += 1
        self.seen = {**self.seen, "state": np.full(5, self.resets)}
        return super().reset(seed=seed)
"""
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "robot.py").write_text(ROBOTS)
    return tmp_path


@pytest.fixture
def compared(omp: Omp, workshop: Path, place: Path) -> Callable[..., Any]:
    """Lets the policy of the workshop take turns with itself, and returns what came of it; ``d`` is the folder."""

    def run(robot: str, *more: object, episodes: int = 4) -> Any:
        line = ("deploy", workshop / "run", "--against", workshop / "run", "--env", f"robot.py:{robot}", "--json")
        return omp(*line, "--episodes", episodes, "--out", "d", *more)

    return run


def episodes(of: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path("d") / of / "episodes.jsonl").read_text().splitlines()]


def test_every_policy_meets_every_start_once_in_an_order_that_is_drawn() -> None:
    turns = drawn_turns(3, 40)
    assert [turn.start for turn in turns] == [start for start in range(40) for _ in range(3)]
    orders = [tuple(turn.deployment for turn in turns if turn.start == start) for start in range(40)]
    assert {tuple(sorted(order)) for order in orders} == {(0, 1, 2)}
    assert len(set(orders)) > 3, "with 40 starts fewer of the six orders are met once in 1e13 times"
    assert [turn.again for turn in turns[:6]] == [False, True, True, False, True, True]
    seeds = [{turn.seed for turn in turns if turn.start == start} for start in range(40)]
    assert all(len(seed) == 1 for seed in seeds)
    assert len(set.union(*seeds)) == 40
    assert drawn_turns(3, 40) != turns, "no two sessions have one order"
    assert [(turn.start, turn.again, turn.seed) for turn in drawn_turns(1, 2)] == [(0, False, None), (1, False, None)]


def test_what_is_compared_by_hand() -> None:
    ours = [True, True, True, False, None, False, True, True]
    theirs = [True, False, False, True, True, False, None]
    found = paired(ours, theirs)
    counts = {key: found[key] for key in ("starts", "both", "only_first", "only_second", "neither")}
    assert counts == {"starts": 5, "both": 1, "only_first": 2, "only_second": 1, "neither": 1}
    assert found["difference"]["value"] == pytest.approx(1 / 5)
    assert paired([None, True], [True, None]) == paired([], []) == {}
    (row,) = paired_table([{"who": "a - b", **found}], ["who"]).rows
    assert row[:6] == ["a - b", "5", "1", "2", "1", "1"]
    assert row[6].startswith("+0.20 [-0.")


def test_outcomes_are_compared_start_by_start(compared: Callable[..., Any], omp: Omp) -> None:
    done = compared("Told", "--record", "all")
    assert done.code == 0, done.err
    figures = done.json["result"]
    whole = read_manifest(Path("d"))
    assert whole.metrics["differences"] == figures["differences"]
    by_start: list[dict[int, bool]] = [{}, {}]
    acted: list[list[int]] = [[] for _ in range(4)]
    for policy in (0, 1):
        rows = episodes(str(policy + 1))
        assert [row["start"] for row in rows] == [0, 1, 2, 3]
        by_start[policy] = {row["start"]: row["success"] for row in rows}
        assert all(row["success"] == (row["episode"] % 2 == 0) for row in rows)
        check_artifacts(Path("d") / str(policy + 1), read_manifest(Path("d") / str(policy + 1)))
        assert read_store(Path("d") / str(policy + 1)).episode_ends.tolist() == [6, 12, 18, 24]
        for row in rows:
            acted[row["episode"] // 2].insert(row["episode"] % 2, policy + 1)
    assert figures["order"] == acted, "who acted first is what was drawn"
    (found,) = figures["differences"]
    first, second = (sum(each.values()) for each in by_start)
    assert (found["first"], found["second"], found["starts"]) == (1, 2, 4)
    assert (found["only_first"], found["only_second"]) == (first, second), "the first to act succeeds"
    assert found["difference"]["value"] == pytest.approx((first - second) / 4)
    assert [row["success"]["successes"] for row in figures["policies"]] == [first, second]
    lines = Path("starts").read_text().splitlines()
    assert lines[::2] == lines[1::2], "both begin where the robot was put for that start"
    assert len(set(lines)) == 4
    report = omp("report", "d", "--json", "--out", "report")
    assert report.code == 0, report.err
    result = report.json["result"]
    (row,) = result["robots"]
    assert (row["success"]["successes"], row["success"]["episodes"], len(row["sessions"])) == (4, 8, 2), "of one policy"
    (row,) = result["in_turns"]
    assert (row["session"], row["task"], row["starts"]) == ("d", "reach", 4)
    assert row["first"] == row["second"] == figures["policies"][0]["policy"]
    assert "At the same starts" in Path("report/report.md").read_text()
    assert result["warnings"] == []


def test_the_time_that_each_takes_tells_nothing(
    compared: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, workshop: Path
) -> None:
    """Missed deadlines, of which one policy has more, are counted at the end alone."""
    own = Player.act
    monkeypatch.setattr(Player, "act", lambda self, obs: (time.sleep(0.02 * self.signature.nfe), own(self, obs))[1])
    done = compared("Told", "--hz", 40, "--against", f"{workshop / 'run'} --nfe 2", episodes=1)
    assert done.code == 0, done.err
    assert done.json["result"]["policies"][2]["missed_deadlines"] > 0
    assert not [word for word in ("checkpoints", "missed", "deadline", "nfe") if word in done.err]
    assert "3/3" in done.err


def test_nothing_tells_whose_turn_it_is(compared: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not count is made up for by the same policy, at the same start."""
    later = [key for answer in "sdffsf" for key in ("", " ", "", "", answer)]
    typing(monkeypatch, iter(["", " ", "", "", "s", *later]))
    done = compared("Told", "--judge", episodes=3)
    assert done.code == 0, done.err
    assert "checkpoints" not in done.err
    text = " ".join(done.err.split())
    again = text.count("of 6: put everything back where it was when the episode before began")
    assert (again, text.count("of 6: put everything in its place")) == (3, 4)
    rows = sorted((row for of in "12" for row in episodes(of)), key=lambda row: row["episode"])
    assert [row["start"] for row in rows] == [0, 0, 1, 1, 1, 2, 2]


def test_an_environment_gets_one_seed_for_a_start(compared: Callable[..., Any], omp: Omp, workshop: Path) -> None:
    assert compared("Seeded", episodes=3).code == 0
    seeds = Path("seeds").read_text().split()
    assert seeds[::2] == seeds[1::2]
    assert len(set(seeds)) == 3
    assert read_manifest(Path("d")).metrics["starts_repeat"] is True
    line = ("deploy", workshop / "run", "--env", "robot.py:Seeded", "--out", "alone")
    assert omp(*line).code == 0
    assert Path("seeds").read_text().split()[-1] == "None", "a single policy's starts are not repeated"


def test_starts_that_a_seed_does_not_repeat_are_no_pairs(
    compared: Callable[..., Any], omp: Omp, workshop: Path
) -> None:
    done = compared("Unseeded", episodes=2)
    assert done.code == 0, done.err
    assert (
        " ".join(done.err.split()).count("the environment shows different starts after two resets with one seed") == 1
    )
    for figures in (done.json["result"], read_manifest(Path("d")).metrics):
        assert (figures["starts_repeat"], figures["differences"]) == (False, [])
        (found,) = figures["unpaired"]
        assert (found["first"], found["second"], found["difference"]["value"]) == (1, 2, 0)
        assert [found[name]["episodes"] for name in ("of_first", "of_second")] == [2, 2]
        assert found["difference"]["high"] == pytest.approx(1 - wilson(2, 2).low, abs=1e-4), "as of separate sessions"
    line = ("deploy", workshop / "run", "--against", workshop / "run", "--env", "robot.py:Unseeded", "--out", "shown")
    shown = omp(*line)
    assert "At starts of their own" in shown.out + shown.err
    assert "At the same starts" not in shown.out + shown.err
    assert omp("report", "d", "--json", "--out", "report").json["result"]["in_turns"] == []


def test_a_parameter_of_another_name_is_the_robots_own(compared: Callable[..., Any]) -> None:
    done = compared("Homing", episodes=1)
    assert done.code == 0, done.err
    assert done.json["result"]["differences"] == [], "nobody has judged"


def test_what_was_judged_before_a_stop_is_compared(compared: Callable[..., Any], omp: Omp) -> None:
    done = compared("Halted")
    assert done.code == 130
    assert "stopped: policy 1 after " in " ".join(done.err.split())
    assert done.err.count("success 1/1 = 1.00") + done.err.count("success 0/1 = 0.00") >= 1
    assert len(read_manifest(Path("d")).metrics["order"]) == 2, "who acted, and not who would have"
    for folder in ("d", "d/1", "d/2"):
        assert read_manifest(Path(folder)).status == "interrupted"
    (found,) = read_manifest(Path("d")).metrics["differences"]
    assert (found["starts"], found["both"], found["neither"]) == (1, 0, 0)
    pruned = omp("runs", ".", "--prune", "--yes")
    assert pruned.code == 0, pruned.err
    assert Path("d/1/episodes.jsonl").is_file()
    assert Path("d/manifest.json").is_file()
    assert len(omp("report", "d", "--json", "--out", "report").json["result"]["in_turns"]) == 1


def test_a_session_that_failed_is_left_out_of_reports(compared: Callable[..., Any], omp: Omp) -> None:
    refused(compared("Failing"), 1, "the cable")
    assert read_manifest(Path("d")).metrics["differences"][0]["starts"] == 1
    said = omp("report", "d")
    refused(said, 3, "no evaluation to report on")


def test_a_policy_is_compared_with_itself_in_another_setting(
    omp: Omp, workshop: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings after its path are its own; a label names one."""
    run = workshop / "run"
    line = ("deploy", run, "--env", "robot.py:Told", "--episodes", 1, "--json", "--out", "d", "--label", "as it is")
    done = omp(*line, "--against", f"{run} --noise-scale 0 --nfe=2", "--against", f"'{run}' --label 'by two' --nfe 2")
    assert done.code == 0, done.err
    rows = done.json["result"]["policies"]
    path = run / "checkpoints" / "step-00000030"
    assert [(row["label"], row["policy"]) for row in rows] == [
        ("as it is", str(path)),
        (None, f"{path} noise_scale=0.0 nfe=2"),
        ("by two", f"{path} nfe=2 label=by two"),
    ]
    assert [row["nfe"] for row in rows] == [1, 2, 2]
    configs = [read_manifest(Path("d") / number).config for number in "123"]
    assert [config["noise_scale"].value for config in configs] == [1, 0, 1]
    assert [config["label"].value for config in configs] == ["as it is", None, "by two"]
    assert configs[1]["nfe"].source == "--against"
    assert len(done.json["result"]["differences"]) == 3, "each two of them"
    reported = omp("report", "d", "--json", "--out", "report").json["result"]
    assert sorted(row["title"] for row in reported["robots"]) == ["as it is", "by two", "omp dde, noise x 0"]
    for wrong, said in (
        ("--hz 3", "--hz is no policy's own"),
        ("--json", "--json is no policy's own"),
        ("--nfe 0", "nfe"),
        ("--nfe", "--nfe"),
        ("--noise-scale -1", "noise_scale: input should be greater"),
        (f"{run}", "unexpected extra argument"),
        ("--label 'open", "No closing quotation"),
        ("--label 'as it is'", "several policies are called 'as it is'"),
    ):
        refused(omp(*line, "--against", f"{run} {wrong}"), 2, said)
    for wrong in ("--nfe 5", ""):
        refused(omp(*line, "--against", wrong), 2, "a policy's path comes first", "quote a path that has spaces")
    monkeypatch.setenv("OMP_CLI_LABEL", "said for all")
    shown = omp("deploy", run, "--env", "robot.py:Told", "--against", f"{run} --nfe 2", "--dry-run", "--json")
    assert shown.json["config"]["against"]["value"] == [f"{path} nfe=2"], "a variable names none of the others"
    refused(omp(*line, "--execute", 1, "--against", f"{run} --ensemble 0.1"), 2, "execute does not count")


def test_policies_of_different_robots_take_no_turns(workshop: Path) -> None:
    own = Player(open_decider(workshop / "run")).signature

    def tried(hz: float | None = None, **other: Any) -> None:
        players: Any = [SimpleNamespace(signature=own), SimpleNamespace(signature=replace(own, **other))]
        same_robot(players, hz)

    tried()
    tried(n_obs=own.n_obs + 1, arrays={}, task="another", action_names=())
    with pytest.raises(UsageError, match=r"actions have 2 and 7 numbers, so they do not move one robot"):
        tried(action_dim=7)
    with pytest.raises(UsageError, match=r"20 and 10 actions a second"):
        tried(control_hz=10.0)
    tried(hz=20, control_hz=10.0)
    named = replace(own, action_unit="m")
    with pytest.raises(UsageError, match="the unit of one policy's actions: m, and of another's: mm"):
        same_robot([SimpleNamespace(signature=s) for s in (named, replace(own, action_unit="mm"))], None)  # type: ignore[misc]


def test_bad_lines(compared: Callable[..., Any], omp: Omp, workshop: Path) -> None:
    line = ("deploy", workshop / "run", "--against", workshop / "run")
    refused(omp(*line, "--replay", workshop / "toy"), 2, "--against: a recording goes on as it did, whoever acts")
    refused(omp(*line[:3], "nowhere", "--env", "robot.py:Told"), 3, "nowhere")
    shown = omp(*line, "--env", "robot.py:Told", "--dry-run", "--json")
    assert shown.json["config"]["against"]["value"] == [str(workshop / "run" / "checkpoints" / "step-00000030")]


def test_the_same_points_for_everybody() -> None:
    """The difference of a policy and itself is nothing, whatever its rate."""
    for outcomes in ([True] * 5, [False] * 5, [True, False] * 5):
        found = paired(outcomes, outcomes)["difference"]
        assert found["value"] == 0
        assert found["low"] == pytest.approx(-found["high"])
        assert np.isfinite([found["low"], found["high"]]).all()
