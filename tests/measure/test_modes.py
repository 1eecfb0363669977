"""Mode coverage: shares by hand, and what an evaluation of the toy's fork reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omp_cli.core.measure.modes import mode_coverage
from tests.conftest import TINY, Omp


def test_shares_and_their_distance_by_hand() -> None:
    found = mode_coverage(["left"] * 3 + ["right"] * 6 + [None], {"left": 8, "right": 12})
    assert found["modes"] == {
        "left": {"n": 3, "share": 0.3, "data": 0.4},
        "right": {"n": 6, "share": 0.6, "data": 0.6},
        "none": {"n": 1, "share": 0.1, "data": 0.0},
    }
    assert found["modes_distance"] == pytest.approx(0.1)


def test_a_lost_mode_is_shown() -> None:
    found = mode_coverage(["right"] * 5, {"left": 2, "right": 3})
    assert found["modes"]["left"] == {"n": 0, "share": 0.0, "data": 0.4}
    assert found["modes_distance"] == pytest.approx(0.4)


def test_without_the_data_there_is_nothing_to_compare_with() -> None:
    found = mode_coverage(["left"], None)
    assert found == {"modes": {"left": {"n": 1, "share": 1.0, "data": None}}, "modes_distance": None}
    assert mode_coverage([None, None], None) == {}


def test_an_evaluation_reports_the_ways_that_were_taken(omp: Omp, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    line = ("prepare", "toy", "--task", "fork", "--demos", 5, "--points", 32, "--workers", 1)
    assert omp(*line, "--out", data).code == 0
    assert omp("pretrain", data, *TINY, "--steps", 2, "--batch-size", 4, "--out", run).code == 0
    line = ("eval", run, "--episodes", 3, "--workers", 1, "--set", "together=2", "--max-steps", 20)
    done = omp(*line, "--out", tmp_path / "eval")
    assert done.code == 0, done.err
    assert "ways taken: left" in done.out
    metrics = json.loads((tmp_path / "eval" / "manifest.json").read_text())["metrics"]
    modes = metrics["modes"]
    assert sum(row["n"] for row in modes.values()) == 3
    assert modes["left"]["data"] + modes["right"]["data"] == pytest.approx(1)
    assert modes["left"]["data"] * 5 == pytest.approx(round(modes["left"]["data"] * 5))
    assert metrics["modes_distance"] > 0.3, "two steps of training take it nowhere"


def test_tasks_without_modes_report_none(omp: Omp, run: Path, tmp_path: Path) -> None:
    line = ("eval", run, "--episodes", 1, "--workers", 1, "--max-steps", 3, "--out", tmp_path / "e", "--json")
    assert "modes" not in omp(*line).json["result"]
    assert "mode" not in json.loads((tmp_path / "e" / "episodes.jsonl").read_text())
