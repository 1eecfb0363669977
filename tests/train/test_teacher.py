"""Training with a teacher: it stays as it is, fits or is refused, and the run is resumed to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from omp_cli.core.base import config as c
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.layers import Layer, merge
from omp_cli.core.base.presets import preset_layer
from omp_cli.core.base.progress import Silent
from omp_cli.core.checkpoint import EMA, MODEL, TRAINING, open_run
from omp_cli.core.data.store import read_store
from omp_cli.core.policy import LossModule, Policy
from omp_cli.core.train.build import build_policy
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.distributed import World
from omp_cli.core.train.loop import Trainer
from omp_cli.core.train.teacher import load_teacher
from tests.train.test_loop import SMALL, cut_short, same, weights

CPU = torch.device("cpu")


def settings(method: str, **changed: Any) -> PretrainConfig:
    values = SMALL | {key.replace("__", "."): value for key, value in changed.items()}
    layers = [preset_layer("pretrain", "light"), Layer("test", values), Layer("flag", {"method.name": method})]
    return c.validated(PretrainConfig, merge(layers)[0])


def taught(workshop: Path, method: str, **changed: Any) -> Policy:
    """The workshop's run as a teacher of a student with these settings."""
    data = read_store(workshop / "toy")
    return load_teacher(open_run(workshop / "run")[-1], settings(method, **changed), data.spec, CPU)


def student(workshop: Path, folder: Path, method: str, teacher: Policy | None = None, **changed: Any) -> Trainer:
    config, data = settings(method, **changed), read_store(workshop / "toy")
    teacher = teacher or taught(workshop, method, **changed)
    return Trainer(config, data, folder, CPU, World(), Silent(), teacher)


def test_a_teacher_and_its_student_count_their_actions_from_the_same(workshop: Path) -> None:
    with pytest.raises(UsageError, match=r"relative to the state \(chunk\.relative\) is nothing, the student's 0=0"):
        taught(workshop, "onedp", chunk__relative=["0=0"])
    assert taught(workshop, "onedp", chunk__relative_state=["0-2"]).spec.relative_state == ()


@pytest.mark.parametrize("method", ["consistency", "onedp"])
def test_resume_continues_to_the_same_bits(workshop: Path, tmp_path: Path, method: str) -> None:
    """The score network too, which lies with the optimiser's state and not with the policy."""
    student(workshop, tmp_path / "whole", method).run()
    cut_short(student(workshop, tmp_path / "cut", method), 10)
    again = student(workshop, tmp_path / "cut", method)
    assert again.resume() == 8
    again.run()
    for name in (MODEL, EMA, TRAINING):
        assert same(weights(tmp_path / "whole", name), weights(tmp_path / "cut", name)), name
    assert weights(tmp_path / "cut").keys() == again.policy.state_dict().keys()
    beside = {name for name in weights(tmp_path / "cut", TRAINING) if "/" not in name}
    assert beside == ({f"score.{name}" for name in again.policy.net.state_dict()} if method == "onedp" else set())


def test_the_teacher_stays_and_its_copy_does_not(workshop: Path, tmp_path: Path) -> None:
    trainer = student(workshop, tmp_path, "onedp", method__generator_rate=0.5)
    assert trainer.teacher is not None
    before = {name: value.clone() for name, value in trainer.teacher.state_dict().items()}
    assert trainer.module.score is not None
    copied = {name: value.clone() for name, value in trainer.module.score.state_dict().items()}
    assert same(copied, trainer.teacher.net.state_dict())
    trainer.run()
    assert same(before, trainer.teacher.state_dict())
    assert not same(copied, trainer.module.score.state_dict())
    policy, score = trainer.optimizer.param_groups
    assert policy["lr"] == pytest.approx(0.5 * score["lr"])
    assert not any(name.startswith("_teacher") for name, _ in trainer.module.named_parameters())


def test_the_student_starts_from_the_teacher(workshop: Path, tmp_path: Path) -> None:
    teacher = taught(workshop, "consistency")
    warm = student(workshop, tmp_path / "warm", "consistency", teacher)
    assert same(warm.policy.state_dict(), teacher.state_dict())
    assert same(warm.ema.module.state_dict(), teacher.state_dict())
    cold = student(workshop, tmp_path / "cold", "consistency", teacher, method__warm_start=False)
    other = student(workshop, tmp_path / "other", "consistency", teacher, net__hidden=16)
    for trainer in (cold, other):
        fresh = build_policy(trainer.config, trainer.dataset).state_dict()
        assert same(trainer.policy.state_dict(), fresh)
    assert [trainer.run().figures["warm_start"] for trainer in (warm, cold, other)] == [True, False, False]


def test_limits_of_actions_are_the_teacher_s_even_without_its_weights(workshop: Path, tmp_path: Path) -> None:
    teacher = taught(workshop, "onedp")
    teacher.action_limits.scale *= 2
    trainer = student(workshop, tmp_path, "onedp", teacher, method__warm_start=False)
    assert same(trainer.policy.action_limits.state_dict(), teacher.action_limits.state_dict())


@pytest.mark.parametrize("method", ["consistency", "onedp"])
def test_a_teacher_may_see_other_observations_and_a_batch_may_be_shared(
    workshop: Path, tmp_path: Path, method: str
) -> None:
    """A student of the state alone, a teacher of clouds, two draws for each observation."""
    state = Layer("state", {"encoder.name": "state", "net.hidden": 16, "train.steps": 2, "train.draws": 2})
    layers = [preset_layer("pretrain", "light"), state, Layer("flag", {"method.name": method})]
    config = c.validated(PretrainConfig, merge(layers)[0])
    teacher = taught(workshop, method)
    trainer = Trainer(config, read_store(workshop / "toy"), tmp_path, CPU, World(), Silent(), teacher)
    obs, actions, draws = trainer.batches(0)
    assert obs.keys() == {"state", "point_cloud"}
    assert len(draws.t) == 2 * len(actions)
    assert trainer.run().figures["loss"] > 0


def test_a_teacher_that_does_not_fit_is_refused(workshop: Path, tmp_path: Path) -> None:
    data, run = read_store(workshop / "toy"), open_run(workshop / "run")[-1]
    with pytest.raises(UsageError, match=r"its horizon is 4, the student's is 8"):
        load_teacher(run, settings("consistency", chunk__horizon=8), data.spec, CPU)
    for change in ({"action_dim": 3}, {"task": "detour"}):
        (name,) = change
        with pytest.raises(UsageError, match=f"its {name} is"):
            load_teacher(run, settings("consistency"), data.spec.model_copy(update=change), CPU)
    student(workshop, tmp_path / "onedp", "onedp").run()
    with pytest.raises(UsageError, match="onedp cannot be distilled"):
        load_teacher(open_run(tmp_path / "onedp")[-1], settings("consistency"), data.spec, CPU)


def test_teacher_and_method_go_together(workshop: Path) -> None:
    data = read_store(workshop / "toy")
    with pytest.raises(UsageError, match="method onedp learns from a trained policy"):
        LossModule(build_policy(settings("onedp"), data))
    with pytest.raises(UsageError, match="method reflow learns from no teacher"):
        LossModule(build_policy(settings("reflow"), data), teacher=taught(workshop, "onedp"))
