"""``omp pretrain --teacher``: from a run to a one-step policy that eval takes, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from omp_cli.core.base.errors import Interrupted
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.checkpoint import open_run
from omp_cli.core.train.loop import Trainer
from tests.conftest import TINY, Omp


@pytest.mark.parametrize(("method", "nfe"), [("consistency", 3), ("onedp", 1)])
def test_distils_a_diffusion_policy(omp: Omp, toy: Path, tmp_path: Path, method: str, nfe: int) -> None:
    teacher, run = tmp_path / "teacher", tmp_path / "run"
    small = ("--steps", 10, *TINY)
    assert omp("pretrain", toy, "--method", "dp", "--set", "method.train_steps=8", *small, "--out", teacher).code == 0
    line = ("pretrain", toy, "--method", method, "--teacher", teacher, *small, "--out", run)
    planned = omp(*line, "--dry-run", "--json")
    assert planned.json["config"]["teacher"] == {"value": str(teacher), "source": "flag"}
    assert not run.exists()
    trained = omp(*line)
    assert trained.code == 0, trained.err
    assert "starts from the teacher's weights" in trained.err
    checkpoint = open_run(teacher)[-1]
    read = {i.kind: i for i in read_manifest(run).inputs}
    assert read["teacher"].path == str(checkpoint.path)
    assert read["teacher"].sha256 == checkpoint.sha256()
    done = omp("eval", run, "--episodes", 2, "--workers", 1, "--nfe", nfe, "--out", tmp_path / "eval", "--json")
    assert done.code == 0, done.err
    assert done.json["result"]["nfe"] == nfe
    assert omp("manifest", run, "--files").code == 0


def test_a_resumed_run_wants_the_teacher_it_began_with(
    omp: Omp, toy: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, update = tmp_path / "begun", Trainer._update

    def interrupted(self: Trainer, log: bool) -> dict[str, float]:
        if self.step == 12:
            raise Interrupted("stopped")
        return update(self, log)

    monkeypatch.setattr(Trainer, "_update", interrupted)
    assert omp("pretrain", toy, "--method", "onedp", "--teacher", run, "--steps", 15, *TINY, "--out", begun).code == 130
    monkeypatch.undo()

    newest = open_run(run)[-1].path
    kept = (newest / "ema.safetensors").read_bytes()
    shutil.copy(newest / "model.safetensors", newest / "ema.safetensors")
    refused = omp("pretrain", "--resume", begun)
    assert refused.code == 3
    assert f"teacher {newest}: has another content than the one the run began with" in refused.err
    (newest / "ema.safetensors").write_bytes(kept)
    resumed = omp("pretrain", "--resume", begun, "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["result"]["resumed_at_step"] == 10
    assert [i.kind for i in read_manifest(begun).inputs] == ["dataset", "teacher"]


def test_what_is_refused(omp: Omp, toy: Path, run: Path, tmp_path: Path) -> None:
    for line, said in (
        (("--method", "consistency"), "method consistency learns from a trained policy"),
        (("--method", "reflow", "--teacher", run), "method reflow learns from no teacher"),
        (
            ("--method", "onedp", "--teacher", run, "--set", "chunk.horizon=8"),
            "its horizon is 4, the student's is 8",
        ),
        (("--resume", run, "--teacher", run), "continues a run as it was configured"),
    ):
        refused = omp("pretrain", *(() if "--resume" in line else (toy,)), *line, "--out", tmp_path / "out")
        assert refused.code == 2, refused.err
        assert said in refused.err
    assert "--teacher RUN_OR_CHECKPOINT" in omp("pretrain", toy, "--method", "onedp").err
    missing = omp("pretrain", toy, "--method", "onedp", "--teacher", tmp_path / "nothing")
    assert missing.code == 3
    assert not (tmp_path / "out").exists()
