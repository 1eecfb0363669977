"""Claims against tables whose answer is known, and the account of failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.core.base import papers
from omp_cli.core.base.statistics import contrast
from omp_cli.core.report.collect import read_evaluations
from omp_cli.core.report.summary import summarise
from omp_cli.core.report.tables import all_tables
from omp_cli.core.suites.metaworld.tables import GROUPS, MW34
from tests.report.manifests import write_eval

OMP = "OMP with the exact du/dt succeeds more often than MP1"
HARDER = "OMP's gain over MP1 is larger on harder tasks than on easy ones"


def settings(label: str) -> dict[str, Any]:
    return {key: value for key, value in papers.claims()["rows"][label].items() if key != "nfe"}


def write_row(folder: Path, label: str, successes: Callable[[int], int], left_out: int = 0, **other: Any) -> None:
    for place, task in enumerate(MW34[left_out:]):
        told = settings(label) | other
        write_eval(folder / label / task, task, successes(place), label=label, settings=told)


def claims_of(folder: Path) -> dict[str, dict[str, Any]]:
    (section,) = summarise(read_evaluations([folder]))["sections"]
    return {found["claim"]: found for found in section["claims"]}


def test_a_claim_holds_fails_or_is_left_open_by_its_interval(tmp_path: Path) -> None:
    write_row(tmp_path / "a", "omp", lambda i: 40 + i % 3)
    write_row(tmp_path / "a", "mp1", lambda i: 30 + i % 2)
    found = claims_of(tmp_path / "a")[OMP]
    lead = np.mean([(40 + i % 3 - 30 - i % 2) / 50 for i in range(34)])
    assert found["value"] == pytest.approx(lead, abs=1e-4)
    assert found["low"] < found["value"] < found["high"]
    assert (found["verdict"], found["tasks"], found["of"], found["seeds"]) == ("holds", 34, 34, [1, 1])
    assert "larger than published" in found["why"]
    assert list(found["settings"]) == ["method.name"]
    write_row(tmp_path / "b", "omp", lambda i: 30 + i % 2)
    write_row(tmp_path / "b", "mp1", lambda i: 40 + i % 3)
    assert claims_of(tmp_path / "b")[OMP]["verdict"] == "does not hold"
    write_row(tmp_path / "c", "omp", lambda i: 40 + i % 2)
    write_row(tmp_path / "c", "mp1", lambda i: 41 - i % 2)
    assert (claims_of(tmp_path / "c")[OMP]["verdict"]) == "cannot be told"


def test_no_verdict_without_all_tasks_or_of_a_row_that_is_something_else(tmp_path: Path) -> None:
    write_row(tmp_path / "a", "omp", lambda i: 45, left_out=1)
    write_row(tmp_path / "a", "mp1", lambda i: 20 + i % 5)
    found = claims_of(tmp_path / "a")[OMP]
    assert (found["verdict"], found["tasks"]) == ("cannot be told", 33)
    assert found["value"] > 0.3
    assert found["why"].startswith("1 of the tasks")
    write_row(tmp_path / "b", "omp", lambda i: 45, **{"method.alignment.weight": 0.0})
    write_row(tmp_path / "b", "mp1", lambda i: 20 + i % 5)
    found = claims_of(tmp_path / "b")[OMP]
    assert (found["verdict"], found["why"]) == (
        "cannot be told",
        "the row omp has method.alignment.weight 0.0, not 0.1",
    )
    write_row(tmp_path / "c", "omp", lambda i: 45)
    assert {found["why"] for found in claims_of(tmp_path / "c").values()} >= {"no row mp1", "no row dp3"}
    write_eval(tmp_path / "d", "hammer", 40)
    assert not claims_of(tmp_path / "d"), "rows of other names touch no claim"


def test_a_gain_is_compared_between_classes(tmp_path: Path) -> None:
    easy = len(GROUPS["easy"])
    write_row(tmp_path, "omp", lambda i: 40 + i % 2 + (8 if MW34[i] not in GROUPS["easy"] else 0))
    write_row(tmp_path, "mp1", lambda i: 40)
    found = claims_of(tmp_path)[HARDER]
    gains = [(i % 2 + (8 if task not in GROUPS["easy"] else 0)) / 50 for i, task in enumerate(MW34)]
    harder = [g for g, task in zip(gains, MW34, strict=True) if task not in GROUPS["easy"]]
    lower = [g for g, task in zip(gains, MW34, strict=True) if task in GROUPS["easy"]]
    assert len(lower) == easy
    assert found["value"] == pytest.approx(np.mean(harder) - np.mean(lower), abs=1e-4)
    assert found["verdict"] == "holds"


def test_welchs_interval_holds_the_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        found = contrast(rng.normal(0.5, 0.3, 13).tolist(), rng.normal(0.2, 0.1, 21).tolist())
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.3 <= found.high
    assert 0.92 <= held / 400 <= 0.98
    assert contrast([0.1, 0.2], [0.0] * 9).low is None
    assert contrast([0.5] * 3, [0.5] * 3).low == 0.0


def test_every_claim_names_rows_that_are_described() -> None:
    claims = papers.claims()
    assert {found[key] for found in claims["claims"] for key in ("row", "other")} == set(claims["rows"])
    assert all(GROUPS[name] for found in claims["claims"] for name in (*found["on"], *found.get("than", ())))
    assert len({found["text"] for found in claims["claims"]}) == len(claims["claims"])


def test_failures_are_accounted_for_task_by_task(tmp_path: Path) -> None:
    columns = {
        "success": [True] * 40 + [False] * 10,
        "steps": [90] * 40 + [200] * 10,
        "return": [1.0] * 50,
        "obj_to_target": [0.01] * 40 + [0.1] * 5 + [0.3] * 5,
        "obj_to_target_least": [0.01] * 40 + [0.05] * 10,
        "grasp_success": [True] * 46 + [False] * 4,
    }
    write_eval(tmp_path / "a", "pick-place", 40, by_episode=columns)
    write_eval(tmp_path / "b", "hammer", 45)
    write_eval(tmp_path / "c", "reach", 46)
    write_eval(tmp_path / "d", "push", 9, by_episode={"success": [True] * 9 + [False] * 41, "steps": [90] * 50})
    document = summarise(read_evaluations([tmp_path]))
    (section,) = document["sections"]
    pick, hammer = section["failures"]
    assert (pick["task"], pick["failed"], pick["noted"]) == ("pick-place", 10, 10)
    assert pick["happened"] == {"grasp_success": 6}
    assert pick["median"] == {"obj_to_target": {"last": 0.2, "least": 0.05}}
    assert (hammer["task"], hammer["noted"], hammer["happened"]) == ("hammer", 0, {})
    (table,) = [table for table in all_tables(document) if table.title == "How episodes end that fail"]
    assert table.rows[0][2:] == ["40/50", "10 of 10", "grasp_success in 6", "obj_to_target 0.2 (0.05)"]
    assert table.rows[1][3] == "not noted"
    missing = {found["class"]: found for found in section["missing"]}
    assert missing["easy"]["tasks"] == [task for task in GROUPS["easy"] if task != "reach"]
    assert len(missing["very-hard"]["tasks"]) == 5, "a class of which nothing was measured is missing, too"
