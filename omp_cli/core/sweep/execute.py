"""The jobs of a sweep, each as soon as what it needs is there and the engine has room."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import get_args

from omp_cli.core.base.errors import RunFailed
from omp_cli.core.base.locks import is_held
from omp_cli.core.base.manifest import write_manifest
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.base.signals import stop_requests
from omp_cli.core.sweep.job import POLL, Job, JobOutcome, State
from omp_cli.core.sweep.local import Engine

SELDOM = 30
"""Times as long as the last note took until the next one."""


def execute(run: Run, jobs: Sequence[Job], engine: Engine, progress: Progress) -> None:
    """Do what is not done yet; the run's manifest lists every job, while they run as of a moment ago.

    Raises:
        RunFailed: some jobs failed; all that do not need them were done.
        Interrupted, Terminated: somebody asked to stop; the jobs at work have ended in good order.
        OSError: the sweep's manifest cannot be written; the jobs at work have ended in good order.
    """
    sweep = _Sweep(run, jobs, engine, progress)
    with stop_requests() as request:
        try:
            try:
                while (sweep.waiting or sweep.working) and not request.error:
                    sweep.step()
                    sweep.keep_noted()
                    time.sleep(POLL)
            finally:  # also where the sweep itself cannot go on (a full disk): the jobs at work save first
                engine.stop()
                while sweep.working:
                    sweep.collect()
                    time.sleep(POLL)
        finally:
            engine.close()
            sweep.note_down()
    count = sweep.count()
    if request.error:
        raise request.error(f"stopped with {count['finished']} of {len(jobs)} jobs finished", "run the same line again")
    if lost := count["failed"] + count["interrupted"]:
        raise RunFailed(
            f"{lost} of {len(jobs)} jobs failed" + (f", {count['blocked']} need them" if count["blocked"] else ""),
            f"see {run.folder / 'logs'}; the same line again tries them again",
        )


class _Sweep:
    """What is finished, at work and waiting."""

    def __init__(self, run: Run, jobs: Sequence[Job], engine: Engine, progress: Progress) -> None:
        self._run, self._engine, self._progress = run, engine, progress
        self._jobs = {job.name: job for job in jobs}
        found = {job.name: job.outcome() for job in jobs}
        self._outcomes = {n: o if o.state == "finished" else JobOutcome("waiting") for n, o in found.items()}
        self._changed, self._next_note = False, 0.0
        progress.start("jobs", len(jobs), self.count()["finished"])
        self.note_down()

    @property
    def waiting(self) -> list[str]:
        """Names of jobs that have not begun."""
        return self._in("waiting")

    @property
    def working(self) -> list[str]:
        """Names of jobs at work."""
        return self._in("running")

    def count(self) -> Counter[State]:
        """Jobs by state."""
        return Counter(outcome.state for outcome in self._outcomes.values())

    def step(self) -> None:
        """Collect what has ended and start what can start."""
        self.collect()
        for name in self.waiting:
            needs = self._jobs[name].needs
            before: State = "finished" if needs is None else self._outcomes[needs].state
            if before in ("failed", "interrupted", "blocked"):
                self._end(name, JobOutcome("blocked", error=f"needs {needs}"))
            elif before == "finished" and self._engine.has_room():
                if is_held((job := self._jobs[name]).folder):
                    self._progress.note(f"{name}: another process is at work in {job.folder}, and is waited for")
                self._engine.start(job)
                self._set(name, JobOutcome("running"))
                self._show(0)

    def collect(self) -> None:
        """Note what has ended."""
        for name, outcome in self._engine.ended().items():
            if outcome.state == "failed":
                self._progress.note(f"failed: {name}: {outcome.error} ({self._jobs[name].log})")
            self._end(name, outcome)

    def _in(self, state: State) -> list[str]:
        return [name for name, outcome in self._outcomes.items() if outcome.state == state]

    def _end(self, name: str, outcome: JobOutcome) -> None:
        self._set(name, outcome)
        self._show(1)

    def _set(self, name: str, outcome: JobOutcome) -> None:
        self._outcomes[name], self._changed = outcome, True

    def _show(self, ended: int) -> None:
        """The bar: how many are at work, which began last, minutes left."""
        working, figures = self.working, {}
        if working:
            figures = {"at_work": f"{len(working)}, {working[-1]}"}
        if (left := self._seconds_left()) is not None:
            figures["minutes_left"] = f"{left / 60:.0f}"
        self._progress.advance(ended, **figures)

    def _seconds_left(self) -> float | None:
        """By the mean time of finished jobs of each kind; None while one kind has none, and at the end."""
        times: dict[str, list[float]] = {}
        for name, outcome in self._outcomes.items():
            if outcome.state == "finished" and outcome.seconds is not None:
                times.setdefault(self._jobs[name].command, []).append(outcome.seconds)
        left = Counter(self._jobs[name].command for name in (*self.waiting, *self.working))
        if not left or not left.keys() <= times.keys():
            return None
        total = sum(count * sum(times[kind]) / len(times[kind]) for kind, count in left.items())
        return total / max(len(self.working), 1)

    def keep_noted(self) -> None:
        """Note changes down, but so seldom that a manifest of thousands of jobs takes a small share of the time."""
        if self._changed and time.monotonic() >= self._next_note:
            self.note_down()

    def note_down(self) -> None:
        """Write down how far every job is."""
        began = time.monotonic()
        jobs = [
            {"name": name, "command": self._jobs[name].command, **asdict(outcome)}
            for name, outcome in self._outcomes.items()
        ]
        count = self.count()
        self._run.metrics(jobs=jobs, states={state: count[state] for state in get_args(State)})
        write_manifest(self._run.folder, self._run.manifest)
        ended = time.monotonic()
        self._changed, self._next_note = False, ended + SELDOM * (ended - began)
