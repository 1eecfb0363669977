"""The loop: deterministic, resumable to the bit, honest about terms that do nothing, and it stops on NaN."""

import copy
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from omp_cli.core.base import config as c
from omp_cli.core.base.config import AtLeast0
from omp_cli.core.base.errors import DataError, Diverged, RunFailed, UsageError
from omp_cli.core.base.layers import Layer, merge
from omp_cli.core.base.presets import preset_layer
from omp_cli.core.base.progress import Silent
from omp_cli.core.base.run import CHECKPOINTS
from omp_cli.core.checkpoint import EMA, MODEL, TRAINING, checkpoints_in, load_tensors, open_checkpoint
from omp_cli.core.data.store import read_store
from omp_cli.core.methods import METHODS, Draws, VelocityField
from omp_cli.core.methods.base import Measured
from omp_cli.core.methods.meanflow import MeanFlow, MeanFlowConfig
from omp_cli.core.nets.short_conv import SeenTaps
from omp_cli.core.policy import LossModule
from omp_cli.core.spec import Quaternion, Rotation
from omp_cli.core.train import loop
from omp_cli.core.train.batches import batch_indices
from omp_cli.core.train.build import build_policy
from omp_cli.core.train.config import PretrainConfig, TrainConfig
from omp_cli.core.train.distributed import World
from omp_cli.core.train.loop import Trainer
from omp_cli.core.train.optim import make_ema, restore_training, training_tensors
from omp_cli.core.train.saving import thin

SMALL = {"encoder.channels": [8, 16], "encoder.points": 32, "net.hidden": 32}
SMALL |= {"train.steps": 12, "train.log_every": 4, "train.checkpoint_every": 4, "train.batch_size": 16}


def settings(**changed: Any) -> PretrainConfig:
    values = SMALL | {key.replace("__", "."): value for key, value in changed.items()}
    if "net.name" in values:
        del values["net.hidden"]
    merged, _ = merge([preset_layer("pretrain", "light"), Layer("test", values)])
    return c.validated(PretrainConfig, merged)


def trainer(toy: Path, folder: Path, **changed: Any) -> Trainer:
    return Trainer(settings(**changed), read_store(toy), folder, torch.device("cpu"), World(), Silent())


def weights(folder: Path, name: str = MODEL) -> dict[str, torch.Tensor]:
    return load_tensors(checkpoints_in(folder / CHECKPOINTS)[-1] / name)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def cut_short(trainer: Trainer, steps: int) -> None:
    """Run so many steps and end as SIGKILL would: nothing is saved."""

    class Killed(BaseException):
        """Nothing may handle it."""

    class Bomb(Silent):
        count = 0

        def advance(self, units: int = 1, **figures: float | str) -> None:
            Bomb.count += 1
            if Bomb.count == steps:
                raise Killed

    trainer.progress = Bomb()
    with pytest.raises(Killed):
        trainer.run()


def test_train_twice_is_the_same_and_another_seed_is_not(toy: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        trainer(toy, tmp_path / name, seed=seed).run()
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


class HalfConfig(MeanFlowConfig):
    """``width`` 0 is to be measured."""

    name: str = "half"
    width: AtLeast0 = 0.0


class Half(MeanFlow):
    """A method of somebody else's with all that the loop asks a method for."""

    Config = HalfConfig
    policy_rate = 0.5

    def __init__(self, config: HalfConfig) -> None:
        super().__init__(config)
        self.to_measure = () if config.width else ("width",)

    def measure(self, u: VelocityField, z_0: Tensor, draws: Draws) -> Measured:
        return Measured({"width": float(z_0.abs().mean())}, "width was measured")

    def check_compilable(self) -> None:
        raise UsageError("half is not to be compiled")


def test_the_loop_asks_the_method(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._members, "half", Half)
    whole = trainer(toy, tmp_path / "whole", method__name="half")
    rates = [row["lr"] for row in rows_of(whole)]
    plain = trainer(toy, tmp_path / "plain", method__name="meanflow")
    assert rates == pytest.approx([0.5 * row["lr"] for row in rows_of(plain)])
    cut_short(trainer(toy, tmp_path / "cut", method__name="half"), 10)
    again = trainer(toy, tmp_path / "cut", method__name="half")
    assert again.resume() == 8
    assert rows_of(again)[-1]["width"] == rows_of(whole, run=False)[-1]["width"] > 0
    assert same(weights(tmp_path / "whole", TRAINING), weights(tmp_path / "cut", TRAINING))
    kept = open_checkpoint(checkpoints_in(tmp_path / "cut" / CHECKPOINTS)[-1]).meta.policy["method"]
    assert kept["width"] == again.config.method.width == again.policy.method.config.width > 0  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="half is not to be compiled"):
        trainer(toy, tmp_path / "compiled", method__name="half", train__compile=True)


