"""Jobs as processes of this machine; also the contract of an engine."""

from __future__ import annotations

from typing import Protocol

from omp_cli.core.sweep.gpus import VISIBLE, Gpus
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
        gpus: lends each of them the GPUs that it sees; None where all see what this process sees.
    """

    def __init__(self, workers: int, gpus: Gpus | None = None) -> None:
        self._workers, self._gpus = workers, gpus
        self._works: list[Work] = []
        self._lent: dict[str, list[str]] = {}

    def has_room(self) -> bool:
        """See the contract."""
        return len(self._works) < self._workers

    def start(self, job: Job) -> None:
        """See the contract."""
        environment: dict[str, str] = {}
        if self._gpus is not None and not any("cuda:" in word for word in job.line):  # it names a GPU itself
            self._lent[job.name] = self._gpus.lend()
            environment[VISIBLE] = ",".join(self._lent[job.name])
        self._works.append(Work(job, environment))

    def ended(self) -> dict[str, JobOutcome]:
        """See the contract."""
        found = {work: work.poll() for work in self._works}
        self._works = [work for work, outcome in found.items() if outcome is None]
        for work, outcome in found.items():
            if outcome is not None and self._gpus is not None:
                self._gpus.give_back(self._lent.pop(work.job.name, []))
        return {work.job.name: outcome for work, outcome in found.items() if outcome is not None}

    def stop(self) -> None:
        """See the contract."""
        for work in self._works:
            work.stop()

    def close(self) -> None:
        """See the contract."""
        for work in self._works:
            work.kill()
