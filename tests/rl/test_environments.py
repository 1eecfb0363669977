"""Environments to learn in: their rows are the suite's, whatever dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from omp_cli.core.base.errors import RunFailed
from omp_cli.core.base.seeds import rollout_seed
from omp_cli.core.envs.chunking import ChunkEnv, Obs, chunk_env_factory
from omp_cli.core.envs.pool import EnvPool
from omp_cli.core.rl.environments import LOST, Stepped, TrainingEnvs
from omp_cli.core.suites.toy import Toy, ToyConfig, ToyEnv
from tests.envs.test_pool import children, odd, told

EXECUTE, LIMIT = 4, 14
"""Steps per chunk and per episode; the last chunk of an episode is a short one."""


def seed_of(env: int, number: int) -> int:
    return rollout_seed(0, "reach", env, number)


def make(**arguments: Any) -> Callable[[], ChunkEnv]:
    given = {"keys": ("state",), "n_obs": 1, "execute": EXECUTE, "max_steps": LIMIT} | arguments
    return chunk_env_factory({"name": "toy"}, "reach", **given)


def actions(obs: Obs) -> Any:
    """Towards the goal, (N, E, A); too strong to stay on it."""
    state = obs["state"][:, -1]
    return np.repeat(np.clip((state[:, 3:5] - state[:, :2]) / 0.1, -1, 1)[:, None], EXECUTE, axis=1)


@contextmanager
def training(
    make: Callable[[], ChunkEnv],
    envs: int,
    workers: int,
    seeds: Callable[[int, int], int] = seed_of,
    note: Callable[[str], None] = lambda _: None,
    reward: Any = "environment",
    **options: Any,
) -> Iterator[tuple[TrainingEnvs, EnvPool]]:
    with EnvPool(make, envs, workers, note, LOST, **options) as pool:
        yield TrainingEnvs(pool, seeds, reward), pool


def play(envs: TrainingEnvs, chunks: int) -> list[Stepped]:
    obs, steps = envs.reset(), []
    for _ in range(chunks):
        steps.append(envs.step(actions(obs)))
        obs = steps[-1].obs
    return steps


def test_rewards_successes_and_ends_are_the_suites_own() -> None:
    envs, chunks = 3, 12
    with training(make(n_obs=2), envs, 1) as (learning, _):
        seen = play(learning, chunks)
    finished = [episode for stepped in seen for episode in stepped.finished]
    expected = []
    for env in range(envs):
        plain, number, rows = ToyEnv(Toy(ToyConfig()).spec("reach")), 0, []
        plain.reset(seed_of(env, 0))
        history = [plain.observe(["state"])["state"]] * 2
        total, count, success = 0.0, 0, False
        for stepped in seen:
            chunk = actions({"state": np.stack(history)[None]})[0]
            reward, before = 0.0, count
            for action in chunk[: LIMIT - count]:
                outcome = plain.step(action)
                history = [history[1], plain.observe(["state"])["state"]]
                reward, count, success = reward + outcome.reward, count + 1, success or outcome.success
            assert stepped.reward[env] == reward
            assert stepped.steps[env] == count - before
            assert (stepped.terminated[env], stepped.truncated[env]) == (False, count == LIMIT)
            assert (env in stepped.final) == (count == LIMIT)
            total += reward
            if count == LIMIT:
                assert np.array_equal(stepped.final[env]["state"], history)
                rows.append((env, seed_of(env, number), total, count, success, False))
                number += 1
                plain.reset(seed_of(env, number))
                history = [plain.observe(["state"])["state"]] * 2
                total, count, success = 0.0, 0, False
            assert np.array_equal(stepped.obs["state"][env], history)
        expected += rows
    got = [tuple(asdict(episode).values()) for episode in finished]
    assert sorted(got) == sorted(expected)
    assert {episode.success for episode in finished} == {True, False}
    assert not any(stepped.lost.any() for stepped in seen)


def test_success_may_end_an_episode_and_be_the_reward() -> None:
    with training(make(), 4, 1, end_on_success=True, reward="success") as (envs, _):
        seen = play(envs, 20)
    with training(make(), 4, 1, end_on_success=True) as (envs, _):
        own = play(envs, 20)
    finished = [episode for stepped in seen for episode in stepped.finished]
    assert {(e.success, e.terminated) for e in finished} == {(True, True), (False, False)}
    assert all(e.steps <= LIMIT and e.episode_return < 0 for e in finished)
    assert any(e.terminated and e.steps == LIMIT for e in finished), "success at the step limit is no truncation"
    for stepped, same in zip(seen, own, strict=True):
        assert np.array_equal(stepped.reward, stepped.terminated.astype(float))
        assert not (stepped.terminated & stepped.truncated).any()
        assert (same.reward < 0).all()
        assert stepped.finished == same.finished


def same(one: Stepped, two: Stepped, rows: slice = slice(None)) -> None:
    assert one.obs["state"][rows].tobytes() == two.obs["state"][rows].tobytes()
    for name in ("reward", "terminated", "truncated", "steps", "lost"):
        assert getattr(one, name)[rows].tobytes() == getattr(two, name)[rows].tobytes(), name
    kept = range(len(one.reward))[rows]
    assert [e for e in one.finished if e.env in kept] == [e for e in two.finished if e.env in kept]
    finals = [{env: v["state"].tobytes() for env, v in s.final.items() if env in kept} for s in (one, two)]
    assert finals[0] == finals[1]


def test_workers_change_nothing_and_their_death_costs_only_their_own_episodes() -> None:
    notes: list[str] = []
    with training(make(), 3, 1) as (alone, pool):
        whole = play(alone, 16)
        again = play(alone, 3)
        parts = pool.seconds_by_part()
    for one, two in zip(whole, again, strict=False):
        same(one, two)
    with training(make(), 3, 2, note=notes.append) as (envs, pool):
        for child in children():
            os.kill(child.pid or 0, signal.SIGINT)  # Ctrl-C while they start is the parent's business
        for one, two in zip(whole, play(envs, 8), strict=False):
            same(one, two)
        assert pool.seconds_by_part().keys() == parts.keys()
        assert pool.restarts == 0
        assert notes == []
        obs, next_seeds = whole[7].obs, []
        for turn, stepped in enumerate(whole[8:], 8):
            if turn == 9:
                os.kill(children()[1].pid or 0, signal.SIGKILL)
            got = envs.step(actions(obs))
            same(stepped, got, slice(0, 1))  # worker 0 has the first environment, worker 1 the others
            obs = {"state": np.concatenate([stepped.obs["state"][:1], got.obs["state"][1:]])}
            assert got.lost.tolist() == [False, turn == 9, turn == 9]
            if turn == 9:
                begun = ToyEnv(Toy(ToyConfig()).spec("reach"))
                number = sum(e.env == 1 for s in whole[:9] for e in s.finished)
                begun.reset(seed_of(1, number + 1))
                assert np.array_equal(got.obs["state"][1, 0], begun.observe(["state"])["state"])
                assert (got.steps[1:] == 0).all()
                assert not got.final.keys() & {1, 2}
            next_seeds += [e.seed for e in got.finished if e.env == 1 and turn > 9]
        assert next_seeds == [seed_of(1, number + 1)]
        assert pool.restarts == 1
    assert notes == ["environment worker 1 died (signal 9); restarted with 2 environments, their episodes do not count"]
    assert children() == []


def test_deaths_in_a_row_fail_the_run_and_those_with_a_step_in_between_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with training(odd, 2, 2, lambda env, number: 13 * env) as (envs, pool):
        words = r"(?m)\Aenvironment worker 1 died 4 times in a row \(exit code 3\)$"
        with pytest.raises(RunFailed, match=words) as caught:
            envs.reset()
        assert "--workers 1" in caught.value.hint
        assert pool.restarts == 3
    assert children() == []
    monkeypatch.setattr("omp_cli.core.envs.workers.RESTARTS_IN_A_ROW", 1)
    with training(odd, 2, 2, lambda env, number: number) as (envs, pool):
        envs.reset()
        for _ in range(2):
            os.kill(children()[1].pid or 0, signal.SIGKILL)
            assert envs.step(told(0)).lost.tolist() == [False, True]
            assert not envs.step(told(0)).lost.any(), "deaths with a successful step in between do not add up"
        assert pool.restarts == 2
        assert envs.step(told(5)).lost.tolist() == [False, True], "its first action kills it"
        with pytest.raises(RunFailed, match="died 2 times in a row"):
            envs.step(told(5))
