"""The fine-tuning loop: deterministic, resumable at any moment, and it stops on NaN with its last checkpoint whole."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from omp_cli.core.base.errors import Diverged, Interrupted, RunFailed, Terminated, UsageError
from omp_cli.core.base.layers import unflatten
from omp_cli.core.base.progress import Silent
from omp_cli.core.base.run import BEST, CHECKPOINTS
from omp_cli.core.base.seeds import HELD_OUT, demo_seed, eval_seed, rollout_seed
from omp_cli.core.checkpoint import (
    EMA,
    MODEL,
    TRAINING,
    Checkpoint,
    CheckpointMeta,
    checkpoints_in,
    load_tensors,
    open_checkpoint,
)
from omp_cli.core.policy import Policy, PolicyConfig
from omp_cli.core.rl import held_out
from omp_cli.core.rl.config import FinetuneConfig
from omp_cli.core.rl.environments import TrainingEnvs
from omp_cli.core.rl.held_out import EVALUATIONS
from omp_cli.core.rl.inputs import START, algorithm_for, check_fits, passed_over
from omp_cli.core.rl.loop import Finetuner
from omp_cli.core.rl.ppo import Ppo
from omp_cli.core.suites.base import Outcome
from omp_cli.core.suites.toy import Toy, ToyConfig, ToyEnv
from omp_cli.core.train.saving import copied_states, save_checkpoint
from omp_cli.core.train.trackers import METRICS

SMALL = {
    "algorithm.name": "dmpo",
    "algorithm.decisions": 6,
    "algorithm.batch_size": 16,
    "algorithm.epochs": 2,
    "algorithm.warmup": 1,
}
SMALL |= {"algorithm.lr": 1e-3, "algorithm.target_kl": None, "envs": 4, "iterations": 6, "max_steps": 20}
SMALL |= {"checkpoint_every": 2, "keep": 2, "evaluation.every": 2, "evaluation.episodes": 2}
CLOCK = {"train_seconds", "env_steps_per_second"}
"""Figures that no two runs share."""


class Killed(BaseException):
    """As SIGKILL: nothing may handle it."""


class Watched(Silent):
    """Calls ``each`` with the number of the iteration of this process that has just been logged; keeps the notes."""

    def __init__(self, each: Callable[[int], None] = lambda count: None) -> None:
        self.notes: list[str] = []
        self._each, self._count = each, 0

    def advance(self, units: int = 1, **figures: float | str) -> None:
        self._count += 1
        self._each(self._count)

    def note(self, text: str) -> None:
        self.notes.append(text)


def checkpoint_of(folder: Path, method: str = "meanflow", **changed: Any) -> Checkpoint:
    """A policy on the toy's state that has learned nothing; EMA and raw weights differ."""
    policies = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        parts = {"method": {"name": method}, "net": {"name": "residual-mlp", "hidden": 16}}
        chunk = {"n_obs": 1, "horizon": 4, "execute": 4}
        config = PolicyConfig.model_validate(
            {**parts, "encoder": {"name": "state", "hidden": 16, "out": 8}, "chunk": chunk}
        )
        policies.append(Policy(config, Toy(ToyConfig()).spec("reach")))
    values = {"step": 7, "policy": config.model_dump(mode="json"), "spec": policies[0].spec, "suite": {"name": "toy"}}
    meta = CheckpointMeta(**{**values, "dataset_sha256": "0" * 64, "start_states": [], **changed})
    return open_checkpoint(save_checkpoint(folder, meta, copied_states(*policies, {"step": torch.zeros(1)})))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return checkpoint_of(tmp_path_factory.mktemp("pretrained"))


def settings(**changed: Any) -> FinetuneConfig:
    values = SMALL | {key.replace("__", "."): value for key, value in changed.items()}
    return FinetuneConfig.model_validate(unflatten(values))


def finetuner(
    start: Checkpoint, folder: Path, workers: int = 1, progress: Watched | None = None, **changed: Any
) -> Finetuner:
    return Finetuner(settings(**changed), start, folder, torch.device("cpu"), workers, progress or Watched())


