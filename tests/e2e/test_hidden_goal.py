"""What demonstrations do not show is learned from reward: examples/hidden_goal.py, line by line."""

from pathlib import Path

import pytest

from omp_cli.core.data.store import read_store
from tests.cli.test_bad_input import refused
from tests.conftest import Omp

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def plugin() -> Path:
    """The suite."""
    return EXAMPLES / "hidden_goal.py"


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


def test_a_suite_brings_a_source_of_its_own_and_the_options_of_it(
    omp: Omp, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    always = ("--plugin", plugin, "--json")
    line = ("prepare", "hidden", "--source", "shaken", "--demos", 3)
    refused(omp(*line, "--points", 5, *always), 2, "--points does not go with --source shaken")
    refused(omp(*line, "--shake", 11, *always), 2, "shake")
    refused(omp(*line, "--shake", "much", *always), 2, "--shake")
    refused(omp(*line, "--set", "suite.name=toy", *always), 2, "suite.name")
    refused(omp("prepare", "hidden", "--shake", 1, *always), 2, "--shake does not go with hidden's scripted expert")
    refused(omp("prepare", "toy", "--shake", 1, *always), 2, "--shake does not go with toy's scripted expert")
    assert "--shake" in omp("prepare", "--help", "--plugin", plugin).out
    shown = omp(*line, "--shake", 0.5, "--seed", 4, *always, "--dry-run").json
    assert shown["config"]["shake"] == {"value": 0.5, "source": "flag"}
    assert shown["config"]["seed"]["value"] == 4
    assert list(tmp_path.iterdir()) == []

    made = omp(*line, *always)
    assert made.code == 0, made.err
    assert made.json["run_dir"] == "data/hidden/goal-shaken-d3-s0"
    assert (made.json["result"]["demos"], made.json["result"]["frames"]) == (3, 120)
    again = omp(*line, *always).json["result"]
    assert (again["reused"], again["content_sha256"]) == (True, made.json["result"]["content_sha256"])
    shaken = omp(*line, "--shake", 0.5, *always).json
    assert shaken["run_dir"].startswith("data/hidden/goal-shaken-d3-s0-")
    assert shaken["result"]["content_sha256"] != again["content_sha256"]
    refused(omp(*line, "--shake", 0.6, "--out", shaken["run_dir"], *always), 2, "shake 0.5, asked for 0.6")
    data = read_store(Path(made.json["run_dir"]))
    assert (data.provenance["recipe"]["source"], data.provenance["recipe"]["shake"]) == ("shaken", 0.3)
    assert len(set(data.provenance["start_states"])) == 3
    trained = omp("pretrain", made.json["run_dir"], "--preset", "dmpo-state", "--steps", 2, *always)
    assert trained.code == 0, trained.err
