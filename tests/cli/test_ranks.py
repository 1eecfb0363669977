"""The number that a cluster or torchrun gives to a process: the first prints, and who works alone is the first."""

from pathlib import Path

import pytest

from tests.cli.test_bad_input import refused
from tests.conftest import TINY, Omp


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")


@pytest.mark.usefixtures("second")
def test_a_command_that_no_other_process_does_prints_what_it_was_asked_for(omp: Omp, run: Path) -> None:
    assert omp("eval", run, "--dry-run", "--json").json["dry_run"]
    assert omp("manifest", run, "--json").json["state"] == "succeeded"
    assert omp("manifest", run / "nowhere", "--json").json["error"]["code"] == 3


@pytest.mark.usefixtures("second")
def test_of_several_processes_that_train_the_first_alone_prints(omp: Omp, workshop: Path, run: Path) -> None:
    for line in (("pretrain", workshop / "toy", "--dry-run"), ("pretrain", "--resume", run)):
        done = omp(*line)
        assert done.code == 0, done.err
        assert done.out == ""


def test_a_number_without_others_means_nothing(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "3")
    done = omp("pretrain", workshop / "toy", "--steps", 2, *TINY, "--out", tmp_path / "r", "--json")
    assert done.json["run_dir"] == str(tmp_path / "r")


@pytest.mark.parametrize("size", ["2", "two"])
def test_processes_that_nobody_brings_together_are_told(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", size)
    refused(omp("pretrain", workshop / "toy", "--out", tmp_path / "r"), 2, f"WORLD_SIZE={size}: ", "torchrun")
    assert not (tmp_path / "r").exists()
