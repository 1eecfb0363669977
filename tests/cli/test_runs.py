"""``omp runs``: what there is, what is lost; ``--prune`` removes what came to nothing and nothing that is needed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from omp_cli.core.base.manifest import Manifest, hardware, now, read_manifest, write_manifest
from omp_cli.core.checkpoint import open_run
from tests.conftest import Omp, held_by_another


@pytest.fixture
def here(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data/toy and runs/pretrain/good, made there."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(workshop / "toy", tmp_path / "data" / "toy")
    shutil.copytree(workshop / "run", tmp_path / "runs" / "pretrain" / "good")
    return tmp_path


def made(folder: str, command: str = "pretrain", status: Any = "failed", inputs: tuple[Path, ...] = ()) -> Path:
    path = Path(folder)
    path.mkdir(parents=True)
    read = [{"kind": "checkpoint", "path": str(i), "sha256": "0" * 64} for i in inputs]
    values: dict[str, Any] = {"command": command, "status": status, "inputs": read, "started_at": now()}
    write_manifest(path, Manifest(**values, hardware=hardware()))
    return path


def states(omp: Omp, *words: object) -> dict[str, str]:
    return {row["folder"]: row["status"] for row in omp("runs", *words, "--json").json["runs"]}


def test_what_there_is_and_how_it_stands(omp: Omp, here: Path) -> None:
    made("runs/pretrain/bad")
    lost, busy = made("runs/eval/lost", "eval", "running"), made("runs/eval/busy", "eval", "running")
    (made("runs/eval/edited") / "manifest.json").write_text("{}")
    with held_by_another(busy):
        found = states(omp)
    assert found == {
        "data/toy": "succeeded",
        "runs/pretrain/good": "succeeded",
        "runs/pretrain/bad": "failed",
        "runs/eval/lost": "lost",
        "runs/eval/busy": "running",
        "runs/eval/edited": "damaged",
    }
    assert states(omp, "runs/eval", "--status", "lost") == {str(lost): "lost", str(busy): "lost"}
    shown = omp("runs")
    assert shown.code == 0, shown.err
    assert "push 8 episodes" in " ".join(shown.out.split()) or "8 episodes" in shown.out
    assert "came to nothing" in shown.out


def test_a_trained_run_shows_the_success_of_its_evaluation(omp: Omp, here: Path) -> None:
    done = omp("eval", "runs/pretrain/good", "--episodes", 2, "--max-steps", 3, "--workers", 1, "--json")
    assert done.code == 0, done.err
    rows = {row["command"]: row for row in omp("runs", "--json").json["runs"]}
    assert rows["eval"]["success"].split(" = ")[0] in ("0/2", "1/2", "2/2")
    assert rows["pretrain"]["success"] == rows["eval"]["success"]
    assert rows["prepare"]["success"] is None
    assert rows["prepare"]["bytes"] > 1000
    made("runs/eval/offline", "eval", "succeeded", (open_run(Path("runs/pretrain/good"))[-1].path,))
    newest = {row["folder"]: row["success"] for row in omp("runs", "--json").json["runs"]}
    assert newest["runs/eval/offline"] is None, "it compared actions"
    assert newest["runs/pretrain/good"] == rows["eval"]["success"]


def test_prune_asks_or_wants_yes(omp: Omp, here: Path) -> None:
    bad = made("runs/pretrain/bad")
    refused = omp("runs", "--prune")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    dry = omp("runs", "--prune", "--yes", "--dry-run", "--json").json
    assert [row["folder"] for row in dry["would_remove"]] == [str(bad)]
    assert bad.is_dir()
    done = omp("runs", "--prune", "--yes", "--json")
    assert done.code == 0, done.err
    assert done.json["removed"] == [str(bad)]
    assert not bad.exists()
    assert states(omp) == {"data/toy": "succeeded", "runs/pretrain/good": "succeeded"}


@pytest.mark.parametrize(("answer", "left"), [("y", False), ("n", True)])
def test_the_answer_counts(omp: Omp, here: Path, monkeypatch: pytest.MonkeyPatch, answer: str, left: bool) -> None:
    bad = made("runs/pretrain/bad")
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True, "readline": lambda *_: answer})())
    monkeypatch.setattr("typer.confirm", lambda *_, **__: answer == "y")
    assert omp("runs", "--prune").code == 0
    assert bad.exists() == left


def test_nothing_goes_that_is_needed_held_or_whole(omp: Omp, here: Path) -> None:
    good = open_run(Path("runs/pretrain/good"))[-1].path
    teacher, student = made("runs/pretrain/teacher"), made("runs/pretrain/student", status="succeeded")
    student.joinpath("manifest.json").unlink()
    student.rmdir()
    made("runs/pretrain/student", status="succeeded", inputs=(teacher,))
    before = made("runs/pretrain/before")
    made("runs/pretrain/between", "finetune", "interrupted", (before,))
    made("runs/eval/of-it", "eval", "succeeded", (Path("runs/pretrain/between"), good))
    sweep = made("runs/sweep/s", "sweep")
    made("runs/sweep/s/reach/ok", status="succeeded")
    job = made("runs/sweep/s/reach/bad")
    empty = made("runs/sweep/t", "sweep")
    made("runs/sweep/t/reach/bad")
    busy = made("runs/pretrain/busy")
    manifest = read_manifest(here / "data" / "toy")
    write_manifest(here / "data" / "toy", manifest.model_copy(update={"status": "interrupted"}))
    with held_by_another(busy):
        done = omp("runs", "--prune", "--yes", "--json")
    assert done.code == 0, done.err
    assert set(done.json["removed"]) == {str(job), str(empty)}
    kept = {row["folder"]: row["reason"] for row in done.json["kept"]}
    assert "runs/pretrain/student needs it" in kept[str(teacher)]
    assert "runs/pretrain/between needs it" in kept[str(before)]
    assert "runs/eval/of-it needs it" in kept["runs/pretrain/between"]
    assert "holds runs/sweep/s/reach/ok" in kept[str(sweep)]
    assert "a process is at work" in kept[str(busy)]
    assert "whole" in kept["data/toy"]
    assert all(Path(folder).is_dir() for folder in kept)


def test_what_is_elsewhere_keeps_what_it_needs_and_the_working_folder_stays(
    omp: Omp, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = made("data/bad", "prepare")
    made("runs/pretrain/of-it", status="succeeded", inputs=(bad,))
    done = omp("runs", "data", "--prune", "--yes", "--json")
    assert done.json["removed"] == []
    assert [row["folder"] for row in done.json["kept"]] == ["data/bad"]
    mine = made("mine", status="failed")
    assert omp("runs", mine, "--prune", "--yes", "--json").json["removed"] == []
    monkeypatch.chdir(mine)
    assert omp("runs", here, "--prune", "--yes", "--json").json["removed"] == []
    assert (here / mine).is_dir()


@pytest.mark.parametrize(
    ("words", "code"),
    [(("nowhere",), 3), (("--yes",), 2), (("--status", "lots"), 2), (("--prune", "--status", "succeeded"), 2)],
)
def test_bad_input(omp: Omp, here: Path, words: tuple[str, ...], code: int) -> None:
    assert omp("runs", *words).code == code