def rows_of(made: Trainer, run: bool = True) -> list[dict[str, Any]]:
    """What a trainer logged."""
    if run:
        made.run()
    return [json.loads(line) for line in (made.folder / "metrics.jsonl").read_text().splitlines()]


UNET = {"net__name": "unet1d", "net__dims": [8, 16]}  # whose weights, gradients and moments lie in another order


@pytest.mark.parametrize(("stop", "net"), [(4, {}), (8, {}), (4, UNET)])
def test_resume_continues_to_the_same_bits(toy: Path, tmp_path: Path, stop: int, net: dict[str, Any]) -> None:
    whole = trainer(toy, tmp_path / "whole", **net)
    whole.run()
    cut_short(trainer(toy, tmp_path / "cut", **net), stop + 2)  # two steps after a checkpoint: their work is repeated
    again = trainer(toy, tmp_path / "cut", **net)
    assert again.resume() == stop
    again.run()
    for name in (MODEL, EMA, TRAINING):
        assert same(weights(tmp_path / "whole", name), weights(tmp_path / "cut", name)), name
    rows = rows_of(whole, run=False), rows_of(again, run=False)
    for row in (*rows[0], *rows[1]):
        del row["samples_per_second"]
    assert rows[0] == rows[1]


def test_taps_that_see_nothing_have_no_moments_and_one_copy(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Silent, "note", lambda _, line: said.append(line))
    made = trainer(toy, tmp_path / "a", **UNET)
    assert [line for line in said if "million parameters of the network are not trained: taps of" in line]
    drawn = {n: p.clone() for n, p in made.policy.named_parameters() if not p.requires_grad}
    made.run()
    assert drawn
    assert all(name.endswith(".unseen") for name in drawn)
    averages = dict(made.ema.module.named_parameters())
    for name, parameter in made.policy.named_parameters():
        assert (parameter in made.optimizer.state) == (name not in drawn)
        assert (averages[name] is parameter) == (name in drawn)
    assert all(torch.equal(dict(made.policy.named_parameters())[n], value) for n, value in drawn.items())
    assert not [name for name in (*weights(tmp_path / "a"), *weights(tmp_path / "a", EMA)) if "unseen" in name]


def test_moments_of_whole_kernels_are_taken_over(toy: Path, tmp_path: Path) -> None:
    """As omp 0.1 wrote them: of the taps that see nothing they are zero."""
    made = trainer(toy, tmp_path / "a", **UNET)
    made.run()
    kept = training_tensors(made.module, made.optimizer)
    whole = {}
    for name, owner in made.policy.named_modules():
        if isinstance(owner, SeenTaps):
            for moment in ("exp_avg", "exp_avg_sq"):
                key = f"{name}.weight/{moment}"
                state = {**owner.state_dict(), "weight": torch.zeros_like(owner.state_dict()["weight"])}
                other = copy.deepcopy(owner)
                other.load_state_dict(state)
                other.weight.data.copy_(kept[key])
                whole[key] = other.state_dict()["weight"]
    assert any(whole[key].shape != kept[key].shape for key in whole)
    again = trainer(toy, tmp_path / "b", **UNET)
    restore_training(again.module, again.optimizer, kept | whole)
    assert same(training_tensors(again.module, again.optimizer), kept)


