"""Independent jobs in environments, done by worker processes that work ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Generic, TypeVar

from omp_cli.core.envs.workers import Death, Workers
from omp_cli.core.suites.base import TaskEnv

J = TypeVar("J")
R = TypeVar("R")
E = TypeVar("E", bound=TaskEnv)


class Kept(Generic[E]):
    """One environment per worker, reused between jobs that need the same one."""

    def __init__(self) -> None:
        self._key: object = None
        self._env: E | None = None

    def get(self, key: object, make: Callable[[], E]) -> E:
        """The environment of ``key``, made if another or none is there."""
        if self._env is None or key != self._key:
            self.close()
            self._key, self._env = key, make()
        return self._env

    def close(self) -> None:
        """Free the environment, if there is one."""
        if self._env is not None:
            self._env.close()
        self._env = None


class _Desk(Generic[J, E, R]):
    """Where a worker does its jobs."""

    def __init__(self, function: Callable[[J, Kept[E]], R]) -> None:
        self._function = function
        self._kept: Kept[E] = Kept()

    def do(self, job: J) -> R:
        return self._function(job, self._kept)

    def close(self) -> None:
        self._kept.close()


def in_order(
    function: Callable[[J, Kept[E]], R], jobs: Iterable[J], workers: int, note: Callable[[str], None]
) -> Iterator[R]:
    """Results in the order of the jobs.

    Args:
        function: does a job, with the environment that its worker keeps.
        jobs: are drawn as workers become free, at most two for each worker ahead of the results that were taken.
        workers: processes; a single one is this process, which does not work ahead.
        note: called with one line when a worker dies; its job is done anew.

    Raises:
        RunFailed: a worker died over one job again and again.
        OmpError: what ``function`` raised.
    """
    jobs = iter(jobs)
    first = list(islice(jobs, max(1, workers)))
    count = max(1, len(first))  # no process without a job
    ahead = 1 if count == 1 else 2 * count
    waiting = enumerate(chain(first, jobs))
    with Workers(_Desk(function), count, "worker", note) as pool:
        busy: dict[int, tuple[int, J]] = {}
        results: dict[int, R] = {}
        taken = given = 0
        while True:
            for worker in range(len(pool)):
                if worker not in busy and given < taken + ahead and (job := next(waiting, None)) is not None:
                    busy[worker] = job
                    given += 1
                    pool.send(worker, "do", job[1])
            if taken in results:
                yield results.pop(taken)
                taken += 1
                continue
            if not busy:
                return
            for worker, answer in pool.receive(pool.answered(busy)).items():
                if isinstance(answer, Death):
                    pool.replace(worker, answer, "to do its job anew")
                    pool.send(worker, "do", busy[worker][1])
                else:
                    pool.done(worker)
                    results[busy.pop(worker)[0]] = answer
