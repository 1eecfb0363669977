"""Evaluations are found wherever they lie, and only sound ones count."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.run import Run
from omp_cli.core.report.collect import read_evaluations, usual_label
from omp_cli.core.report.sections import OTHER, classes_of, make_sections
from omp_cli.core.report.summary import summarise
from omp_cli.core.report.tables import main_table
from tests.report.manifests import write_eval, write_latency, write_offline


def test_manifests_are_found_at_any_depth_and_under_any_name_and_once(tmp_path: Path) -> None:
    first = write_eval(tmp_path / "a" / "b" / "c", "hammer", 40)
    second = write_eval(tmp_path / "x", "hammer", 41, seed=1)
    shutil.move(second, tmp_path / "hammer-1.json")
    shutil.copy(first, tmp_path / "copy.json")
    write_latency(tmp_path / "l", 1, 2.0)
    (tmp_path / "other.json").write_text("[1, 2")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "policy.json").write_text('{"step": 3, "seal": "of a checkpoint"}')
    found = read_evaluations([tmp_path, tmp_path / "a", first])
    assert [(e.task, e.seed, e.successes, e.last.episodes) for e in found.evaluations] == [
        ("hammer", 0, 40, 50),
        ("hammer", 1, 41, 50),
    ]
    assert len(found.latencies) == 1
    assert found.left_out == []


def test_what_does_not_count_is_named(tmp_path: Path) -> None:
    write_eval(tmp_path / "good", "hammer", 40)
    edited = write_eval(tmp_path / "edited", "soccer", 4)
    edited.write_text(edited.read_text().replace('"successes": 4', '"successes": 44'))
    write_eval(tmp_path / "unfinished", "push", 4, status="interrupted")
    found = read_evaluations([tmp_path])
    assert [e.task for e in found.evaluations] == ["hammer"]
    assert len(found.left_out) == 2
    assert any(str(edited) in line and "seal" in line for line in found.left_out)
    assert any("unfinished" in line and "interrupted" in line for line in found.left_out)
    with pytest.raises(DataError, match="edited"):
        read_evaluations([tmp_path / "edited"])


def test_a_sweep_of_which_jobs_are_left_is_named(tmp_path: Path) -> None:
    write_eval(tmp_path / "s" / "good", "hammer", 40)
    with Run(tmp_path / "s", "sweep", {}, {}) as run:
        run.metrics(states={"waiting": 0, "finished": 3, "failed": 1, "blocked": 2})
    with Run(tmp_path / "whole", "sweep", {}, {}) as run:
        run.metrics(states={"waiting": 0, "finished": 3})
    (line,) = read_evaluations([tmp_path]).left_out
    assert line.startswith(f"sweep {tmp_path / 's'}: ")
    assert line.endswith("3 of 6 jobs finished (1 failed, 2 blocked)")


def test_nothing_to_report_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no evaluation"):
        read_evaluations([tmp_path])
    with pytest.raises(DataError, match="no such file"):
        read_evaluations([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    "other",
    [{"checkpoint": "another"}, {"weights": "raw"}, {"precision": "bf16"}, {"export": "file"}, {"execute": 1}],
    ids=str,
)
def test_two_policies_of_one_name_are_an_error_that_names_both(tmp_path: Path, other: dict[str, Any]) -> None:
    one, two = write_eval(tmp_path / "one", "hammer", 40), write_eval(tmp_path / "two", "hammer", 41, **other)
    with pytest.raises(UsageError) as error:
        read_evaluations([tmp_path])
    assert str(one) in error.value.message
    assert str(two) in error.value.message
    write_eval(tmp_path / "two", "hammer", 41, nfe=5)
    assert len(read_evaluations([tmp_path]).evaluations) == 2


def test_of_several_evaluations_of_one_policy_the_newest_counts_and_that_is_said(tmp_path: Path) -> None:
    for name, hour, successes in (("a", 12, 42), ("b", 10, 40), ("c", 11, 41)):
        write_eval(tmp_path / name, "hammer", successes, started=f"2026-11-22T{hour}:00:00+00:00")
    write_eval(tmp_path / "elsewhere", "soccer", 3)
    found = read_evaluations([tmp_path])
    assert sorted((e.task, e.successes) for e in found.evaluations) == [("hammer", 42), ("soccer", 3)]
    assert len(found.left_out) == 2
    assert all("the same policy later" in line for line in found.left_out)
    assert found.left_out[-1].startswith(f"omp eval {tmp_path / 'c'}")


def test_without_an_environment_one_name_stands_for_one_policy_too(tmp_path: Path) -> None:
    write_offline(tmp_path / "a", "mine")
    write_offline(tmp_path / "b", "mine", samples=4)
    found = read_evaluations([tmp_path])
    assert (len(found.offline), len(found.left_out)) == (1, 1)
    write_offline(tmp_path / "c", "mine", checkpoint="another")
    with pytest.raises(UsageError, match="'mine', NFE 1, on reach, seed 0, stands twice"):
        read_evaluations([tmp_path])


def test_a_policy_without_a_label_goes_by_method_derivative_and_fine_tuning() -> None:
    assert usual_label({"method": "omp", "settings": {"method.derivative": "jvp"}}) == "omp jvp"
    assert usual_label({"method": "dp3", "settings": {}, "finetuned_by": "ppo"}) == "dp3 + ppo"
    exported = {"method": "dp3", "settings": {}, "finetuned_by": None, "export": "policy.onnx"}
    assert usual_label(exported) == "dp3 by policy.onnx"


def test_classes_are_the_papers_and_the_rest_is_other() -> None:
    classes = classes_of("metaworld", ["sweep"])
    assert {name: len(tasks) for name, tasks in classes.items()} == {
        "easy": 21,
        "medium": 4,
        "hard": 4,
        "very-hard": 5,
        OTHER: 16,
    }
    assert classes_of("toy", ["reach"]) == {"toy": ("detour", "fork", "reach")}
    assert set(classes_of("adroit", ["pen"])["adroit"]) == {"hammer", "door", "pen"}
    assert classes_of("a plugin's", ["b"]) == {"a plugin's": ("b",)}


def test_sections_rows_and_baseline(tmp_path: Path) -> None:
    for index, (label, task, nfe) in enumerate(
        [("a", "hammer", 1), ("a", "hammer", 5), ("b", "hammer", 1), ("b", "soccer", 1)]
    ):
        started = f"2026-11-22T10:0{index}:00+00:00"
        write_eval(tmp_path / str(index), task, 10, label=label, nfe=nfe, started=started)
    write_eval(tmp_path / "pen", "pen", 5, label="a", suite="adroit", started="2026-11-22T10:09:00+00:00")
    write_eval(tmp_path / "toy", "reach", 5, label="a", suite="toy", started="2026-11-22T10:10:00+00:00")
    evaluations = read_evaluations([tmp_path]).evaluations
    papers, toy = make_sections(evaluations)
    assert (papers.title, toy.title) == ("adroit and metaworld", "toy")
    assert [row.title for row in papers.rows] == ["a, NFE 1", "a, NFE 5", "b"]
    assert papers.of == 37
    assert papers.baseline is papers.rows[0]
    assert make_sections(evaluations, "b")[0].baseline.title == "b"  # type: ignore[union-attr]
    assert make_sections(evaluations, "a")[0].baseline.title == "a, NFE 1"  # type: ignore[union-attr]
    assert make_sections(evaluations, "b")[1].baseline is None
    with pytest.raises(UsageError, match="no such row"):
        make_sections(evaluations, "c")


def test_tasks_outside_the_papers_classes_do_not_count_among_the_37(tmp_path: Path) -> None:
    write_eval(tmp_path / "a", "sweep", 10)
    (section,) = make_sections(read_evaluations([tmp_path]).evaluations)
    assert (section.counted, section.of) == ([OTHER], 16)
    assert main_table(summarise(read_evaluations([tmp_path]))["sections"][0]).columns[2] == "other\n1 of 16 tasks"
