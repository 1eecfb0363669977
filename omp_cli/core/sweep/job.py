"""One job: its folder says how far it is and, held by a process, that it is at work; its log shows what it said."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from omp_cli.core.base.config import same_setting
from omp_cli.core.base.errors import OmpError, UsageError, machine_error, one_line
from omp_cli.core.base.locks import is_held
from omp_cli.core.base.manifest import FILE_NAME, Manifest, Status, read_manifest
from omp_cli.core.base.processes import ENDS_WITH_STDIN
from omp_cli.core.base.run import CHECKPOINTS, EPISODES
from omp_cli.core.base.signals import ERRORS

PROGRAM = (sys.executable, "-m", "omp_cli")
POLL = 0.1
"""Seconds between looks at what is at work."""
State = Literal["waiting", "running", "finished", "interrupted", "failed", "blocked"]
STATES: dict[Status, State] = {
    "succeeded": "finished",
    "running": "interrupted",
    "interrupted": "interrupted",
    "failed": "failed",
}
"""What a manifest's status means for a job that nobody works on."""
NO_SETTINGS = ("--workers", "--device")
"""Options that a run to be resumed does not know of itself, since they change none of its results."""


@dataclass(frozen=True)
class JobOutcome:
    """How far a job is: seconds of its last run, and why it did not succeed."""

    state: State
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Job:
    """One ``omp`` line.

    Attributes:
        name: the job's folder below the sweep's.
        command: "prepare", "pretrain", "finetune" or "eval".
        root: the sweep's folder.
        line: the words after ``omp``.
        settings: what they come to, ``{dotted key: {"value", "source"}}``.
        needs: name of the job that comes first.
    """

    name: str
    command: str
    root: Path
    line: tuple[str, ...]
    settings: Mapping[str, Mapping[str, Any]] = field(repr=False)
    needs: str | None = None

    @property
    def folder(self) -> Path:
        """The folder of the job's run."""
        return self.root / self.name

    @property
    def log(self) -> Path:
        """What its process wrote."""
        return self.root / "logs" / f"{self.name}.log"

    def manifest(self) -> Manifest | None:
        """The manifest of the job's run; DataError when it is damaged."""
        return read_manifest(self.folder) if (self.folder / FILE_NAME).is_file() else None

    def outcome(self) -> JobOutcome:
        """How far the job is, by its manifest."""
        if (found := self.manifest()) is None:
            return JobOutcome("waiting")
        state = STATES[found.status]
        if state != "finished" and is_held(self.folder):
            state = "running"
        return JobOutcome(state, found.wall_seconds, found.error.message if found.error else None)

    def change(self) -> str | None:
        """The first setting that differs between what the folder holds and what is planned; None if none does.

        Settings are compared as by ``same_setting``. Data sets have their words in their folder's name, and what has
        nothing to go on from is made anew anyway.
        """
        found = self.manifest()
        begun = self._is_begun() or (self.command == "eval" and (self.folder / EPISODES).exists())
        if self.command == "prepare" or found is None or not (found.status == "succeeded" or begun):
            return None
        old = {key: entry.model_dump() for key, entry in found.config.items() if key != "checkpoint"}
        for key in sorted(old.keys() | self.settings.keys()):
            one, two = old.get(key), self.settings.get(key)
            if one and two and key == "nfe" and two["source"] == "default":
                # the policy's own number, or its algorithm's, and no line asks for another
                same = one["source"] in ("checkpoint", "default") or one["source"].startswith("method ")
            elif one and two and key == "dataset":
                same = Path(one["value"]).name == Path(two["value"]).name
            else:
                same = same_setting(one, two)
            if not same:
                was, now = ("not set" if entry is None else repr(entry["value"]) for entry in (one, two))
                return f"{key} {was}, planned with {now}"
        return None

    def next_line(self) -> tuple[str, ...]:
        """The line that makes it, or continues what an earlier one began."""
        if not self._is_begun():
            return self.line
        place = self.line.index(self.command) + 1
        again = {}  # of an option that is given twice the last counts
        for word, following in itertools.pairwise((*self.line[place:], "")):
            name, inline, value = word.partition("=")
            if name in NO_SETTINGS:
                again[name] = value if inline else following
        return (*self.line[:place], "--resume", str(self.folder), *itertools.chain.from_iterable(again.items()))

    def _is_begun(self) -> bool:
        """Whether there are checkpoints to go on from; the other commands find what they left by themselves."""
        return self.command in ("pretrain", "finetune") and (self.folder / CHECKPOINTS).exists()


class Work:
    """A job's process, from waiting for an earlier one of the same job to its outcome; never blocks.

    The process holds the job's folder; its standard input is a pipe whose other end is here, so that it saves and ends
    when this process is killed. Where another process turns out to hold the folder, the job waits for that one.

    Args:
        job: what to do.
        environment: variables of its process, besides those of this one.
    """

    def __init__(self, job: Job, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self.job, self._environment = job, environment
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0
        self._stopped = False

    def poll(self) -> JobOutcome | None:
        """Go on as far as is possible now; the outcome once there is one. What goes wrong here fails this job alone."""
        try:
            return self._go_on()
        except (OmpError, OSError) as error:  # a damaged manifest, a log that cannot be written, no room for a process
            return JobOutcome("failed", error=one_line(machine_error(error) or error))

    def _go_on(self) -> JobOutcome | None:
        """See ``poll``."""
        if self._process is None:
            return JobOutcome("interrupted") if self._stopped else self._begin()
        if (code := self._process.poll()) is None:
            return None
        if self._process.stdin is not None:
            self._process.stdin.close()
        if code == UsageError.exit_code and not self._stopped and is_held(self.job.folder):
            self._process = None
            return None
        return self._judge(code)

    def stop(self) -> None:
        """Ask the process to save and end; ``poll`` says when it has."""
        self._stopped = True
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _begin(self) -> JobOutcome | None:
        if is_held(self.job.folder):
            return None
        self.job.log.parent.mkdir(parents=True, exist_ok=True)
        with self.job.log.open("ab") as log:
            if (found := self.job.outcome()).state == "finished":  # by a process of an earlier sweep
                return found
            line = self.job.next_line()
            log.write(f"$ omp {shlex.join(line)}\n".encode())
            log.flush()
            self._began = log.tell()
            self._process = subprocess.Popen(
                [*PROGRAM, *line],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment, ENDS_WITH_STDIN: "1"},
                start_new_session=True,  # Ctrl-C is for the sweep, which then ends its jobs
            )
        return None

    def _judge(self, code: int) -> JobOutcome:
        found = self.job.outcome()
        if code == 0 and found.state == "finished":
            return found
        if self._stopped or code in (*(error.exit_code for error in ERRORS.values()), -signal.SIGTERM):
            return JobOutcome("interrupted", found.seconds)
        return JobOutcome("failed", found.seconds, self._last_words(code))

    def _last_words(self, code: int) -> str:
        """Why there is no finished run: the error line of its log, else the last line."""
        if code == 0:
            return f"ended without a finished run in {self.job.folder}"
        with self.job.log.open("rb") as log:
            log.seek(self._began)
            lines = log.read().decode(errors="replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
        if code < 0:
            memory = ": the memory ran out (take fewer --workers), or somebody ended it"
            return f"ended by {signal.Signals(-code).name}{memory * (code == -signal.SIGKILL)}"
        return (errors or lines or [f"exit code {code}"])[-1]
