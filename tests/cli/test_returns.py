"""Where the return counts: Gym data prepared, trained on, evaluated and timed from the command line."""

import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest

from omp_cli.core.data.store import read_store
from omp_cli.core.suites.base import SUITES
from tests.cli.test_bad_input import refused
from tests.conftest import Omp, in_process
from tests.data.formats import write_d4rl

PARTS = ("--encoder", "state", "--net", "residual-mlp", "--method", "dmpo", "--set", "net.hidden=32")
SMALL = ("--set", "chunk.n_obs=1", "--set", "chunk.horizon=4", "--set", "chunk.execute=4", "--batch-size", 16)


def record(path: Path, episodes: int = 3) -> list[float]:
    """Random actions in hopper-v4 until it falls, in D4RL's format; returns the returns."""
    env = SUITES.build(SUITES.parse({"name": "gym"})).make("hopper-v4")
    random, rows, returns = np.random.default_rng(0), [], []
    for seed in range(episodes):
        env.reset(seed)
        returns.append(0.0)
        fell = False
        while not fell:
            state, action = env.observe(["state"])["state"], random.uniform(-1, 1, 3).astype(np.float32)
            outcome = env.step(action)
            fell = outcome.terminated
            returns[-1] += outcome.reward
            rows.append((state, action, np.float32(outcome.reward), fell))
    with h5py.File(path, "w") as file:
        for column, name in enumerate(("observations", "actions", "rewards", "terminals")):
            file[name] = np.array([row[column] for row in rows])
        file["timeouts"] = np.zeros(len(rows), bool)
    return returns


