"""Held-out episodes touch neither weights nor normalisation, and the loss on them picks the best checkpoint."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.run import BEST, CHECKPOINTS
from omp_cli.core.checkpoint import EMA, MODEL, TRAINING, checkpoints_in, load_tensors, open_checkpoint
from omp_cli.core.data.split import episodes_of, others
from omp_cli.core.data.store import read_store
from omp_cli.core.data.windows import make_windows
from omp_cli.core.policy import LossModule
from omp_cli.core.train import validation
from omp_cli.core.train.distributed import World
from omp_cli.core.train.validation import LOSS
from tests.conftest import TINY, Omp
from tests.train.test_loop import cut_short, rows_of, same, trainer, weights

HELD = {"train__hold_out": 0.25, "train__validate_every": 2}


def test_a_run_without_the_option_is_what_it_was(toy: Path, tmp_path: Path) -> None:
    trainer(toy, tmp_path / "a").run()
    meta = json.loads((checkpoints_in(tmp_path / "a" / CHECKPOINTS)[-1] / "policy.json").read_text())
    assert "held_out" not in meta
    assert LOSS not in rows_of(trainer(toy, tmp_path / "a"), run=False)[-1]


def test_held_out_episodes_decide_nothing(toy: Path, tmp_path: Path) -> None:
    """Whatever they hold, weights and limits are the same."""
    data = read_store(toy)
    made = trainer(toy, tmp_path / "a", **HELD)
    assert len(made.held_out) == 2
    made.run()
    frames = np.concatenate([[0], data.episode_ends])
    for index in made.held_out:
        data.arrays["action"][frames[index] : frames[index + 1]] *= 100
    other = trainer(toy, tmp_path / "b", **HELD)
    other = type(other)(other.config, data, tmp_path / "b", torch.device("cpu"), other.world, other.progress)
    other.run()
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert len(made.batches) == sum(np.diff(frames)[list(others(data, made.held_out))])
    losses = [[row[LOSS] for row in rows_of(t, run=False)] for t in (made, other)]
    assert losses[0] != losses[1]
    assert open_checkpoint(checkpoints_in(tmp_path / "a" / CHECKPOINTS)[-1]).meta.held_out == made.held_out


def test_a_process_that_does_not_write_waits_for_no_checkpoint(toy: Path, tmp_path: Path) -> None:
    """The first process may still be writing what would be opened."""

    class Alone(World):
        is_main = False

    made = trainer(toy, tmp_path, **HELD)
    peer = type(made)(made.config, read_store(toy), tmp_path, torch.device("cpu"), Alone(), made.progress)
    peer.run()
    assert peer.journal.last is not None
    assert not peer.journal.last.exists()


@pytest.mark.parametrize("derivative", ["jvp", "forward", "dde"])
def test_the_loss_is_that_of_the_averaged_weights_on_all_held_out_windows(
    toy: Path, tmp_path: Path, derivative: str
) -> None:
    made = trainer(toy, tmp_path, **HELD, method__derivative=derivative, method__dispersion__weight=0.0)
    made.run()
    data = episodes_of(read_store(toy), made.held_out)
    windows = make_windows(data.episode_ends, made.config.chunk)
    policy = open_checkpoint(checkpoints_in(tmp_path / CHECKPOINTS)[-1]).load("ema")
    obs = {key: torch.from_numpy(data.arrays[key][windows.obs]) for key in policy.keys}
    actions = torch.from_numpy(data.arrays["action"][windows.action])
    with torch.no_grad():
        whole = LossModule(policy)(obs, actions, made.validation._draws).total
    assert rows_of(made, run=False)[-1][LOSS] == pytest.approx(float(whole), rel=1e-4)


def test_validation_changes_no_weight(toy: Path, tmp_path: Path) -> None:
    trainer(toy, tmp_path / "a", train__hold_out=0.25).run()
    trainer(toy, tmp_path / "b", **HELD).run()
    for name in (MODEL, EMA, TRAINING):
        assert same(weights(tmp_path / "a", name), weights(tmp_path / "b", name))


def test_the_best_is_kept_also_by_a_resumed_run(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses are given, so that which step is best is known: 6, the earlier of two equal ones."""
    given = {2: 3.0, 4: 2.0, 6: 1.0, 8: float("nan"), 10: 1.0, 12: 1.5}

    def measure(self: validation.Validation, step: int) -> dict[str, float]:
        self.last = given[step]
        if np.isfinite(self.last):
            self._rows.append((self.last, step))
        return {LOSS: self.last}

    monkeypatch.setattr(validation.Validation, "measure", measure)
    whole = trainer(toy, tmp_path / "whole", **HELD).run()
    cut_short(trainer(toy, tmp_path / "cut", **HELD), 7)
    again = trainer(toy, tmp_path / "cut", **HELD)
    assert again.resume() == 6
    result = again.run()
    for folder, found in ((tmp_path / "whole", whole), (tmp_path / "cut", result)):
        assert [path.name for path in checkpoints_in(folder / BEST)] == ["step-00000006"]
        assert found.best == folder / BEST / "step-00000006"
        assert (found.figures["best_step"], found.figures["best_validation_loss"]) == (6, 1.0)
        assert found.figures[LOSS] == 1.5
    best, last = (load_tensors(p / EMA) for p in (result.best, result.checkpoint) if p is not None)
    assert not same(best, last)


def test_validation_needs_episodes(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no episode is held out"):
        trainer(toy, tmp_path, train__validate_every=2)


def test_the_line_says_what_was_held_out_and_which_is_best(omp: Omp, toy: Path, tmp_path: Path) -> None:
    line = ("pretrain", toy, "--steps", 10, *TINY, "--hold-out", 0.3, "--set", "train.validate_every=5")
    run = tmp_path / "a run"
    ran = omp(*line, "--out", run)
    assert ran.code == 0, ran.err
    assert "held out of training: 2 of 8 episodes" in ran.err
    assert f"best on held-out episodes: step 10, omp eval '{run / BEST}'" in ran.out, "a shell takes it"
    manifest = json.loads((run / "manifest.json").read_text())
    figures = manifest["metrics"]
    assert (len(figures["held_out"]), figures["episodes"]) == (2, 6)
    assert figures["best_validation_loss"] <= figures["validation_loss"]
    assert f"{BEST}/step-00000010" in [a["path"] for a in manifest["artifacts"]]
    ran = omp("eval", run / BEST, "--episodes", 1, "--max-steps", 3, "--workers", 1, "--json")
    assert ran.json["result"]["selection"] == "best"
    dry = omp(*line, "--dry-run", "--json").json
    assert dry["frames"] == figures["windows"]
