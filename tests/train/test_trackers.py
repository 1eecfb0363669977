"""Trackers really get the figures; nothing of them reaches stdout, and a resumed run goes on in the run it began."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from omp_cli.core.base.errors import RunFailed
from omp_cli.core.train.trackers import ID, Trackio, make_trackers, run_id
from tests.conftest import TINY, Omp


def trained(omp: Omp, toy: Path, out: Path, tracker: str) -> None:
    done = omp("pretrain", toy, "--steps", 10, *TINY, "--set", f"train.tracker={tracker}", "--out", out, "--json")
    assert done.code == 0, done.err
    assert done.json["result"]["steps"] == 10, "stdout is one document"
    longer = omp("pretrain", "--resume", out, "--steps", 15, "--json")
    assert longer.code == 0, longer.err
    assert longer.json["result"]["resumed_at_step"] == 10


def test_weights_and_biases_offline(omp: Omp, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    trained(omp, toy, run, "wandb")
    files = sorted((run / "wandb").glob(f"offline-run-*/run-{run_id(run)}.wandb"))
    assert len(files) == 2
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = b"".join(file.read_bytes() for file in files)
    assert [row["step"] for row in rows] == [5, 10, 15]
    assert all(str(row["loss"]).encode() in kept for row in rows), "the figures themselves, as JSON texts"


def test_weights_and_biases_without_an_account(
    omp: Omp, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    done = omp("pretrain", toy, "--steps", 2, *TINY, "--set", "train.tracker=wandb", "--out", tmp_path / "run")
    words = ("error: tracker=wandb: nobody is logged in", "WANDB_MODE=offline")
    assert (done.code, *(word in done.err for word in words)) == (2, True, True)


def test_trackio(omp: Omp, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "kept")
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", tmp_path / "kept")
    trained(omp, toy, tmp_path / "run", "trackio")
    (database,) = (tmp_path / "kept").glob("*.db")
    rows = sqlite3.connect(database).execute("select run_name, step, metrics from metrics order by step").fetchall()
    assert [step for _, step, _ in rows] == [5, 10, 15]
    assert {name for name, _, _ in rows} == {f"run-{run_id(tmp_path / 'run')}"}
    assert all("loss" in metrics if isinstance(metrics, str) else metrics for _, _, metrics in rows)


@pytest.mark.parametrize("kind", ["wandb", "trackio", "tensorboard"])
def test_a_tracker_that_is_not_installed_says_how_to_get_it(
    omp: Omp, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for name in ("wandb", "trackio", "torch.utils.tensorboard"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    done = omp("pretrain", toy, "--steps", 2, *TINY, "--set", f"train.tracker={kind}", "--out", tmp_path / "run")
    assert (done.code, f"pip install 'omp-cli[{kind}]'" in done.err) == (4, True)


def test_a_run_keeps_its_name(tmp_path: Path) -> None:
    assert run_id(tmp_path) == run_id(tmp_path)
    assert [t for t in make_trackers("jsonl", tmp_path / "x", 0) if isinstance(t, Trackio)] == []
    (tmp_path / ID).write_text("[]")
    with pytest.raises(RunFailed, match="holds no id"):
        run_id(tmp_path)
