"""omp prepare gym --source sb3: a policy learns, its episodes become a data set."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from omp_cli.core.data.store import read_store
from omp_cli.core.suites.gym import trained
from omp_cli.core.suites.gym.trained import TrainedConfig
from tests.cli.test_bad_input import refused
from tests.conftest import Omp

LINE = ("prepare", "gym", "--source", "sb3", "--train-steps", 200, "--demos", 2)


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_CLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_what_goes_wrong_is_one_line(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained, "find_spec", lambda name: None)
    refused(omp(*LINE), 4, "stable-baselines3 is not installed", "pip install")
    refused(omp(*LINE, "--task", "hoper"), 2, "hopper")
    refused(omp(*LINE, "--task", "hopper-v4"), 2, "v5")
    refused(omp(*LINE, "--task", "hopper", "--task", "ant"), 2, "one task")
    refused(omp(*LINE, "--quality", "perfect"), 2, "quality")
    refused(omp(*LINE, "--quality", "expert"), 2, "no expert", "--policy")
    refused(omp(*LINE, "--policy", "none.zip"), 3, "none.zip", "no such file")
    refused(omp("prepare", "gym", "--file", "x", "--quality", "medium"), 2, "--quality")
    shown = omp(*LINE, "--dry-run", "--json").json
    assert shown["config"]["record.steps"] == {"value": 200, "source": "flag"}
    assert shown["config"]["record.quality"] == {"value": "medium", "source": "default"}
    assert list(tmp_path.iterdir()) == []


def test_names_hold_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    medium = TrainedConfig(robot="hopper")
    assert (medium.dataset, medium.source, medium.environment) == ("hopper-medium", "sb3-n200000-e100-s0", "hopper-v5")
    files = {TrainedConfig(robot="hopper", **v).file for v in ({"seed": 1}, {"steps": 5}, {"episodes": 7})}
    assert len(files | {medium.file}) == 4
    before = medium.file, medium.learnt
    monkeypatch.setitem(trained.SETTINGS, "gamma", 0.9)
    assert not {medium.file, medium.learnt} & set(before), "what other settings of PPO made is not used"


@pytest.mark.skipif(importlib.util.find_spec("stable_baselines3") is None, reason="stable-baselines3 is not installed")
def test_learn_record_convert_and_use_again(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(trained.SETTINGS, "n_steps", 16)
    done = omp(*LINE, "--task", "humanoid", "--json")
    assert done.code == 0, done.err
    assert done.json["run_dir"] == "data/gym/humanoid-medium-sb3-n200-e2-s0"
    assert (done.json["result"]["demos"], done.json["result"]["environment"]) == (2, "humanoid-v5")
    data = read_store(tmp_path / done.json["run_dir"])
    notes = data.provenance["environment"]
    assert notes["training"] == {"robot": "humanoid", "quality": "medium", "steps": 200, "episodes": 2, "seed": 0}
    assert notes["policy"] == "stochastic"
    assert notes["mean_return"] == pytest.approx(data.provenance["returns"]["mean"], abs=2e-3)
    assert {"stable-baselines3", "mujoco"} <= notes["versions"].keys()
    actions = data.arrays["action"]
    assert 0.4 < np.abs(actions).max() <= 1.0 + 1e-6, "of the policy, not of the motors"
    assert data.arrays["terminal"].sum() == 2, "an untrained humanoid falls"
    file, content = trained.TrainedConfig(robot="humanoid", steps=200, episodes=2).file, data.sha256
    policy = next(file.parent.glob("*.safetensors"))
    before = file.read_bytes(), policy.stat().st_mtime_ns
    file.unlink()  # as an interruption while recording leaves it
    again = omp(*LINE, "--task", "humanoid", "--json", "--out", "again")
    assert again.json["result"]["content_sha256"] == content
    assert policy.stat().st_mtime_ns == before[1], "the policy was not learnt again"
    kept = omp(*LINE, "--task", "humanoid")
    assert kept.code == 0, kept.err
    assert "recorded before" in kept.err
