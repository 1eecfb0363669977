"""N environments in P processes: whatever is measured, learned from or filmed in them is asked for here.

What happens depends on the seeds and the actions alone, not on how many processes share the environments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.timing import summed
from omp_cli.core.envs.chunking import ChunkEnv, Obs
from omp_cli.core.envs.workers import Death, Workers

PATIENCE = 300.0
"""Seconds without an answer after which a worker is taken for dead."""


@dataclass(frozen=True)
class ChunkResult:
    """What one environment did with one chunk, or showed when it was reset.

    Attributes:
        obs: {key: (T, ...)} what to act on next; of the new episode where one has begun.
        info: what ``ChunkEnv`` says of the chunk, or of the reset.
        reward: summed over the chunk.
        terminated: the episode ended for good: no value follows.
        truncated: it was cut at the step limit.
        final: the last observation of an episode that a new one has followed.
    """

    obs: Obs
    info: dict[str, Any]
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    final: Obs | None = None


class Group:
    """The environments of one worker, by number; each is made when it is first reset."""

    def __init__(self, make: Callable[[], ChunkEnv], end_on_success: bool) -> None:
        self._make, self._end_on_success = make, end_on_success
        self._envs: dict[int, ChunkEnv] = {}

    def reset(self, seeds: Mapping[int, int], filmed: Collection[int]) -> dict[int, ChunkResult]:
        """See ``EnvPool``."""
        for env in seeds:
            if env not in self._envs:
                self._envs[env] = self._make()
        film = {env: {"film": env in filmed} for env in seeds}
        return {env: ChunkResult(*self._envs[env].reset(seed=seed, options=film[env])) for env, seed in seeds.items()}

    def step(
        self, envs: Sequence[int], actions: NDArray[np.float32], upcoming: Mapping[int, int]
    ) -> dict[int, ChunkResult]:
        """See ``EnvPool``; one array (n, E, A), for many small ones cost more on their way than what they do."""
        return {env: self._chunk(env, action, upcoming.get(env)) for env, action in zip(envs, actions, strict=True)}

    def _chunk(self, number: int, action: NDArray[np.float32], upcoming: int | None) -> ChunkResult:
        env = self._envs[number]
        obs, reward, terminated, truncated, info = env.step(action)
        terminated |= self._end_on_success and info["success_any"]
        truncated &= not terminated
        final = None
        if upcoming is not None and (terminated or truncated):
            final, obs = obs, env.reset(seed=upcoming)[0]
        return ChunkResult(obs, info, float(reward), bool(terminated), bool(truncated), final)

    def seconds(self) -> dict[str, float]:
        """Wall time by part, over all environments."""
        return summed(env.seconds_by_part() for env in self._envs.values())

    def close(self) -> None:
        """Free the simulators."""
        for env in self._envs.values():
            env.close()


class EnvPool:
    """N environments in P workers; those of a worker that dies are lost, and wait in a new one for their reset.

    Args:
        make: makes one environment; called where it is to run, at its first reset. Goes to worker processes.
        envs: N.
        workers: P, at most N of them; a single one is this process, where errors of an environment arrive as they are.
        note: called with one line when a worker dies.
        lost: what becomes of an episode whose worker died, and of several, for that line.
        end_on_success: a chunk with success ends the episode, as terminated.

    Attributes:
        num_envs: N.
        patience: seconds without an answer after which a worker is taken for dead, and killed.
    """

    def __init__(
        self,
        make: Callable[[], ChunkEnv],
        envs: int,
        workers: int,
        note: Callable[[str], None],
        lost: tuple[str, str],
        *,
        end_on_success: bool = False,
    ) -> None:
        self.num_envs, self.patience, self._lost = envs, PATIENCE, lost
        count = max(1, min(workers, envs))
        ends = [envs * worker // count for worker in range(count + 1)]
        self._parts = [range(first, last) for first, last in pairwise(ends)]
        self._worker_of = [worker for worker, part in enumerate(self._parts) for _ in part]
        self._workers = Workers(Group(make, end_on_success), count, "environment worker", note)

    @property
    def restarts(self) -> int:
        """Workers replaced so far."""
        return self._workers.restarts

    def start(self) -> Self:
        """Wait until the processes run, so that their start is not a part of the first reset; raises as ``step``."""
        starting = list(range(len(self._workers)))
        while starting:
            answers = self._seconds(starting)
            starting = [worker for worker, answer in answers.items() if isinstance(answer, Death)]
            for worker in starting:
                self._replace(worker, answers[worker])
        return self

    def reset(self, seeds: Mapping[int, int], filmed: Collection[int] = ()) -> dict[int, ChunkResult | None]:
        """Begin the episodes of these seeds, by environment.

        Args:
            seeds: environment -> seed.
            filmed: those of them whose episode is to be filmed ("pictures" in ``info``).

        Returns:
            As ``step``; ``info`` has the "start_state".

        Raises:
            RunFailed, OmpError: as ``step``.
        """
        shares = self._shares(seeds).items()
        return self._rows("reset", {worker: ({env: seeds[env] for env in envs}, filmed) for worker, envs in shares})

    def step(
        self, actions: Mapping[int, NDArray[np.float32]], upcoming: Mapping[int, int] | None = None
    ) -> dict[int, ChunkResult | None]:
        """Execute one chunk in each of these environments.

        Args:
            actions: environment -> (E, A).
            upcoming: environment -> seed of the episode that begins at once where the chunk ends the present one.

        Returns:
            A row for each environment, and None for every one of a worker that died. Those have to be reset then.

        Raises:
            RunFailed: a worker died again and again, or an environment in one failed.
            OmpError: what an environment raised.
        """
        shares = self._shares(actions).items()
        chunks = {worker: np.stack([actions[env] for env in envs]) for worker, envs in shares}
        return self._rows("step", {worker: (envs, chunks[worker], upcoming or {}) for worker, envs in shares})

    def done(self, env: int) -> None:
        """What this environment was to do is done: deaths of its worker before do not count any more."""
        self._workers.done(self._worker_of[env])

    def seconds_by_part(self) -> dict[str, float]:
        """Wall time by part (``ChunkEnv.seconds_by_part``) over all environments; a dead worker's is forgotten."""
        answers = self._seconds(range(len(self._workers))).values()
        return summed(answer for answer in answers if not isinstance(answer, Death))

    def close(self) -> None:
        """Free the simulators and end the processes."""
        self._workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _shares(self, envs: Iterable[int]) -> dict[int, list[int]]:
        """These environments by worker."""
        shares: dict[int, list[int]] = {}
        for env in envs:
            shares.setdefault(self._worker_of[env], []).append(env)
        return shares

    def _rows(self, method: str, asked: Mapping[int, tuple[Any, ...]]) -> dict[int, ChunkResult | None]:
        """Call a method in workers, with arguments for each, and replace those that have died."""
        for worker, arguments in asked.items():
            self._workers.send(worker, method, *arguments)
        rows: dict[int, ChunkResult | None] = {}
        for worker, answer in self._workers.receive(asked, self.patience).items():
            if isinstance(answer, Death):
                self._replace(worker, answer)
                answer = dict.fromkeys(self._parts[worker])
            rows |= answer
        return rows

    def _seconds(self, workers: Collection[int]) -> dict[int, Any]:
        for worker in workers:
            self._workers.send(worker, "seconds")
        return self._workers.receive(workers, self.patience)

    def _replace(self, worker: int, death: Death) -> None:
        count = len(self._parts[worker])
        one, many = self._lost
        what = f"1 environment, its episode {one}" if count == 1 else f"{count} environments, their episodes {many}"
        self._workers.replace(worker, death, f"with {what}")
