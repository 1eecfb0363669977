"""Environments to learn in: episodes follow each other without a pause, and a worker's death costs only its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.envs.chunking import Obs
from omp_cli.core.envs.pool import ChunkResult, EnvPool

LOST = ("does not count", "do not count")
"""What messages say of episodes whose worker died."""


@dataclass(frozen=True)
class Finished:
    """An episode that ended.

    Attributes:
        env: environment, 0 ... N - 1.
        seed: seed of its start state.
        episode_return: sum of the environment's own rewards, whatever the agent is rewarded for.
        steps: environment steps.
        success: the suite's flag at any step.
        terminated: whether it ended for good; else by the step limit.
    """

    env: int
    seed: int
    episode_return: float
    steps: int
    success: bool
    terminated: bool


@dataclass(frozen=True)
class Stepped:
    """What all N environments did with one chunk.

    Attributes:
        obs: (N, T, ...) what to act on next, of the new episode where one has ended.
        reward: (N,) summed over the chunk, or 1 at success (``TrainingEnvs``).
        terminated: (N,) the episode ended for good: no value follows.
        truncated: (N,) it was cut at the step limit: the value of ``final`` follows.
        steps: (N,) environment steps executed.
        final: by environment, the last observation (T, ...) of an episode that ended.
        lost: (N,) its worker died: what the chunk did is not known, and a new episode has begun.
        finished: the episodes that ended, by environment.
    """

    obs: Obs
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    steps: NDArray[np.int64]
    final: dict[int, Obs]
    lost: NDArray[np.bool_]
    finished: list[Finished]


class TrainingEnvs:
    """All N environments of a pool, each on an episode of its own at any time.

    Args:
        pool: the environments; where an episode ends is its business.
        seed_of: (environment, number of its episode) -> seed.
        reward: the environment's own, or 1 for a chunk with success and 0 for any other.
    """

    def __init__(
        self,
        pool: EnvPool,
        seed_of: Callable[[int, int], int],
        reward: Literal["environment", "success"] = "environment",
    ) -> None:
        self._pool, self._seed_of, self._reward = pool, seed_of, reward
        self._episodes: list[_Episode] = []

    def reset(self) -> Obs:
        """Start every environment on its first episode; raises as ``step``.

        Returns:
            {key: (N, T, ...)}.
        """
        self._episodes = [_Episode(0, self._seed_of(env, 0)) for env in range(self._pool.num_envs)]
        rows = self._pool.reset({env: episode.seed for env, episode in enumerate(self._episodes)})
        return _stacked(self._with_new_episodes(rows))

    def step(self, actions: NDArray[np.float32]) -> Stepped:
        """Execute a chunk in every environment and begin new episodes where one has ended.

        Args:
            actions: (N, E, A).

        Raises:
            RunFailed: a worker died again and again, or an environment in one failed.
            OmpError: what an environment raised.
        """
        upcoming = {env: self._seed_of(env, episode.number + 1) for env, episode in enumerate(self._episodes)}
        answers = self._pool.step(dict(enumerate(actions)), upcoming)
        rows = self._with_new_episodes(answers)
        lost = np.array([answers[env] is None for env in range(len(rows))])
        success, steps = np.zeros_like(lost), np.zeros(len(rows), np.int64)
        finished: list[Finished] = []
        for env in np.flatnonzero(~lost).tolist():
            row, episode = rows[env], self._episodes[env]
            self._pool.done(env)
            success[env] = row.info["success_any"]
            steps[env] = row.info["steps"] - episode.steps
            episode.add(row)
            if row.final is not None:
                end = (episode.total, episode.steps, episode.success, row.terminated)
                finished.append(Finished(env, episode.seed, *end))
                self._episodes[env] = _Episode(episode.number + 1, upcoming[env])
        rewards = np.array([row.reward for row in rows], np.float64)
        return Stepped(
            obs=_stacked(rows),
            reward=rewards if self._reward == "environment" else success.astype(np.float64),
            terminated=np.array([row.terminated for row in rows], np.bool_),
            truncated=np.array([row.truncated for row in rows], np.bool_),
            steps=steps,
            final={env: row.final for env, row in enumerate(rows) if row.final is not None},
            lost=lost,
            finished=finished,
        )

    def _with_new_episodes(self, answers: Mapping[int, ChunkResult | None]) -> list[ChunkResult]:
        """A row for each environment; where its worker died, that of the next episode's start."""
        rows = dict(answers)
        while lost := [env for env, row in rows.items() if row is None]:
            for env in lost:
                number = self._episodes[env].number + 1
                self._episodes[env] = _Episode(number, self._seed_of(env, number))
            rows |= self._pool.reset({env: self._episodes[env].seed for env in lost})
        return [row for _, row in sorted(rows.items()) if row is not None]


@dataclass
class _Episode:
    """An episode in progress."""

    number: int
    seed: int
    total: float = 0.0
    steps: int = 0
    success: bool = False

    def add(self, row: ChunkResult) -> None:
        """Take a chunk into account."""
        self.total += row.reward
        self.steps = row.info["steps"]
        self.success |= row.info["success_any"]


def _stacked(rows: list[ChunkResult]) -> Obs:
    return {key: np.stack([row.obs[key] for row in rows]) for key in rows[0].obs}