def weights(folder: Path, name: str = MODEL) -> dict[str, torch.Tensor]:
    return load_tensors(checkpoints_in(folder)[-1] / name)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def killed_after(iterations: int) -> Watched:
    def each(count: int) -> None:
        if count == iterations:
            raise Killed

    return Watched(each)


def cut_short(start: Checkpoint, folder: Path, iterations: int, **changed: Any) -> None:
    """Run so many iterations and end as SIGKILL would: nothing more is saved."""
    with pytest.raises(Killed):
        finetuner(start, folder, progress=killed_after(iterations), **changed).run()


def test_finetune_twice_is_the_same_with_any_number_of_workers_and_another_seed_is_not(
    start: Checkpoint, tmp_path: Path
) -> None:
    for name, workers, seed in (("a", 1, 0), ("b", 1, 0), ("two", 2, 0), ("c", 1, 1)):
        finetuner(start, tmp_path / name, workers, iterations=3, seed=seed, evaluation__every=0).run()
    figures = {
        name: [{k: v for k, v in row.items() if k not in CLOCK} for row in rows(tmp_path / name / METRICS)]
        for name in ("a", "b", "two")
    }
    for name in ("b", "two"):
        for file in (MODEL, EMA, TRAINING):
            one, other = (weights(tmp_path / folder / CHECKPOINTS, file) for folder in ("a", name))
            assert same(one, other), (name, file)
        assert figures[name] == figures["a"]
    assert not same(weights(tmp_path / "a" / CHECKPOINTS), weights(tmp_path / "c" / CHECKPOINTS))


def test_a_run_that_was_cut_short_goes_on(start: Checkpoint, tmp_path: Path) -> None:
    cut_short(start, tmp_path, 5)
    before = rows(tmp_path / METRICS)
    assert [row["step"] for row in before] == [1, 2, 3, 4, 5]
    with (tmp_path / EVALUATIONS).open("a") as stream:  # of work that is repeated
        stream.write('{"step": 5, "return": 0.0, "success": 1.0}\n')
    again = finetuner(start, tmp_path)
    assert again.resume() == 4
    figures = again.run().figures
    after = rows(tmp_path / METRICS)
    assert [row["step"] for row in after] == [1, 2, 3, 4, 5, 6]
    assert after[:4] == before[:4]
    assert [row["step"] for row in rows(tmp_path / EVALUATIONS)] == [0, 2, 4, 6]
    per_iteration = before[0]["env_steps"]
    assert [row["env_steps"] for row in after] == [per_iteration * n for n in range(1, 7)]
    seconds = [row["train_seconds"] for row in after]
    assert seconds == sorted(seconds)
    assert seconds[4] > seconds[3] > before[3]["train_seconds"] - 1e-9
    assert (figures["resumed_at_iteration"], figures["iterations"]) == (4, 6)
    assert figures["env_steps"] == 6 * per_iteration
    assert figures["episodes"] >= before[3]["episodes"]


