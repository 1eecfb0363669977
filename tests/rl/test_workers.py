"""Environments in worker processes: their rows are the suite's, whatever dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.core.errors import DataError, RunFailed
from omp_cli.core.plugins import load_plugin
from omp_cli.core.rl.workers import Obs, Stepped, Workers
from omp_cli.core.seeds import rollout_seed
from omp_cli.core.suites import SUITES
from omp_cli.core.suites.base import Outcome
from omp_cli.core.suites.chunking import ChunkEnv, chunk_env_factory
from omp_cli.core.suites.toy import Toy, ToyConfig, ToyEnv

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


def play(workers: Workers, chunks: int) -> list[Stepped]:
    obs, steps = workers.reset(), []
    for _ in range(chunks):
        steps.append(workers.step(actions(obs)))
        obs = steps[-1].obs
    return steps


def children() -> list[BaseProcess]:
    """Worker processes, in order."""
    return sorted(multiprocessing.active_children(), key=lambda child: child.name)


def test_rewards_successes_and_ends_are_the_suites_own() -> None:
    envs, chunks = 3, 12
    with Workers(make(n_obs=2), envs, 1, seed_of) as workers:
        seen = play(workers, chunks)
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
    with Workers(make(), 4, 1, seed_of, end_on_success=True, reward="success") as workers:
        seen = play(workers, 20)
    with Workers(make(), 4, 1, seed_of, end_on_success=True) as workers:
        own = play(workers, 20)
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
    with Workers(make(), 3, 1, seed_of) as alone:
        whole = play(alone, 16)
        again = play(alone, 3)
        parts = alone.seconds_by_part()
    for one, two in zip(whole, again, strict=False):
        same(one, two)
    with Workers(make(), 3, 2, seed_of, note=notes.append) as workers:
        for child in children():
            os.kill(child.pid or 0, signal.SIGINT)  # Ctrl-C while they start is the parent's business
        for one, two in zip(whole, play(workers, 8), strict=False):
            same(one, two)
        assert workers.seconds_by_part().keys() == parts.keys()
        assert workers.restarts == 0
        assert notes == []
        obs, next_seeds = whole[7].obs, []
        for turn, stepped in enumerate(whole[8:], 8):
            if turn == 9:
                os.kill(children()[1].pid or 0, signal.SIGKILL)
            got = workers.step(actions(obs))
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
        assert workers.restarts == 1
    assert notes == ["environment worker 1 died (signal 9); restarted with 2 environments, their episodes do not count"]
    workers.close()
    assert children() == []


class Odd(ToyEnv):
    """Does what its first action, or its seed, says."""

    def reset(self, seed: int) -> None:
        if seed == 13:
            os._exit(3)
        super().reset(seed)

    def step(self, action: Any) -> Outcome:
        if action[0] == 1:
            raise DataError("too few points", "use a larger camera size")
        if action[0] == 2:
            raise ValueError("odd\naction")
        if action[0] == 3:
            time.sleep(60)
        if action[0] == 4:
            return Outcome(float(os.environ["OMP_NUM_THREADS"]), False)
        return super().step(action)


def odd() -> ChunkEnv:
    return ChunkEnv(Odd(Toy(ToyConfig()).spec("reach")), ("state",), 1, 1)


def told(what: float) -> Any:
    """Environment 1 of two is told to."""
    return np.array([[[0.0, 0.0]], [[what, 0.0]]], np.float32)


def test_errors_arrive_as_themselves_and_a_silent_worker_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        workers._patience = 60

    with Workers(odd, 2, 5, lambda env, number: number, note=note) as workers:
        assert len(children()) == 2, "no worker without an environment"
        assert os.environ["OMP_NUM_THREADS"] == "7"
        workers.reset()
        with pytest.raises(DataError) as caught:
            workers.step(told(1))
        assert (caught.value.message, caught.value.hint) == ("too few points", "use a larger camera size")
        with pytest.raises(RunFailed, match=r"^an environment failed in its worker: ValueError: odd action$") as failed:
            workers.step(told(2))
        assert "--workers 1" in failed.value.hint
        assert workers.step(told(4)).reward[1] == 1.0, "one thread"
        workers._patience = 0.5
        silent = workers.step(told(3))
        assert silent.lost.tolist() == [False, True]
        assert workers.step(told(0)).lost.tolist() == [False, False]
    assert notes == [
        "environment worker 1 died (no answer in time); restarted with 1 environment, its episode does not count"
    ]
    with Workers(odd, 2, 1, lambda env, number: number) as workers:
        workers.reset()
        with pytest.raises(ValueError, match="odd"):
            workers.step(told(2))


def test_a_worker_that_dies_again_and_again_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with Workers(odd, 2, 2, lambda env, number: 13 * env) as workers:
        with pytest.raises(RunFailed, match=r"^environment worker 1 died 4 times in a row \(exit code 3\)$") as caught:
            workers.reset()
        assert "--workers 1" in caught.value.hint
        assert workers.restarts == 3
    assert children() == []
    with Workers(odd, 2, 2, lambda env, number: number) as workers:
        monkeypatch.setattr("omp_cli.core.rl.workers.RESTARTS_IN_A_ROW", 1)
        workers.reset()
        for _ in range(2):
            os.kill(children()[1].pid or 0, signal.SIGKILL)
            assert workers.step(told(0)).lost.tolist() == [False, True]
            assert not workers.step(told(0)).lost.any(), "deaths with a successful step in between do not add up"
        assert workers.restarts == 2


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[None]:
    """A suite of the user's own."""
    file = tmp_path / "of_my_own.py"
    file.write_text("""
from typing import Literal
from omp_cli.core.suites.base import SUITES
from omp_cli.core.suites.toy import Toy, ToyConfig

class Config(ToyConfig):
    name: Literal["mine"] = "mine"

@SUITES.register("mine")
class Mine(Toy):
    Config = Config
""")
    load_plugin(file)
    yield
    del sys.modules["omp_plugin_of_my_own"], SUITES._members["mine"]


@pytest.mark.usefixtures("plugin")
def test_environments_of_a_plugin_are_known_to_the_workers() -> None:
    mine = chunk_env_factory({"name": "mine"}, "reach", keys=("state",), n_obs=1, execute=EXECUTE)
    with Workers(mine, 2, 2, seed_of) as workers, Workers(make(), 2, 1, seed_of) as toy:
        assert np.array_equal(workers.reset()["state"], toy.reset()["state"])


def test_workers_do_not_outlive_a_killed_parent() -> None:
    code = "import multiprocessing; from tests.rl.test_workers import Workers, odd, told; "
    code += "w = Workers(odd, 2, 2, lambda env, number: 0); w.reset(); "
    code += "print(*[c.pid for c in multiprocessing.active_children()], flush=True); w.step(told(3))"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
