"""What demonstrations do not show is learned from reward: examples/hidden_goal.py, line by line."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from omp_cli.core.data.store import read_store
from omp_cli.core.suites.base import SUITES
from tests.conftest import Omp

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def plugin() -> Iterator[Path]:
    """The suite, forgotten at the end."""
    yield EXAMPLES / "hidden_goal.py"
    del sys.modules["omp_plugin_hidden_goal"], SUITES._members["hidden"]


def test_a_hidden_goal_is_found_past_biased_demonstrations(
    omp: Omp, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    always = ("--plugin", plugin, "--json")
    prepared = omp("prepare", "hidden", "--demos", 20, "--workers", 1, *always)
    assert prepared.code == 0, prepared.err
    assert (prepared.json["result"]["demos"], prepared.json["result"]["expert_failures"]) == (20, 20)
    data = read_store(Path(prepared.json["run_dir"]))
    assert not data.arrays["success"].any()
    assert data.arrays["state"].shape == (20 * 40, 2)

    small = ("--steps", 300, "--set", "net.hidden=128")
    trained = omp("pretrain", "--preset", "dmpo-state", *small, *always)
    assert trained.code == 0, trained.err
    pretrained = Path(trained.json["run_dir"])
    tuned = omp("finetune", "--config", EXAMPLES / "hidden_goal.toml", "--workers", 1, *always)
    assert tuned.code == 0, tuned.err
    rates = {}
    for run in (pretrained, Path(tuned.json["run_dir"])):
        # other start states than those of the evaluations on the way
        line = ("eval", run, "--nfe", 1, "--episodes", 20, "--seed", 1, "--workers", 1, "--set", "together=20")
        rates[run.parent.name] = omp(*line, *always).json["result"]["success_any"]["successes"]
    assert rates["pretrain"] <= 2
    assert rates["finetune"] >= 18
