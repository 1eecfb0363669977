"""Evaluation: held-out starts, both success rules, independence of the number of workers."""

import multiprocessing
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from omp_cli.core.base.errors import DataError, Diverged, RunFailed, UsageError
from omp_cli.core.base.progress import Silent
from omp_cli.core.base.seeds import demo_seed
from omp_cli.core.base.statistics import counted
from omp_cli.core.checkpoint import Checkpoint, find_checkpoints, open_checkpoint
from omp_cli.core.data.store import read_store
from omp_cli.core.envs.chunking import ChunkEnv, chunk_env_factory
from omp_cli.core.measure import evaluation
from omp_cli.core.measure import success as measuring
from omp_cli.core.measure.environments import environments
from omp_cli.core.measure.episodes import Episode, EvalConfig, by_episode, so_far, summarise
from omp_cli.core.measure.success import evaluate
from omp_cli.core.policy import Policy
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import Outcome, TaskEnv, recorded_suite

CPU = torch.device("cpu")


def roll_out(
    checkpoint: Checkpoint, config: EvalConfig, workers: int = 1, filmed: int = 0
) -> tuple[list[Episode], Any]:
    with environments(checkpoint, config, workers, print) as envs:
        return evaluate(checkpoint, config, config.episodes, envs, CPU, Silent(), filmed)


@pytest.fixture
def checkpoint(workshop: Path) -> Checkpoint:
    return open_checkpoint(find_checkpoints(workshop / "run")[-1])


def test_the_result_does_not_depend_on_the_number_of_workers(checkpoint: Checkpoint) -> None:
    config = EvalConfig(episodes=5)
    one, _ = roll_out(checkpoint, config)
    with environments(checkpoint, config, 3, print) as envs:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGINT)  # a terminal's Ctrl-C, which is the parent's business
        three, _ = evaluate(checkpoint, config, config.episodes, envs, CPU, Silent())
    assert one == three
    config = config.model_copy(update={"together": 3})
    for workers in (1, 2):
        with environments(checkpoint, config, workers, print) as envs:
            assert (envs.num_envs, len(envs._workers)) == (3, workers)
            together, _ = evaluate(checkpoint, config, config.episodes, envs, CPU, Silent())
        assert one == together
    assert [e.index for e in one] == list(range(5))


@pytest.mark.parametrize("victims", [[0], [1], [0, 1]])
def test_an_evaluation_goes_on_when_processes_die(checkpoint: Checkpoint, victims: list[int]) -> None:
    config, notes, due = EvalConfig(episodes=5), [], list(victims)
    wanted, films = roll_out(checkpoint, config, filmed=5)

    class Killing(Silent):
        def advance(self, units: int = 1, **figures: float | str) -> None:
            for victim in due:
                envs._workers._workers[victim]._process.kill()  # type: ignore[union-attr]
            due.clear()

    with environments(checkpoint, config, 2, notes.append) as envs:
        found, again = evaluate(checkpoint, config, 5, envs, CPU, Killing(), filmed=5)
        assert envs.restarts == len(victims)
    assert found == wanted
    assert [film.tobytes() for film in again] == [film.tobytes() for film in films], (
        "no picture of an episode cut short"
    )
    assert notes == [
        f"environment worker {victim} died (signal 9); restarted with 1 environment, its episode begins anew"
        for victim in victims
    ]
    assert not multiprocessing.active_children()


def test_an_episode_that_kills_its_process_every_time_ends_the_evaluation(checkpoint: Checkpoint) -> None:
    """Others of the same worker may have gone well in between; steps of the same episode do not count."""

    config = EvalConfig(episodes=9)
    with environments(checkpoint, config, 2, lambda _: None) as envs:
        honest = envs.step

        def step(actions: Any) -> Any:
            rows = honest(actions)
            envs._workers._workers[1]._process.kill()  # type: ignore[union-attr]
            return rows

        envs.step = step  # type: ignore[method-assign, assignment]
        words = r"(?m)\Aenvironment worker 1 died 4 times in a row \(signal 9\)$"
        with pytest.raises(RunFailed, match=words) as caught:
            evaluate(checkpoint, config, 9, envs, CPU, Silent())
    assert caught.value.exit_code == 1
    assert "--workers 1" in caught.value.hint
    assert not multiprocessing.active_children()


