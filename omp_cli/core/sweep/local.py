"""Jobs as processes of this machine; also the contract of an engine."""

from __future__ import annotations

from typing import Protocol

from omp_cli.core.sweep.job import Job, JobOutcome, Work


class Engine(Protocol):
    """Where jobs are done."""

    def has_room(self) -> bool:
        """Whether one more job may start now."""

    def start(self, job: Job) -> None:
        """Begin a job."""

    def ended(self) -> dict[str, JobOutcome]:
        """What has ended since the last call, by name; does not wait."""

    def stop(self) -> None:
        """Ask all to save and end; ``ended`` says when they have."""

    def close(self) -> None:
        """End at once what is left."""


class Local:
    """Processes beside this one.

    Args:
        workers: at once.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._works: list[Work] = []

    def has_room(self) -> bool:
        """See the contract."""
        return len(self._works) < self._workers

    def start(self, job: Job) -> None:
        """See the contract."""
        self._works.append(Work(job))

    def ended(self) -> dict[str, JobOutcome]:
        """See the contract."""
        found = {work: work.poll() for work in self._works}
        self._works = [work for work, outcome in found.items() if outcome is None]
        return {work.job.name: outcome for work, outcome in found.items() if outcome is not None}

    def stop(self) -> None:
        """See the contract."""
        for work in self._works:
            work.stop()

    def close(self) -> None:
        """See the contract."""
        for work in self._works:
            work.kill()
