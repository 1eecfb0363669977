"""examples/adroit_expert.py: plans are judged by the goal, episodes are planned once, and their file is data."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("gymnasium_robotics")

from omp_cli.core.data.store import read_store
from omp_cli.core.suites.adroit import Adroit, AdroitConfig
from tests.conftest import Omp
from tests.suites.test_adroit import at_the_goal

FILE = Path(__file__).parents[2] / "examples" / "adroit_expert.py"
QUICK = ("--steps", "3", "--samples", "4", "--iterations", "1", "--elites", "2", "--episodes", "1")


@pytest.fixture(scope="module")
def expert() -> ModuleType:
    spec = importlib.util.spec_from_file_location("adroit_expert", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["adroit_expert"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_plans_at_the_goal_cost_less(expert: ModuleType) -> None:
    for task, goal in expert.GOALS.items():
        env = Adroit(AdroitConfig(cloud=None)).make(task)
        costs = []
        for state in (None, at_the_goal(env)):
            if state is None:
                env.reset(0)
            else:
                env.show(state)
            (cost,) = expert.Model(env, goal, 1).costs(np.zeros((1, 2, env.spec.action_dim)))
            costs.append(cost)
        assert costs[1] < costs[0] - 0.5, task


def test_an_episode_is_planned_once_and_its_file_is_data(
    expert: ModuleType, omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = expert.arguments(["pen", "--out", str(tmp_path / "pen.hdf5"), *QUICK])
    assert expert.run(args) is None, "three actions are too few"
    assert "0 of 1 episodes kept" in capsys.readouterr().out
    (file,) = (tmp_path / "pen.hdf5.episodes").iterdir()
    monkeypatch.setattr(expert, "plan_episode", None)
    monkeypatch.setattr(expert, "good", lambda rows: True)
    assert expert.run(args) == tmp_path / "pen.hdf5", "what is there is not planned again"
    line = ("prepare", "adroit", "--task", "pen", "--demos-file", tmp_path / "pen.hdf5", "--workers", 1)
    done = omp(*line, "--set", "keep_failures=true", "--set", "shown.cloud=none", "--out", tmp_path / "d")
    assert done.code == 0, done.err
    data = read_store(tmp_path / "d")
    environment = data.provenance["environment"]
    assert (environment["repeat"], environment["recorded"]["samples"]) == (2, 4)
    assert environment["deviation_after_first_action"] < 1e-9
    with np.load(file) as rows:
        np.testing.assert_array_equal(data.arrays["full_state"], rows["observations"])