def test_a_part_of_each_chunk_is_executed(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks: list[int] = []
    step = ChunkEnv.step
    monkeypatch.setattr(ChunkEnv, "step", lambda env, actions: (chunks.append(len(actions)), step(env, actions))[1])
    whole, _ = roll_out(checkpoint, EvalConfig(episodes=2))
    assert set(chunks) == {checkpoint.config().chunk.execute} == {3}
    chunks.clear()
    part, _ = roll_out(checkpoint, EvalConfig(episodes=2, execute=1))
    assert set(chunks) == {1}
    assert len(chunks) == sum(e.steps for e in part)
    assert [e.start_state for e in part] == [e.start_state for e in whole]
    with pytest.raises(UsageError, match="execute: 4, the policy makes 3 actions to be executed"):
        roll_out(checkpoint, EvalConfig(execute=4))


def test_start_states_are_held_out_and_follow_the_seed(checkpoint: Checkpoint, workshop: Path) -> None:
    episodes, _ = roll_out(checkpoint, EvalConfig(episodes=4))
    demos = set(read_store(workshop / "toy").provenance["start_states"])
    assert demos == set(checkpoint.meta.start_states)
    assert not demos & {e.start_state for e in episodes}
    other, _ = roll_out(checkpoint, EvalConfig(episodes=4, seed=1))
    assert len({e.start_state for e in [*episodes, *other]}) == 8


def test_a_start_that_a_demonstration_used_is_refused(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "eval_seed", demo_seed)
    with pytest.raises(DataError, match="starts where a demonstration did"):
        roll_out(checkpoint, EvalConfig(episodes=2))


def test_a_suite_that_judges_at_the_end_goes_on_after_success(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, config = recorded_suite(checkpoint.meta.suite), EvalConfig(episodes=4)
    ended = [e.steps for e in roll_out(checkpoint, config)[0] if e.success_chunk]
    assert ended
    assert min(ended) < checkpoint.meta.spec.max_steps
    assert "success_end" not in summarise(roll_out(checkpoint, config)[0], suite)
    monkeypatch.setattr(type(suite), "judged_at_end", True)
    episodes, _ = roll_out(checkpoint, config)
    assert {e.steps for e in episodes} == {checkpoint.meta.spec.max_steps}
    figures = summarise(episodes, suite)
    assert figures["success_end"]["successes"] == sum(e.success_end for e in episodes)
    assert counted(figures) == figures["success_end"]
    assert episodes[0].as_dict(suite)["success_end"] == episodes[0].success_end


def test_a_reward_that_is_no_number_is_no_return() -> None:
    episode = Episode("reach", 3, 0, "x", 1, "ema", 1)
    with pytest.raises(DataError, match="reach: the environment's reward by step 8 of episode 3 is nan"):
        episode.add(np.nan, {"steps": 8}, False)


def test_where_the_end_counts_it_counts_in_every_figure_and_picture(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records, progress and the border of the video: all by one rule."""
    suite, borders = recorded_suite(checkpoint.meta.suite), []
    monkeypatch.setattr(type(suite), "judged_at_end", True)
    monkeypatch.setattr(evaluation, "write_video", lambda path, films, good, hz: (path.touch(), borders.append(good)))
    rows = [Episode("reach", i, 0, "x", 1, "ema", 1, success_any=True, success_end=i == 1) for i in range(4)]
    assert by_episode(rows, suite)["success"] == [False, True, False, False]
    assert so_far(rows, suite)["success"].startswith("1/4 = 0.25")
    run = SimpleNamespace(folder=tmp_path, artifact=lambda path: None)
    evaluation._draw(run, checkpoint, suite, {}, rows, [np.zeros((1, 8, 8, 3), np.uint8)] * 4)  # type: ignore[arg-type]
    assert borders == [[False, True, False, False]]


def test_films_have_a_picture_of_every_step(checkpoint: Checkpoint) -> None:
    episodes, films = roll_out(checkpoint, EvalConfig(episodes=3, max_steps=7), workers=2, filmed=2)
    assert [len(film) for film in films] == [e.steps + 1 for e in episodes[:2]]
    assert films[0].dtype == np.uint8
    assert films[0].std() > 1


class Scripted(TaskEnv):
    """Succeeds at given steps, counts what is observed."""

    def __init__(self, successes: set[int], fall: int | None = None) -> None:
        self.fall = fall
        self.spec = Spec(
            suite="s",
            task="t",
            action_dim=1,
            state_dim=3,
            points=None,
            end_effector=(0, 1, 2),
            max_steps=8,
            control_hz=1,
        )
        self.successes, self.count, self.observed = successes, 0, []  # type: ignore[var-annotated]

    def reset(self, seed: int) -> None:
        self.count, self.observed = 0, []

    def step(self, action: Any) -> Outcome:
        self.count += 1
        return Outcome(1.0, self.count in self.successes, self.count == self.fall)

    def observe(self, keys: Iterable[str]) -> dict[str, Any]:
        self.observed.append(self.count)
        return {"state": np.full(3, self.count, np.float32)}

    def expert(self) -> Any:
        return np.zeros(1, np.float32)

    def start_state(self) -> Any:
        return np.zeros(1)

    def picture(self, size: int) -> Any:
        return np.zeros((size, size, 3), np.uint8)


def roll(env: Scripted, n_obs: int = 2, execute: int = 3) -> list[tuple[Any, ...]]:
    chunked = ChunkEnv(env, ("state",), n_obs, execute)
    obs, _ = chunked.reset(seed=1)
    rows = [(obs["state"][:, 0].tolist(), None, None, None, None)]
    truncated = False
    while not truncated:
        obs, reward, terminated, truncated, info = chunked.step(np.zeros((execute, 1), np.float32))
        assert not terminated
        found = [info[f"success_{rule}"] for rule in ("any", "all", "end")]
        rows.append((obs["state"][:, 0].tolist(), reward, *found))
    return rows


def test_chunks_by_hand() -> None:
    env = Scripted({2, 4, 5, 6})
    assert roll(env) == [
        ([0, 0], None, None, None, None),
        ([2, 3], 3.0, True, False, False),
        ([5, 6], 3.0, True, True, True),
        ([7, 8], 2.0, False, False, False),
    ]
    assert env.observed == [0, 2, 3, 5, 6, 7, 8], "frames that nobody reads are not observed"


def test_a_termination_ends_the_chunk_and_is_not_a_truncation() -> None:
    env = Scripted({1, 2, 4}, fall=4)
    chunked = ChunkEnv(env, ("state",), 2, 3)
    chunked.reset(seed=1)
    chunk = np.zeros((3, 1), np.float32)
    assert chunked.step(chunk)[1:4] == (3.0, False, False)
    obs, *rest, info = chunked.step(chunk)
    assert rest == [1.0, True, False]
    assert obs["state"][-1, 0] == 4
    assert (info["steps"], info["success_any"], info["success_all"]) == (4, True, True)
    *rest, info = chunked.step(chunk)[1:]
    assert (rest, info["steps"], env.count) == ([0.0, True, False], 4, 4), "an episode that has ended stands still"
    late = ChunkEnv(Scripted(set(), fall=8), ("state",), 1, 8)
    late.reset(seed=1)
    assert late.step(np.zeros((8, 1), np.float32))[2:4] == (True, False), "a fall at the step limit is a fall"


def test_longer_histories_reach_into_earlier_chunks() -> None:
    assert [row[0] for row in roll(Scripted(set()), n_obs=3, execute=2)] == [
        [0, 0, 0],
        [0, 1, 2],
        [2, 3, 4],
        [4, 5, 6],
        [6, 7, 8],
    ]


def test_the_simulator_is_built_at_the_first_reset_and_clouds_are_cut() -> None:
    suite = {"name": "toy", "cloud": {"points": 32}}
    make = chunk_env_factory(suite, "reach", keys=("state", "point_cloud"), n_obs=2, execute=3, points=20)
    whole = chunk_env_factory(suite, "reach", keys=("state", "point_cloud"), n_obs=2, execute=3)()
    env = make()
    assert env._env._built is None
    assert env.observation_space["point_cloud"].shape == (2, 20, 3)
    assert env.observation_space["state"].shape == whole.observation_space["state"].shape
    (cut, info), (full, same) = env.reset(seed=5), whole.reset(seed=5)
    assert info["start_state"] == same["start_state"]
    assert np.array_equal(cut["point_cloud"], full["point_cloud"][:, :20])
    env.step(np.zeros((3, env.action_space.shape[1]), np.float32))
    assert {"physics", "reset", "start of the simulator"} <= env.seconds_by_part().keys()
    env.close()


def test_summary_counts_both_rules(checkpoint: Checkpoint) -> None:
    episodes, _ = roll_out(checkpoint, EvalConfig(episodes=3, max_steps=6))
    summary = summarise(episodes, recorded_suite(checkpoint.meta.suite))
    assert summary["success_any"]["episodes"] == 3
    assert summary["success_chunk"]["successes"] <= summary["success_any"]["successes"]
    assert summary["mean_steps"] <= 6


def test_an_action_that_is_not_finite_is_no_failure_of_the_task(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, calls = Policy.act, iter(range(99))

    def diverging(policy: Policy, obs: Any, noise: torch.Tensor, nfe: int = 1) -> torch.Tensor:
        actions = act(policy, obs, noise, nfe)
        return actions * float("nan") if next(calls) == 2 else actions

    monkeypatch.setattr(Policy, "act", diverging)
    with pytest.raises(
        Diverged, match=r"evaluation seed \d+, after \d+ environment steps: the policy's action"
    ) as error:
        roll_out(checkpoint, EvalConfig(episodes=4))
    assert error.value.exit_code == 5
