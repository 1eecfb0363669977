"""Environments for reinforcement learning in worker processes; they reset themselves and survive a worker's death.

What happens depends on the seeds and the actions alone, not on how many processes share the environments.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.errors import OmpError, RunFailed
from omp_cli.core.rl.worker import Child, Death, Here, Row
from omp_cli.core.suites.chunking import ChunkEnv, Obs
from omp_cli.core.timing import Stopwatch

RESTARTS_IN_A_ROW = 3
"""Restarts of one worker without a successful step in between, after which the run fails."""


@dataclass(frozen=True)
class Finished:
    """An episode that ended.

    Attributes:
        env: environment, 0 ... N - 1.
        seed: of its start state.
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
        reward: (N,) summed over the chunk, or 1 at success (``Workers``).
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


class Workers:
    """N environments in P processes.

    Args:
        make: makes one environment; called where the environment is to run. Simulators may be built at the first reset.
        envs: N.
        workers: P, at most N of them; a single one is this process, where errors of an environment arrive as they are.
        seed_of: (environment, number of its episode) -> seed. Called in this process.
        end_on_success: a chunk with success ends the episode, as terminated.
        reward: the environment's own, or 1 for a chunk with success and 0 for any other.
        note: told of a worker's death, in one line.
        patience: seconds without an answer after which a worker is taken for dead, and killed.

    Attributes:
        num_envs: N.
        restarts: workers replaced so far.
    """

    def __init__(
        self,
        make: Callable[[], ChunkEnv],
        envs: int,
        workers: int,
        seed_of: Callable[[int, int], int],
        *,
        end_on_success: bool = False,
        reward: Literal["environment", "success"] = "environment",
        note: Callable[[str], None] = lambda _: None,
        patience: float = 300.0,
    ) -> None:
        self.num_envs, self.restarts = envs, 0
        self._setup = (make, end_on_success)
        self._seed_of, self._reward, self._note, self._patience = seed_of, reward, note, patience
        self._episodes: list[_Episode] = []
        count = max(1, min(workers, envs))
        ends = [envs * worker // count for worker in range(count + 1)]
        self._parts = [range(first, last) for first, last in pairwise(ends)]
        self._deaths = [0] * count
        self._workers: list[Here | Child] = [Here(*self._setup)]
        if count > 1:
            self._workers = [Child(f"environment worker {index}", *self._setup) for index in range(count)]

    def reset(self) -> Obs:
        """Start every environment on its first episode; raises as ``step``.

        Returns:
            {key: (N, T, ...)}.
        """
        self._episodes = [_Episode(0, self._seed_of(env, 0)) for env in range(self.num_envs)]
        answers = self._ask(range(len(self._workers)), "reset", [episode.seed for episode in self._episodes])
        return _stacked([row for index, answer in enumerate(answers) for row in self._rows(index, answer)])

    def step(self, actions: NDArray[np.float32]) -> Stepped:
        """Execute a chunk in every environment and begin new episodes where one has ended.

        Args:
            actions: (N, E, A).

        Raises:
            RunFailed: a worker died again and again, or an environment in one failed.
            OmpError: as an environment raised it.
        """
        upcoming = [self._seed_of(env, episode.number + 1) for env, episode in enumerate(self._episodes)]
        answers = self._ask(range(len(self._workers)), "step", actions, upcoming)
        lost = np.zeros(self.num_envs, np.bool_)
        rows: list[Row] = []
        for index, answer in enumerate(answers):
            if isinstance(answer, Death):
                lost[self._parts[index]] = True
            else:
                self._deaths[index] = 0
            rows += self._rows(index, answer)
        finished: list[Finished] = []
        for env, (row, episode) in enumerate(zip(rows, self._episodes, strict=True)):
            episode.total += row.reward
            episode.steps += row.steps
            episode.success |= row.success
            if row.final is not None:
                end = (episode.total, episode.steps, episode.success, row.terminated)
                finished.append(Finished(env, episode.seed, *end))
                self._episodes[env] = _Episode(episode.number + 1, upcoming[env])
        return Stepped(
            obs=_stacked(rows),
            reward=np.array([row.reward if self._reward == "environment" else row.success for row in rows], np.float64),
            terminated=np.array([row.terminated for row in rows], np.bool_),
            truncated=np.array([row.truncated for row in rows], np.bool_),
            steps=np.array([row.steps for row in rows], np.int64),
            final={env: row.final for env, row in enumerate(rows) if row.final is not None},
            lost=lost,
            finished=finished,
        )

    def seconds_by_part(self) -> dict[str, float]:
        """Wall time by part (``ChunkEnv.seconds_by_part``) over all environments; a dead worker's is forgotten."""
        watch = Stopwatch()
        for answer in self._ask(range(len(self._workers)), "seconds"):
            if not isinstance(answer, Death):  # the next step replaces it
                for part, seconds in answer.items():
                    watch.add(part, seconds)
        return watch.seconds

    def close(self) -> None:
        """Free the simulators and end the processes."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.join()
        self._workers = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, indices: Sequence[int], command: str, *columns: Any) -> list[Any]:
        """Give a command to workers, each with its rows of ``columns`` (N, ...), then collect every answer."""
        for index in indices:
            part = slice(self._parts[index].start, self._parts[index].stop)
            self._workers[index].send(command, *(column[part] for column in columns))
        deadline = time.monotonic() + self._patience
        answers = [self._workers[index].receive(deadline) for index in indices]
        for answer in answers:
            if isinstance(answer, OmpError):
                raise answer
        return answers

    def _rows(self, index: int, answer: list[Row] | Death) -> list[Row]:
        """A worker's rows; where it has died, those of new episodes in the one that takes its place."""
        while isinstance(answer, Death):
            if self._deaths[index] == RESTARTS_IN_A_ROW:
                raise RunFailed(
                    f"environment worker {index} died {RESTARTS_IN_A_ROW + 1} times in a row ({answer.reason})",
                    "--workers 1 shows an error of the environment itself; if memory is short, use fewer environments",
                )
            self._deaths[index] += 1
            self.restarts += 1
            part = self._parts[index]
            what = "environment, its episode does" if len(part) == 1 else "environments, their episodes do"
            self._note(
                f"environment worker {index} died ({answer.reason}); restarted with {len(part)} {what} not count"
            )
            self._workers[index] = Child(f"environment worker {index}", *self._setup)
            for env in part:
                number = self._episodes[env].number + 1
                self._episodes[env] = _Episode(number, self._seed_of(env, number))
            answer = self._ask([index], "reset", [episode.seed for episode in self._episodes])[0]
        return answer


@dataclass
class _Episode:
    """An episode in progress."""

    number: int
    seed: int
    total: float = 0.0
    steps: int = 0
    success: bool = False


def _stacked(rows: list[Row]) -> Obs:
    return {key: np.stack([row.obs[key] for row in rows]) for key in rows[0].obs}
