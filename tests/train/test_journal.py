"""What a run keeps of itself: checkpoints, the best of them, figures, and where it goes on."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from omp_cli.core.base.config import validated
from omp_cli.core.base.errors import Interrupted
from omp_cli.core.base.run import CHECKPOINTS
from omp_cli.core.checkpoint import MODEL, TRAINING, CheckpointMeta, checkpoints_in, open_checkpoint
from omp_cli.core.deploy.graph import fresh_policy
from omp_cli.core.policy_config import PolicyConfig
from omp_cli.core.spec import Spec
from omp_cli.core.train.config import TrainConfig
from omp_cli.core.train.journal import Journal
from omp_cli.core.train.optim import make_ema
from omp_cli.core.train.saving import save_checkpoint

SPEC = Spec(suite="toy", task="push", action_dim=2, state_dim=4, max_steps=10, control_hz=10.0)
CONFIG = validated(
    PolicyConfig,
    {"method": {"name": "omp"}, "net": {"name": "film-mlp", "hidden": 8}, "encoder": {"name": "state"}},
)


def journal(folder: Path, seed: int = 0, keep: int = 2, writes: bool = True) -> Journal:
    policy = fresh_policy(CONFIG, SPEC, seed)
    return Journal(folder, policy, make_ema(policy, TrainConfig()), keep, "jsonl", writes)


def meta(step: int) -> CheckpointMeta:
    values: dict[str, Any] = {"policy": CONFIG.model_dump(mode="json"), "spec": SPEC, "suite": {"name": "toy"}}
    return CheckpointMeta(step=step, **values, dataset_sha256="0" * 64, start_states=[])


def kept(step: int) -> dict[str, torch.Tensor]:
    return {"count": torch.tensor([step])}


def written(folder: Path, steps: int = 3) -> Journal:
    made = journal(folder)
    with made.tracking(0):
        for step in range(1, steps + 1):
            made.log(step, {"loss": 1.0 / step})
            made.save(meta(step), kept(step))
        made.log(steps + 1, {"loss": 9.0})
    return made


def test_what_was_written_is_gone_on_from(tmp_path: Path) -> None:
    first, found = written(tmp_path), {}
    again = journal(tmp_path, seed=1)
    newest = again.resume(found.update)
    assert newest is not None
    assert (newest.meta.step, again.resumed_at, again.last, again.row) == (3, 3, first.last, {"loss": 1 / 3})
    assert found["count"].item() == 3
    pairs = zip(first._policy.state_dict().values(), again._policy.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert again._ema.n_averaged == 3
    with again.tracking(3):
        again.log(4, {"loss": 0.25})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": n, "loss": 1 / n} for n in (1, 2, 3, 4)], "what is done again is logged once"


def test_a_run_without_a_checkpoint_begins_at_the_beginning(tmp_path: Path) -> None:
    empty = journal(tmp_path)
    assert empty.resume(lambda tensors: pytest.fail("nothing is there")) is None
    assert (empty.resumed_at, empty.last, empty.row, empty.best) == (0, None, {}, None)
    assert "no checkpoint had been written yet" in empty.diverged("diverged", "lower it").message


def test_checkpoints_are_thinned_and_only_the_newest_can_be_gone_on_from(tmp_path: Path) -> None:
    made = written(tmp_path, 6)
    paths = checkpoints_in(tmp_path / CHECKPOINTS)
    assert len(paths) == 2
    assert paths[-1] == made.last
    assert [(path / TRAINING).exists() for path in paths] == [False, True]
    before = (paths[-1] / TRAINING).stat().st_mtime_ns
    made.save(meta(6), kept(0))
    assert (paths[-1] / TRAINING).stat().st_mtime_ns == before, "it is there"
    assert str(made.last) in made.diverged("diverged", "").message
    assert str(tmp_path) in made.stopped(Interrupted, "step 6 of 9").hint


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, may_write = journal(tmp_path), threading.Event()

    def waits(*args: Any) -> Path:
        assert may_write.wait(60)
        return save_checkpoint(*args)

    monkeypatch.setattr("omp_cli.core.train.journal.save_checkpoint", waits)
    weight, training = next(made._policy.parameters()), kept(1)
    before = weight.detach().clone()
    made.save(meta(1), training)  # which returns, though nothing can be written yet
    with torch.no_grad():
        weight += 1
        training["count"] += 1
    assert not (tmp_path / CHECKPOINTS).exists()
    may_write.set()
    assert made.last is not None
    saved = open_checkpoint(made.last)
    assert torch.equal(saved.tensors(MODEL)[next(iter(dict(made._policy.named_parameters())))], before)
    assert saved.tensors(TRAINING)["count"].item() == 1


def test_a_checkpoint_that_cannot_be_written_ends_the_run_at_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    made = written(tmp_path, 1)
    monkeypatch.setattr("omp_cli.core.train.journal.save_checkpoint", full)
    made.save(meta(2), kept(2))
    with pytest.raises(OSError, match="No space left"):
        made.save(meta(3), kept(3))
    assert made.last == tmp_path / CHECKPOINTS / "step-00000001", "that one is good"


def test_the_line_that_goes_on_is_one_for_a_shell(tmp_path: Path) -> None:
    stopped = written(tmp_path / "a run", 1).stopped(Interrupted, "step 1 of 3")
    assert stopped.hint == f"continue with --resume '{tmp_path / 'a run'}'"


def test_the_best_takes_the_place_of_the_last_best(tmp_path: Path) -> None:
    made = written(tmp_path)
    for path in checkpoints_in(tmp_path / CHECKPOINTS):
        made.keep_best(open_checkpoint(path))
        assert made.best is not None
        assert (made.best.name, (made.best / TRAINING).exists()) == (path.name, False)
    assert len(checkpoints_in(tmp_path / "best")) == 1


def test_one_of_several_processes_writes(tmp_path: Path) -> None:
    other = journal(tmp_path, writes=False)
    with other.tracking(0):
        other.log(1, {"loss": 1.0})
        other.save(meta(1), kept(1))
    assert list(tmp_path.iterdir()) == []
    assert other.last == tmp_path / CHECKPOINTS / "step-00000001"


@pytest.mark.parametrize("place", ["policy", "average", "training"])
def test_what_is_not_finite_shows_in_the_largest(tmp_path: Path, place: str) -> None:
    made, training = journal(tmp_path), {"moment": torch.ones(2), "none": torch.ones(0), "step": torch.tensor(7)}
    assert made.largest(training).isfinite()
    where = {"policy": made._policy, "average": made._ema.module}
    tensor = training["moment"] if place == "training" else next(where[place].parameters()).data
    tensor.view(-1)[0] = float("nan")
    assert not made.largest(training).isfinite()