def test_a_run_does_not_go_on_with_another_view_of_its_state(toy: Path, tmp_path: Path) -> None:
    """Data that were prepared anew have the same arrays, and may say more of them."""
    cut_short(trainer(toy, tmp_path / "a"), 6)
    again = trainer(toy, tmp_path / "a")
    told = (Quaternion(first=0, side=(1.0, 0.0, 0.0, 0.0)),)
    spec = again.dataset.spec.model_copy(update={"quaternions": told})
    again.dataset = dataclasses.replace(again.dataset, spec=spec)
    with pytest.raises(DataError, match="other numbers of the state that they are quaternions"):
        again.resume()
    turned = {"action_rotations": (Rotation(first=0, kind="angle"),)}
    again.dataset = dataclasses.replace(again.dataset, spec=spec.model_copy(update={"quaternions": (), **turned}))
    with pytest.raises(DataError, match="other numbers of the action that they are rotations"):
        again.resume()


def test_augmentation_is_resumed_to_the_same_bits(pictures: Path, tmp_path: Path) -> None:
    """Random shifts and dropout draw from torch's own generator, which no checkpoint holds."""

    def image_trainer(folder: str, shift: int = 4) -> Trainer:
        values = {"encoder.shift": shift, "encoder.dropout": 0.1, "net.hidden": 16, "train.epochs": None}
        values |= {"train.steps": 4, "train.checkpoint_every": 2, "train.batch_size": 4, "train.lr": 1e-3}
        merged, _ = merge([preset_layer("pretrain", "dmpo"), Layer("test", values)])
        config = c.validated(PretrainConfig, merged)
        return Trainer(config, read_store(pictures), tmp_path / folder, torch.device("cpu"), World(), Silent())

    image_trainer("whole").run()
    image_trainer("still", shift=0).run()
    cut_short(image_trainer("cut"), 3)
    again = image_trainer("cut")
    assert again.resume() == 2
    again.run()
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "still"))


