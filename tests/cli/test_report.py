"""``omp eval`` says what it evaluated; ``omp report`` makes tables of it."""

import json
from pathlib import Path

import pytest

from tests.conftest import Omp


def test_eval_says_what_was_evaluated(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop)  # the run names its data set relative to it
    line = ("eval", "run", "--episodes", 1, "--max-steps", 3, "--workers", 1)
    assert omp(*line, "--label", "omp dde", "--out", tmp_path / "e").code == 0
    manifest = json.loads((tmp_path / "e" / "manifest.json").read_text())
    assert manifest["config"]["label"] == {"value": "omp dde", "source": "flag"}
    policy = manifest["metrics"]["policy"]
    assert {key: policy[key] for key in ("method", "seed", "steps", "finetuned_by")} == {
        "method": "omp",
        "seed": 0,
        "steps": 30,
        "finetuned_by": None,
    }
    settings = policy["settings"]
    assert (settings["method.derivative"], settings["net.hidden"], settings["train.steps"]) == ("dde", 32, 30)
    trained_on = json.loads((workshop / "toy" / "manifest.json").read_text())["metrics"]["content_sha256"]
    assert (policy["data"]["content_sha256"], policy["data"]["demos"]) == (trained_on, 8)
    assert policy["data"]["settings"]["cloud.points"] == 48
    assert policy["data"]["settings"]["collect.raw_actions"] is False
