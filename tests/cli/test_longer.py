"""``--resume RUN`` with another end: a training goes on past it by the random numbers of a longer one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from omp_cli.core.base.errors import DataError
from omp_cli.core.base.files import read_jsonl
from omp_cli.core.base.manifest import read_manifest, write_manifest
from omp_cli.core.checkpoint import MODEL, TRAINING, open_run
from omp_cli.core.rl.held_out import EVALUATIONS
from omp_cli.core.train.journal import LearningResult
from omp_cli.core.train.loop import Trainer
from tests.cli.test_finetune import QUICK
from tests.conftest import TINY, Omp

CONSTANT = ["--set", "train.schedule=constant", "--set", "train.warmup_steps=3"]


def tensors(run: Path) -> dict[str, torch.Tensor]:
    newest = open_run(run)[-1]
    assert newest.meta.step == 20
    return {**newest.tensors(MODEL), **newest.tensors(TRAINING)}


def test_a_longer_run_is_the_one_that_was_long_from_the_beginning(omp: Omp, toy: Path, tmp_path: Path) -> None:
    short, long = tmp_path / "short", tmp_path / "long"
    assert omp("pretrain", toy, "--steps", 10, *TINY, *CONSTANT, "--out", short).code == 0
    assert omp("pretrain", toy, "--steps", 20, *TINY, *CONSTANT, "--out", long).code == 0
    again = omp("pretrain", "--resume", short, "--steps", 20, "--json")
    assert again.code == 0, again.err
    assert (again.json["result"]["resumed_at_step"], again.json["result"]["steps"]) == (10, 20)
    one, two = tensors(short), tensors(long)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    manifest = read_manifest(short)
    assert (manifest.status, manifest.config["train.steps"].value) == ("succeeded", 20)


def test_the_cosine_ends_later_and_that_is_said(omp: Omp, run: Path, workshop: Path) -> None:
    again = omp("pretrain", workshop / "toy", "--resume", run / "manifest.json", "--set", "train.steps=40", "--json")
    assert again.code == 0, again.err
    assert "the schedule of a run of 40 steps" in again.err
    assert again.json["result"]["steps"] == 40
    train = read_manifest(run).config
    assert (train["train.steps"].value, train["train.epochs"].value) == (40, None)


def test_what_is_not_longer_is_refused_and_loses_nothing(omp: Omp, run: Path) -> None:
    before = (run / "manifest.json").read_bytes()
    for steps in (10, 30):
        refused = omp("pretrain", "--resume", run, "--steps", steps)
        assert (refused.code, "30 steps already" in refused.err) == (2, True)
    assert omp("pretrain", "--resume", run, "--steps", 50, "--lr", 1e-3).code == 2
    assert omp("pretrain", "--resume", run, "--steps", 50, "--set", "net.hidden=8").code == 2
    assert (run / "manifest.json").read_bytes() == before


def test_a_resume_that_fails_at_once_loses_nothing(
    omp: Omp, toy: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a network whose code was edited since: nothing was trained, and what was is neither hidden nor pruned."""

    def unfit(*_: object) -> int:
        raise DataError("checkpoint: does not fit the policy")

    before = (run / "manifest.json").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "resume", unfit)
        assert omp("pretrain", toy, "--resume", run, "--steps", 50).code == 3
    assert (run / "manifest.json").read_bytes() == before
    with monkeypatch.context() as patched:
        patched.setattr(LearningResult, "record", unfit)  # after its steps
        assert omp("pretrain", toy, "--resume", run, "--steps", 50).code == 3
    assert read_manifest(run).status == "failed"
    assert open_run(run)[-1].meta.step == 50
    kept = omp("runs", run.parent, "--prune", "--yes")
    assert "it had finished before it was resumed" in " ".join(kept.out.split())
    assert open_run(run)[-1].meta.step == 50


def test_a_fine_tuning_goes_on_to_another_end(omp: Omp, run: Path, tmp_path: Path) -> None:
    tuned = tmp_path / "tuned"
    assert omp("finetune", run, *QUICK, "--out", tuned).code == 0
    for end, words in (
        (("--iterations", 2), "2 iterations already"),
        (("--minutes", 9), "2 iterations already"),
        (("--iterations", 4, "--set", "minutes=0.0001"), "minutes already"),
        (("--iterations", 4, "--lr", 1e-3), "but for --iterations and --minutes"),
    ):
        refused = omp("finetune", "--resume", tuned, *end)
        assert (refused.code, words in refused.err) == (2, True), refused.err
    assert read_manifest(tuned).metrics["iterations"] == 2, "nothing was lost"
    again = omp("finetune", "--resume", tuned, "--iterations", 4, "--minutes", 60, "--workers", 1, "--json")
    assert again.code == 0, again.err
    figures = again.json["result"]
    assert (figures["resumed_at_iteration"], figures["iterations"]) == (2, 4)
    assert figures["env_steps"] == 4 * 4 * 3 * 3, "iterations, environments, decisions, steps each"
    assert [row["step"] for row in read_jsonl(tuned / EVALUATIONS)] == [0, 1, 2, 3, 4]
    manifest = read_manifest(tuned)
    assert manifest.status == "succeeded"
    write_manifest(tuned, manifest.model_copy(update={"status": "interrupted", "metrics": {}, "artifacts": []}))
    assert omp("finetune", "--resume", tuned, "--iterations", 3).code == 2
    ended = omp("finetune", "--resume", tuned, "--iterations", 4, "--json")
    assert ended.code == 0, "what was stopped may end where it is"
    assert [ended.json["result"][key] for key in ("iterations", "env_steps")] == [4, figures["env_steps"]]
    assert {key: manifest.config[key].value for key in ("iterations", "minutes")} == {"iterations": 4, "minutes": 60.0}