def test_a_resumed_run_does_not_repeat_its_episodes(
    start: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = watched_seeds(monkeypatch)
    cut_short(start, tmp_path, 3)
    first = {seed for seed in seeds if 0 < seed < HELD_OUT}
    seeds.clear()
    again = finetuner(start, tmp_path)
    again.resume()
    again.run()
    assert first.isdisjoint(seeds)


def test_everything_is_restored_exactly(start: Checkpoint, tmp_path: Path) -> None:
    changes = {"algorithm__sigma__kind": "net", "algorithm__sigma__value": 0.1, "algorithm__critic__sees": "own"}
    whole = finetuner(start, tmp_path, iterations=4, ema_max=0.9, **changes)
    whole.run()
    again = finetuner(start, tmp_path, iterations=5, ema_max=0.9, **changes)
    fresh = {name: tensor.clone() for name, tensor in again.algorithm.tensors().items()}
    assert again.resume() == 4
    for one, two in ((whole.policy, again.policy), (whole.ema.module, again.ema.module)):
        assert same(one.state_dict(), two.state_dict())
    assert whole.ema.n_averaged == again.ema.n_averaged == 4
    assert same(whole.algorithm.tensors(), again.algorithm.tensors())
    kinds = {name.split("/")[0] for name in whole.algorithm.tensors()}
    assert kinds == {"sigma", "critic", "actor_optimizer", "critic_optimizer", "reward_scale"}
    changed = {
        name.split("/")[0] for name, t in again.algorithm.tensors().items() if not torch.equal(t, fresh.get(name, t))
    }
    assert {"sigma", "critic", "reward_scale"} <= changed, "there was something to restore"
    assert not same(whole.policy.state_dict(), whole.ema.module.state_dict())


@pytest.mark.parametrize("at", [0, 2])
def test_an_evaluation_that_a_kill_prevented_is_made_up_for(
    start: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """At the start and after the last iteration too, where nothing else is left to do."""
    honest, calls = held_out.evaluate, iter(range(9))

    def evaluate(*arguments: Any) -> Any:
        if 2 * next(calls) == at:
            raise Killed
        return honest(*arguments)

    monkeypatch.setattr(held_out, "evaluate", evaluate)
    with pytest.raises(Killed):
        finetuner(start, tmp_path, iterations=2).run()
    again = finetuner(start, tmp_path, iterations=2)
    assert again.resume() == at
    again.run()
    assert [row["step"] for row in rows(tmp_path / EVALUATIONS)] == [0, 2]
    assert [row["step"] for row in rows(tmp_path / METRICS)] == [1, 2]


def test_a_request_to_stop_in_an_evaluation_ends_it(
    start: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = ToyEnv.reset, iter(range(99))

    def reset(self: ToyEnv, seed: int) -> None:
        if seed >= HELD_OUT and next(calls) == 2:  # the first of the second evaluation
            os.kill(os.getpid(), signal.SIGINT)
        honest(self, seed)

    monkeypatch.setattr(ToyEnv, "reset", reset)
    with pytest.raises(Interrupted, match="stopped at iteration 2 of 6"):
        finetuner(start, tmp_path).run()
    assert [row["step"] for row in rows(tmp_path / EVALUATIONS)] == [0]
    again = finetuner(start, tmp_path)
    assert again.resume() == 2
    again.run()
    assert [row["step"] for row in rows(tmp_path / EVALUATIONS)] == [0, 2, 4, 6]


def test_an_evaluation_whose_process_dies_goes_on(
    start: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetuner(start, tmp_path / "quiet", iterations=2).run()
    honest, calls = held_out.evaluate, iter(range(9))

    def evaluate(*arguments: Any) -> Any:
        if next(calls) == 1:  # the second evaluation
            (victim := arguments[3]._workers._workers[0]._process).kill()
            victim.join()
        return honest(*arguments)

    monkeypatch.setattr(held_out, "evaluate", evaluate)
    progress = Watched()
    finetuner(start, tmp_path / "killed", 2, progress, iterations=2).run()
    told = "environment worker 0 died (signal 9); restarted with 1 environment, its episode begins anew"
    assert progress.notes.count(f"held-out episodes: {told}") == 1
    found, wanted = (rows(tmp_path / name / EVALUATIONS) for name in ("killed", "quiet"))
    assert [row.items() - {("train_seconds", row.get("train_seconds"))} for row in found] == [
        row.items() - {("train_seconds", row.get("train_seconds"))} for row in wanted
    ]
    monkeypatch.setattr("omp_cli.core.envs.workers.RESTARTS_IN_A_ROW", 0)
    calls = iter((1,))
    with pytest.raises(RunFailed, match="environment worker 0 died"):
        finetuner(start, tmp_path / "again", 2, iterations=2).run()


@pytest.mark.parametrize(("rates", "best"), [([0.2, 0.5, 0.9, 0.4], 4), ([0.9, 0.5, 0.9, 0.4], 0)])
def test_best_and_last_are_kept(
    start: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rates: list[float], best: int
) -> None:
    honest, scores = held_out.summarise, iter(rates)

    def summarise(*arguments: Any) -> dict[str, Any]:
        figures = honest(*arguments)
        return figures | {"success_any": figures["success_any"] | {"rate": next(scores)}}

    monkeypatch.setattr(held_out, "summarise", summarise)
    result = finetuner(start, tmp_path, keep=1).run()
    assert checkpoints_in(tmp_path / BEST) == [result.best] == [tmp_path / BEST / f"step-{best:08d}"]
    assert checkpoints_in(tmp_path / CHECKPOINTS) == [result.checkpoint] == [tmp_path / CHECKPOINTS / "step-00000006"]
    assert [row["success"] for row in rows(tmp_path / EVALUATIONS)] == rates
    meta = open_checkpoint(result.best).meta
    assert (meta.step, meta.nfe, meta.finetuned_by) == (best, 1, "dmpo")
    assert not (result.best / TRAINING).exists()
    assert not same(weights(tmp_path / BEST), weights(tmp_path / CHECKPOINTS))


@pytest.mark.parametrize("kind", ["ema", "raw"])
def test_it_starts_from_the_weights_that_are_asked_for(start: Checkpoint, tmp_path: Path, kind: str) -> None:
    finetuner(start, tmp_path, iterations=1, algorithm__warmup=1, weights=kind).run()
    wanted = load_tensors(start.path / (EMA if kind == "ema" else MODEL))
    assert same(weights(tmp_path / CHECKPOINTS), wanted), "only the value function has learned"
    assert same(weights(tmp_path / CHECKPOINTS, EMA), wanted)
    assert same(weights(tmp_path / START), load_tensors(start.path / MODEL))
    assert not same(load_tensors(start.path / EMA), load_tensors(start.path / MODEL))


def test_moving_average_over_iterations(start: Checkpoint, tmp_path: Path) -> None:
    name, values = "net.outlet.weight", []
    progress = Watched(lambda _: values.append(run.policy.state_dict()[name].clone()))
    run = finetuner(start, tmp_path, progress=progress, ema_max=0.5, evaluation__every=0)
    run.run()
    expected = values[0]
    for n, value in enumerate(values[1:], 1):
        decay = min(0.5, 1 - (1 + n) ** -0.75)
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(weights(tmp_path / CHECKPOINTS, EMA)[name], expected)
    assert torch.equal(weights(tmp_path / CHECKPOINTS)[name], values[-1])
    assert not torch.equal(expected, values[-1])


def test_without_evaluations_there_is_no_best(start: Checkpoint, tmp_path: Path) -> None:
    result = finetuner(start, tmp_path, iterations=2, evaluation__every=0).run()
    assert result.best is None
    assert result.figures["evaluations"] == rows(tmp_path / EVALUATIONS) == []


def test_the_time_limit_ends_a_run_in_good_order(start: Checkpoint, tmp_path: Path) -> None:
    figures = finetuner(start, tmp_path, minutes=1e-6).run().figures
    assert figures["iterations"] == 1
    assert checkpoints_in(tmp_path / CHECKPOINTS)[-1].name == "step-00000001"
    assert [row["step"] for row in figures["evaluations"]] == [0, 1]
    again = finetuner(start, tmp_path, minutes=1e-6)
    assert again.resume() == 1
    assert again.run().figures["iterations"] == 1, "time before the resumption counts"


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated)])
def test_a_request_to_stop_in_a_rollout_saves_the_last_finished_iteration(
    start: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, error: type[Exception]
) -> None:
    honest, calls = TrainingEnvs.step, iter(range(1, 99))

    def step(self: TrainingEnvs, *arguments: Any) -> Any:
        if next(calls) == 6 * 3 + 2:  # of the fourth iteration
            os.kill(os.getpid(), number)
        return honest(self, *arguments)

    monkeypatch.setattr(TrainingEnvs, "step", step)
    run, before = finetuner(start, tmp_path), signal.getsignal(number)
    with pytest.raises(error, match="stopped at iteration 3 of 6"):
        run.run()
    assert next(calls) == 6 * 3 + 3, "at once"
    assert signal.getsignal(number) == before
    assert [row["step"] for row in rows(tmp_path / METRICS)] == [1, 2, 3]
    assert same(weights(tmp_path / CHECKPOINTS), run.policy.state_dict())
    again = finetuner(start, tmp_path)
    assert again.resume() == 3
    assert same(again.algorithm.tensors(), run.algorithm.tensors())
    assert again.run().figures["iterations"] == 6


def test_a_killed_worker_is_restarted_and_reported(start: Checkpoint, tmp_path: Path) -> None:
    others = multiprocessing.active_children()  # of other tests

    def each(count: int) -> None:
        if count == 1:
            ours = [c for c in multiprocessing.active_children() if c not in others]
            (worker,) = [c for c in ours if c.name == "environment worker 1"]
            worker.kill()

    progress = Watched(each)
    figures = finetuner(start, tmp_path, 2, progress, iterations=3, evaluation__every=0).run().figures
    assert figures["iterations"] == 3
    assert figures["worker_restarts"] == 1
    assert [row["worker_restarts"] for row in rows(tmp_path / METRICS)] == [0, 1, 1]
    died = "environment worker 1 died (signal 9); restarted with 2 environments, their episodes do not count"
    assert progress.notes == [died]
    again = finetuner(start, tmp_path, 1, iterations=4, evaluation__every=0)
    again.resume()
    assert again.run().figures["worker_restarts"] == 1


def finite(folder: Path) -> bool:
    return all(bool(t.isfinite().all()) for name in (MODEL, EMA, TRAINING) for t in weights(folder, name).values())


def test_rewards_that_are_not_numbers_end_the_run(
    start: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finetuner(start, tmp_path, evaluation__every=0)
    honest = ToyEnv.step

    def step(self: ToyEnv, action: Any) -> Outcome:
        outcome = honest(self, action)
        return Outcome(float("nan"), False) if run.iteration == 3 else outcome

    monkeypatch.setattr(ToyEnv, "step", step)
    with pytest.raises(Diverged, match=r"iteration 4.*last good checkpoint is .*step-00000002"):
        run.run()
    assert checkpoints_in(tmp_path / CHECKPOINTS)[-1].name == "step-00000002"
    assert finite(tmp_path / CHECKPOINTS)


def test_weights_that_are_not_numbers_never_reach_a_checkpoint(
    start: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of iteration 4 spoils a weight, and a checkpoint would be due: no loss has shown it yet."""
    honest = Ppo.iterate

    def iterate(self: Ppo, iteration: int, *arguments: Any) -> dict[str, float]:
        figures = honest(self, iteration, *arguments)
        if iteration == 3:
            next(self.critic.parameters()).data[0] = float("nan")
        return figures

    monkeypatch.setattr(Ppo, "iterate", iterate)
    with pytest.raises(Diverged, match=r"iteration 4: weights.*step-00000002") as caught:
        finetuner(start, tmp_path, evaluation__every=0).run()
    assert caught.value.exit_code == 5
    assert checkpoints_in(tmp_path / CHECKPOINTS)[-1].name == "step-00000002"
    assert finite(tmp_path / CHECKPOINTS)
    assert [row["step"] for row in rows(tmp_path / METRICS)] == [1, 2, 3]


def watched_seeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds of all episodes that begin in this process, as they begin; 0 is that of newly built environments."""
    seeds: list[int] = []
    honest = ToyEnv.reset

    def reset(self: ToyEnv, seed: int) -> None:
        seeds.append(seed)
        honest(self, seed)

    monkeypatch.setattr(ToyEnv, "reset", reset)
    return seeds


def test_evaluations_share_no_seed_with_rollouts_and_demonstrations(
    start: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = watched_seeds(monkeypatch)
    finetuner(start, tmp_path, iterations=4, seed=3).run()
    evaluated = [seed for seed in seeds if seed >= HELD_OUT]
    assert evaluated == [eval_seed(3, "reach", index) for index in range(2)] * 3, "the same ones each time"
    rolled_out = set(seeds) - {0, *evaluated}
    assert len(rolled_out) == len(seeds) - seeds.count(0) - len(evaluated), "no episode twice"
    assert len(rolled_out) >= 4
    demonstrations = {demo_seed(seed, "reach", index) for seed in range(4) for index in range(100)}
    assert demonstrations.isdisjoint(evaluated)
    assert not {rollout_seed(0, "reach", 0, n) for n in range(100)} & set(evaluated)


def test_its_figures_say_what_happened(start: Checkpoint, tmp_path: Path) -> None:
    figures = finetuner(start, tmp_path, iterations=4).run().figures
    last = rows(tmp_path / METRICS)[-1]
    assert {"ratio", "kl", "clip_share", "explained_variance", "bc", "sigma", "return", "successes"} <= last.keys()
    assert last == {"step": 4, **{name: figures[name] for name in last if name != "step"}}
    assert figures["env_steps"] == 4 * 4 * 6 * 4, "iterations, environments, decisions, steps each"
    assert figures["evaluations"] == rows(tmp_path / EVALUATIONS)
    assert [row["env_steps"] for row in figures["evaluations"][1:]] == [192, 384]
    parts = figures["seconds_by_part"]
    assert {"policy", "environments: step", "update", "evaluation", "checkpoints"} <= parts.keys()


def test_the_algorithm_has_to_fit(start: Checkpoint, tmp_path: Path) -> None:
    for number, (method, fits) in enumerate(
        (("reflow", "reinflow-r"), ("shortcut", "reinflow-s"), ("dp", "dppo"), ("gaussian", "gaussian"))
    ):
        other = checkpoint_of(tmp_path / str(number), method)
        assert algorithm_for(other.config().method.name) == fits
        wrong = "dppo" if method == "gaussian" else "gaussian"
        with pytest.raises(UsageError, match=f"cannot start from a policy of method {method}") as caught:
            check_fits(settings(algorithm__name=wrong), other)
        assert caught.value.hint == f"use --algorithm {fits}"
    assert algorithm_for(start.config().method.name) == "dmpo"
    spec = start.meta.spec.model_copy(update={"task": "hopper-v5"})
    gym = checkpoint_of(tmp_path / "gym", suite={"name": "gym", "environment": "hopper-v5"}, spec=spec)
    with pytest.raises(UsageError, match="no success"):
        check_fits(settings(reward="success"), gym)


def test_one_decision_is_too_few_to_learn_from(start: Checkpoint, tmp_path: Path) -> None:
    for envs, decisions in ((1, 2), (2, 1)):
        check_fits(settings(envs=envs, algorithm__decisions=decisions), start)
    with pytest.raises(UsageError, match="PPO learns nothing from one decision"):
        check_fits(settings(envs=1, algorithm__decisions=1), start)
    reflow = checkpoint_of(tmp_path, "reflow")
    check_fits(settings(envs=1, algorithm={"name": "fql", "decisions": 1}), reflow)


def test_settings_that_a_policy_does_not_let_count(tmp_path: Path) -> None:
    flow, diffusion = (checkpoint_of(tmp_path / name, name) for name in ("meanflow", "dp"))
    of_all = {"algorithm.augment", "algorithm.critic.train_encoder"}
    assert passed_over(settings(nfe=1), flow).keys() == {*of_all, "algorithm.eta"}
    dppo = {"algorithm__name": "dppo"}
    assert passed_over(settings(nfe=10, **dppo), diffusion).keys() == of_all
    one = {*of_all, "algorithm.clip_first", "algorithm.jump_gamma"}
    assert passed_over(settings(nfe=1, **dppo), diffusion).keys() == one
    assert passed_over(settings(nfe=10, algorithm__ft_denoising_steps=1, **dppo), diffusion).keys() == one
    assert passed_over(settings(nfe=1, algorithm__critic={"sees": "own"}), flow).keys() == {
        "algorithm.augment",
        "algorithm.eta",
    }