def test_where_memory_does_not_suffice_the_size_of_pictures_is_named(
    toy: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a policy reads pictures, and nowhere else."""

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    values = {"net.hidden": 16, "train.epochs": None, "train.steps": 2, "train.batch_size": 4}
    merged, _ = merge([preset_layer("pretrain", "dmpo"), Layer("test", values)])
    config, data = c.validated(PretrainConfig, merged), read_store(pictures)
    made = Trainer(config, data, tmp_path / "p", torch.device("cpu"), World(), Silent())
    monkeypatch.setattr(Trainer, "_update", full)
    with pytest.raises(RunFailed, match="out of memory") as told:
        made.run()
    height, width, _ = data.spec.image or (0, 0, 0)
    assert f"the pictures are {height}x{width}" in told.value.hint
    assert "format.size" in told.value.hint
    assert "a smaller batch" in told.value.hint
    with pytest.raises(torch.OutOfMemoryError):
        trainer(toy, tmp_path / "t").run()
    monkeypatch.setattr(loop, "Batches", full)
    with pytest.raises(RunFailed, match="out of memory") as at_once:
        Trainer(config, data, tmp_path / "q", torch.device("cpu"), World(), Silent())
    assert "format.size" in at_once.value.hint


def test_ema_and_raw_weights_differ_and_only_the_newest_keeps_the_optimiser(toy: Path, tmp_path: Path) -> None:
    trainer(toy, tmp_path / "a").run()
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "a", EMA))
    found = checkpoints_in(tmp_path / "a" / CHECKPOINTS)
    assert [p.name for p in found] == ["step-00000004", "step-00000008", "step-00000012"]
    assert [(p / TRAINING).exists() for p in found] == [False, False, True]


def test_ema_follows_its_formula(toy: Path) -> None:
    policy = build_policy(settings(), read_store(toy))
    ema = make_ema(policy, TrainConfig(ema_power=0.75, ema_max=0.5))
    parameter, average = next(policy.parameters()), next(ema.module.parameters())
    expected = 0.0
    for n, value in enumerate([1.0, 2.0, 4.0, 8.0]):
        with torch.no_grad():
            parameter.fill_(value)
        ema.update()
        decay = min(0.5, 1 - (1 + n) ** -0.75)
        expected = value if n == 0 else decay * expected + (1 - decay) * value
        assert average.flatten()[0].item() == pytest.approx(expected, rel=1e-6)


def test_a_term_that_does_nothing_shows_as_zero_gradient(toy: Path, tmp_path: Path) -> None:
    """A hinge whose margin no pair falls below is dead; the log must say so. A living term must not read zero."""
    last = {}
    for name, form, margin in (("dead", "hinge", 1e-9), ("alive", "infonce_l2", 1.0)):
        changes = {"method__dispersion__form": form, "method__dispersion__margin": margin}
        changes["method__dispersion__weight"] = 0.5
        last[name] = rows_of(trainer(toy, tmp_path / name, **changes, method__alignment__weight=0.1))[-1]
    assert last["dead"]["grad_dispersion"] == last["dead"]["share_dispersion"] == 0
    assert last["alive"]["grad_dispersion"] > 0
    for row in last.values():
        assert row["grad_alignment"] > 0
        assert row["grad_meanflow"] > 0
        norms = {name: row[f"grad_{name}"] for name in ("meanflow", "alignment", "dispersion")}
        for name, norm in norms.items():
            assert row[f"share_{name}"] == pytest.approx(norm / sum(norms.values()))
        assert {"loss", "effective_rank", "cosine", "grad_norm", "lr"} <= row.keys()


def test_not_a_number_stops_with_the_last_good_checkpoint(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = trainer(toy, tmp_path / "a", train__log_every=1)
    honest = broken.batches

    def poisoned(step: int) -> Any:
        obs, actions, draws = honest(step)
        return obs, actions * (float("nan") if step == 9 else 1.0), draws

    monkeypatch.setattr(broken, "batches", poisoned)
    with pytest.raises(Diverged, match="diverged at step 10") as error:
        broken.run()
    assert error.value.exit_code == 5
    assert "step-00000008" in error.value.message
    assert all(torch.isfinite(t).all() for t in weights(tmp_path / "a").values())


def test_a_gradient_that_is_not_a_number_never_reaches_a_checkpoint(toy: Path, tmp_path: Path) -> None:
    """The loss of step 4 is finite, its gradient is not; nothing is logged there, but a checkpoint is due."""
    broken = trainer(toy, tmp_path / "a", train__log_every=12)

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * (float("nan") if broken.step == 3 else 1.0)

    next(broken.policy.net.parameters()).register_hook(poison)
    with pytest.raises(Diverged, match="diverged at step 4: gradient norm nan; no checkpoint"):
        broken.run()
    assert not checkpoints_in(tmp_path / "a" / CHECKPOINTS)


@pytest.mark.parametrize("part", ["weights", "average"])
def test_weights_that_are_not_finite_never_reach_a_checkpoint(toy: Path, tmp_path: Path, part: str) -> None:
    """The loss and the gradient of step 4 are finite, what the optimiser makes of them is not."""
    broken = trainer(toy, tmp_path / "a", train__log_every=12)
    honest = broken.ema.update

    def overflow() -> None:
        honest()
        if broken.step == 3:
            next((broken.policy if part == "weights" else broken.ema).parameters()).data.view(-1)[0] = float("inf")

    broken.ema.update = overflow  # type: ignore[method-assign]
    with pytest.raises(Diverged, match="diverged at step 4: largest weight or moment inf; no checkpoint") as error:
        broken.run()
    assert error.value.exit_code == 5
    assert not checkpoints_in(tmp_path / "a" / CHECKPOINTS)


def test_the_parts_of_training_add_up(toy: Path, tmp_path: Path) -> None:
    figures = trainer(toy, tmp_path / "a").run().figures
    parts = figures["seconds_by_part"]
    assert {"data", "encoder", "net", "backward", "optimiser", "moving average", "checkpoints"} <= parts.keys()
    assert parts["du/dt (net, unrecorded)"] > 0
    assert sum(parts.values()) == pytest.approx(figures["train_seconds"], rel=0.5, abs=0.1)


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    train = TrainConfig(lr=1.0, warmup_steps=4)
    rates = [train.learning_rate(step, 104) for step in range(104)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[54] == pytest.approx(0.5)
    assert rates[-1] < 1e-3
    by_share = TrainConfig(lr=1.0, lr_end=0.1, warmup_share=0.04)
    assert [by_share.learning_rate(step, 100) for step in range(4)] == rates[:4]
    assert by_share.learning_rate(52, 100) == pytest.approx(0.55)
    assert by_share.learning_rate(100, 100) == pytest.approx(0.1)
    assert by_share.learning_rate(0, 2) == 1.0, "too short a run has no warm-up"
    assert TrainConfig(epochs=3, batch_size=10).total_steps(25) == 8


def test_every_window_is_seen_once_per_epoch() -> None:
    seen = torch.cat([batch_indices(10, 4, seed=3, step=s) for s in range(5)])
    assert sorted(seen[:10].tolist()) == list(range(10))
    assert sorted(seen[10:].tolist()) == list(range(10))
    assert len(batch_indices(3, 8, 0, 0)) == 8


def test_checkpoints_are_thinned_evenly(tmp_path: Path) -> None:
    for step in range(10, 110, 10):
        (tmp_path / f"step-{step:08d}").mkdir()
        (tmp_path / f"step-{step:08d}" / "policy.json").write_text("{}")
        thin(tmp_path, 4)
    steps = [int(p.name[5:]) for p in checkpoints_in(tmp_path)]
    assert len(steps) == 4
    assert steps[-1] == 100
    assert max(np.diff([0, *steps])) <= 50


def test_draws_share_one_encoding(toy: Path, tmp_path: Path) -> None:
    """m draws per window equal m times the batch with one draw each: same numbers, one encoding."""
    one = trainer(toy, tmp_path / "a", train__draws=3, method__dispersion__weight=0.0)
    obs, actions, draws = one.batches(0)
    shared = LossModule(one.policy)(obs, actions, draws).total
    repeated = LossModule(one.policy)(
        {k: v.repeat_interleave(3, 0) for k, v in obs.items()}, actions.repeat_interleave(3, 0), draws
    ).total
    torch.testing.assert_close(shared, repeated)


def test_bf16_trains_and_compile_is_refused_with_the_reason(toy: Path, tmp_path: Path) -> None:
    result = trainer(toy, tmp_path / "a", train__precision="bf16").run()
    assert np.isfinite(result.figures["loss"])
    for derivative in ("jvp", "forward"):
        with pytest.raises(UsageError, match="forward-mode AD"):
            trainer(toy, tmp_path / "b", train__compile=True, method__derivative=derivative)


@pytest.mark.parametrize("derivative", ["jvp", "forward", "dde"])
def test_a_run_lowers_the_loss_with_every_derivative(toy: Path, tmp_path: Path, derivative: str) -> None:
    """The mean square, for with the preset's adaptive weight the loss is nearly constant whatever is learned."""
    changes = {"method__name": "meanflow", "method__derivative": derivative, "method__adaptive__p": 0.0}
    steps = {"train__steps": 24, "train__warmup_steps": 3, "train__lr": 1e-2, "train__batch_size": 64}
    rows = rows_of(trainer(toy, tmp_path, **changes, **steps))
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert rows[-1]["cosine"] > rows[0]["cosine"] + 0.1


@pytest.mark.skipif(shutil.which("gcc") is None and shutil.which("cc") is None, reason="torch.compile needs a compiler")
def test_a_compiled_net_trains_to_the_same_losses(toy: Path, tmp_path: Path) -> None:
    rows = {}
    for name, compiled in (("eager", False), ("compiled", True)):
        changes = {"net__depth": 1, "train__compile": compiled, "train__steps": 4, "train__log_every": 2}
        rows[name] = rows_of(trainer(toy, tmp_path / name, **changes))
    torch.compiler.reset()
    for eager, compiled_row in zip(rows["eager"], rows["compiled"], strict=True):
        assert eager["loss"] == pytest.approx(compiled_row["loss"], rel=1e-3)
        assert eager["grad_meanflow"] == pytest.approx(compiled_row["grad_meanflow"], rel=1e-2)


def test_the_loop_names_no_method() -> None:
    source = Path(loop.__file__).read_text(encoding="utf-8")
    settings_of_methods = {key for name in METHODS.names() for key in METHODS.get(name).Config.model_fields}
    figures = {"name", "warm_start"}  # of every run, of every distilled one
    members = {METHODS.get(name).__name__ for name in METHODS.names()}
    words = set(re.findall(r"\w+", source))
    assert not words & members
    assert not words & settings_of_methods - figures
