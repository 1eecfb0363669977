"""``--noise-scale``: every command that lets a policy act scales its noise, and a report's rows say so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import omp_cli as api
from omp_cli.core.data.store import read_store
from tests.cli.test_bad_input import refused
from tests.conftest import TINY, Omp


@pytest.fixture
def evaluated(omp: Omp, workshop: Path, tmp_path: Path) -> Callable[..., Any]:
    """Evaluates the workshop's policy; returns the outcome and the return of each episode."""

    def run(name: str, *more: object) -> Any:
        line = ("eval", workshop / "run", "--episodes", 2, "--max-steps", 6, "--workers", 1, "--out", tmp_path / name)
        done = omp(*line, *more)
        assert done.code == 0, done.err
        rows = (tmp_path / name / "episodes.jsonl").read_text().splitlines()
        return done, [json.loads(row)["episode_return"] for row in rows]

    return run


def test_an_evaluation_says_so(evaluated: Callable[..., Any], omp: Omp, tmp_path: Path) -> None:
    usual, whole = evaluated("e/usual")
    assert "times the noise of training" not in usual.out
    same, as_usual = evaluated("e/one", "--noise-scale", 1, "--label", "one")
    assert (as_usual, "times the noise" in same.out) == (whole, False)
    none, without = evaluated("e/none", "--noise-scale", 0)
    assert without != whole
    assert "decisions began with 0 times the noise of training" in none.out
    metrics = json.loads((tmp_path / "e/none/manifest.json").read_text())["metrics"]
    assert metrics["noise_scale"] == 0
    line = ("report", tmp_path / "e", "--baseline", "omp dde", "--json", "--out", tmp_path / "r")
    (section,) = omp(*line).json["result"]["sections"]
    assert sorted(row["title"] for row in section["rows"]) == ["omp dde", "omp dde, noise x 0", "one"]
    differ = {row["title"]: row["settings"] for row in section["differences"]}
    assert differ == {"one": {}, "omp dde, noise x 0": {"noise_scale": ["1.0", "0.0"]}}
    evaluated("e/named", "--noise-scale", 0.5, "--label", "one")
    refused(omp("report", tmp_path / "e", "--out", tmp_path / "r2"), 2, "evaluate different policies", "noise")


def test_a_policy_in_python_and_at_work_decides_as_one(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    frame = {name: x[0] for name, x in read_store(workshop / "toy").arrays.items()}

    def act(**settings: Any) -> Any:
        return api.load(workshop / "run", "cpu", **settings).act(frame)

    assert not np.array_equal(act(seed=1), act(seed=2))
    np.testing.assert_array_equal(act(seed=1, noise_scale=0), act(seed=2, noise_scale=0.0))
    policy = api.load(workshop / "run", "cpu", noise_scale=0)
    figures = api.evaluate(policy, episodes=1, max_steps=3, out=tmp_path / "own")
    assert figures["noise_scale"] == 0, "its own task is evaluated with it, too"
    line = ("deploy", workshop / "run", "--replay", workshop / "toy", "--hz", 5000, "--noise-scale", 0)
    errors = []
    for seed in (1, 2):
        done = omp(*line, "--seed", seed, "--json", "--out", tmp_path / f"d{seed}")
        assert done.code == 0, done.err
        errors.append(json.loads((tmp_path / f"d{seed}/ticks.jsonl").read_text().splitlines()[0])["action"])
    assert errors[0] == errors[1]


def test_what_draws_no_noise_has_none_to_scale(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    line = ("pretrain", workshop / "toy", "--method", "gaussian", "--steps", 2, *TINY, "--out", tmp_path / "g")
    assert omp(*line).code == 0
    more = ("--noise-scale", 0.5)
    asked = ("eval", tmp_path / "g", "--episodes", 1, "--workers", 1, "--out", tmp_path / "e")
    refused(omp(*asked, *more), 2, "noise_scale: 0.5, and this policy draws no noise", "leave it out")
    assert not (tmp_path / "e").exists()
    refused(omp("deploy", tmp_path / "g", "--replay", workshop / "toy", *more), 2, "this policy draws no noise")
    refused(omp("eval", workshop / "run", "--noise-scale", -1), 2, "noise_scale: input should be greater")