@pytest.fixture(scope="module")
def gym(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set of three falls (``hopper``) and a run of 6 steps with two checkpoints (``run``)."""
    folder = tmp_path_factory.mktemp("gym")
    record(folder / "falls.hdf5")
    in_process(folder, "prepare", "gym", "--task", "hopper-medium", "--file", "falls.hdf5", "--out", "hopper")
    line = ("pretrain", folder / "hopper", *PARTS, *SMALL, "--steps", 6, "--set", "train.checkpoint_every=3")
    in_process(folder, *line, "--out", folder / "run")
    return folder


def test_the_data_set_says_what_it_is_rolled_out_in(gym: Path, omp: Omp, tmp_path: Path) -> None:
    returns = record(tmp_path / "again.hdf5")
    data = read_store(gym / "hopper")
    assert data.provenance["rollout_suite"] == {"name": "gym", "environment": "hopper-v4"}
    assert data.provenance["returns"]["mean"] == pytest.approx(np.mean(returns), abs=1e-3)
    chosen = ("prepare", "gym", "--task", "hopper-medium", "--file", gym / "falls.hdf5")
    newer = omp(*chosen, "--set", "environment=hopper-v5", "--out", tmp_path / "v5", "--json").json
    assert newer["result"]["environment"] == "hopper-v5"
    refused(omp(*chosen, "--set", "environment=walker2d-v4", "--out", tmp_path / "w"), 2, "not one of its robot")
    refused(omp("prepare", "gym", "--file", gym / "falls.hdf5", "--task", "walker2d-v4", "--out", tmp_path / "x"), 2)
    assert not (tmp_path / "x" / "demos.zarr").exists()


def test_eval_reports_the_return(gym: Path, omp: Omp, tmp_path: Path) -> None:
    line = ("eval", gym / "run", "--episodes", 4, "--curve", 2, "--workers", 1, "--max-steps", 60)
    done = omp(*line, "--out", tmp_path / "a", "--json")
    assert done.code == 0, done.err
    result = done.json["result"]
    records = [json.loads(row) for row in (tmp_path / "a" / "episodes.jsonl").read_text().splitlines()]
    last = [r for r in records if r["checkpoint_step"] == 6]
    returns, steps = [r["episode_return"] for r in last], [r["steps"] for r in last]
    assert len(last) == 4
    assert {"success_any", "success_chunk", "first_success"}.isdisjoint(records[0])
    assert "success_any" not in result
    assert result["metric"] == "return"
    assert result["return"] == {
        "episodes": 4,
        "mean": pytest.approx(np.mean(returns), abs=1e-3),
        "std": pytest.approx(np.std(returns, ddof=1), abs=1e-3),
        "sem": pytest.approx(np.std(returns, ddof=1) / math.sqrt(4), abs=1e-3),
        "min": pytest.approx(min(returns), abs=1e-3),
        "max": pytest.approx(max(returns), abs=1e-3),
    }
    assert result["steps"]["mean"] == pytest.approx(np.mean(steps), abs=1e-3)
    assert result["terminated"] == sum(r["terminated"] for r in last)
    assert all(r["terminated"] == (r["steps"] < 60) for r in last)
    assert result["demonstrations"] == read_store(gym / "hopper").provenance["returns"]
    assert [row["checkpoint_step"] for row in result["curve"]] == [3]
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["metrics"]["return"] == result["return"]
    assert [a["path"] for a in manifest["artifacts"]] == ["episodes.jsonl", "return.png"]
    assert (tmp_path / "a" / "return.png").stat().st_size > 5_000
    two = omp(*line[:-3], 2, "--max-steps", 60, "--out", tmp_path / "b", "--json").json["result"]
    assert two == result, "the number of workers changes nothing"
    assert (tmp_path / "a" / "episodes.jsonl").read_bytes() == (tmp_path / "b" / "episodes.jsonl").read_bytes()


def test_the_table_shows_the_return_alone_and_a_video_is_written(gym: Path, omp: Omp, tmp_path: Path) -> None:
    line = ("eval", gym / "run", "--episodes", 1, "--workers", 1, "--max-steps", 8, "--video")
    shown = omp(*line, "--out", tmp_path / "e")
    assert shown.code == 0, shown.err
    assert "Return from held-out start states" in shown.out
    assert "success" not in shown.out.lower()
    assert "return of the demonstrations: mean" in shown.out
    assert (tmp_path / "e" / "video.mp4").stat().st_size > 1_000
    result = json.loads((tmp_path / "e" / "manifest.json").read_text())["metrics"]
    assert (result["return"]["std"], result["return"]["sem"]) == (None, None), "one episode has no spread"


def test_without_the_data_set_only_its_figure_is_missing(gym: Path, omp: Omp, tmp_path: Path) -> None:
    line = ("eval", gym / "run" / "checkpoints" / "step-00000006", "--episodes", 2, "--workers", 1, "--max-steps", 8)
    (gym / "hopper").rename(gym / "away")
    try:
        result = omp(*line, "--out", tmp_path / "e", "--json").json["result"]
    finally:
        (gym / "away").rename(gym / "hopper")
    assert "demonstrations" not in result
    assert result["return"]["episodes"] == 2


def test_a_fine_tuned_run_knows_its_demonstrations(gym: Path, omp: Omp, tmp_path: Path) -> None:
    line = ("--iterations", 2, "--envs", 2, "--workers", 1, "--max-steps", 20, "--set", "method.decisions=4")
    line = (*line, "--set", "evaluation.episodes=2", "--set", "evaluation.every=1")
    tuned = omp("finetune", gym / "run", *line, "--out", tmp_path / "f", "--json")
    assert tuned.code == 0, tuned.err
    result = tuned.json["result"]
    assert {"success", "successes", "recent_episodes"}.isdisjoint({*result, *result["evaluations"][0]})
    planned = omp("finetune", gym / "run", "--dry-run", "--json").json["config"]
    assert planned["evaluation.every"]["source"] == "preset gym-dmpo"
    for path in (tmp_path / "f", tmp_path / "f" / "best"):
        line = ("eval", path, "--episodes", 2, "--workers", 1, "--max-steps", 20, "--out", tmp_path / f"e-{path.name}")
        shown = omp(*line)
        assert shown.code == 0, shown.err
        mean = read_store(gym / "hopper").provenance["returns"]["mean"]
        assert f"return of the demonstrations: mean {mean}" in shown.out
    refused(omp("finetune", gym / "run", "--set", "reward=success"), 2, "has no success")


def test_another_layout_is_refused(omp: Omp, tmp_path: Path) -> None:
    write_d4rl(tmp_path / "w.hdf5")  # 11 numbers of state: no walker
    line = ("prepare", "gym", "--task", "walker2d-medium", "--file", tmp_path / "w.hdf5", "--out", tmp_path / "d")
    assert omp(*line, "--json").json["result"]["environment"] is None
    trained = omp("pretrain", tmp_path / "d", *PARTS, *SMALL, "--steps", 1, "--out", tmp_path / "run")
    assert trained.code == 0, trained.err
    refused(omp("eval", tmp_path / "run", "--workers", 1), 2, "environment's state_dim is 17", "11")


def test_actions_of_another_range_are_scaled(omp: Omp, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    actions = random.uniform(-0.4, 0.4, (6, 17)).astype(np.float32)
    with h5py.File(tmp_path / "h.hdf5", "w") as file:
        file["observations"], file["actions"] = random.normal(size=(6, 376)), actions
        file["rewards"], file["terminals"] = np.ones(6), np.arange(6) == 5
    line = ("prepare", "gym", "--task", "humanoid-medium", "--file", tmp_path / "h.hdf5", "--out", tmp_path / "d")
    assert omp(*line, "--json").json["result"]["environment"] == "humanoid-v4"
    data = read_store(tmp_path / "d")
    assert np.allclose(data.arrays["action"] * 0.4, actions, atol=1e-7)
    assert data.provenance["recipe"]["action_limit"] == 0.4
    assert max(abs(v) for v in data.provenance["action_range"]) <= 1.0


def test_there_is_no_expert_to_record(omp: Omp) -> None:
    refused(omp("prepare", "gym"), 2, "gym has no scripted expert", "--source")
    refused(omp("prepare", "gym", "--task", "hopper-v5", "--dry-run"), 2, "gym has no scripted expert")


def test_the_control_tick_is_measured_in_this_environment(gym: Path, omp: Omp, tmp_path: Path) -> None:
    quick = ("--calls", 3, "--blocks", 2, "--set", "warmup=1", "--set", "warmup_seconds=0", "--set", "ticks=3")
    line = ("bench-latency", "--checkpoint", gym / "run", "--backend", "eager", *quick)
    done = omp(*line, "--nfe", 1, "--out", tmp_path / "b", "--json")
    assert done.code == 0, done.err
    result = done.json["result"]
    assert result["rows"][0]["label"] == "dmpo hopper-medium"
    observation = next(part for part in result["parts"] if part["name"] == "observation")
    assert observation["reason"] == "simulator"
    assert len(result["ticks"]) == 1
