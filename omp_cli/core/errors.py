"""Errors a user can act on: one line that says what and where, a hint, and the documented exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OmpError(Exception):
    """Base of every error that is reported as one line instead of a traceback (exit code 1: the run failed).

    Args:
        message: what is wrong and where, in one line.
        hint: what to do about it, in one line.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RunFailed(OmpError):
    """The run itself failed (disk full, a worker died): exit code 1."""


class WorkerDied(RunFailed):
    """A process that the run had started is gone; what it did can be done again."""


class UsageError(OmpError):
    """A wrong option, name or configuration: exit code 2."""

    exit_code = 2


class DataError(OmpError):
    """Data, a checkpoint or a manifest is missing, damaged or of the wrong shape: exit code 3."""

    exit_code = 3


class MissingDependency(OmpError):
    """A simulator, an optional package or a device is not there: exit code 4."""

    exit_code = 4


class Diverged(OmpError):
    """Training produced a number that is not finite: exit code 5."""

    exit_code = 5


class Interrupted(OmpError):
    """Ctrl-C, after what was done so far has been saved: exit code 130."""

    exit_code = 130


class Terminated(OmpError):
    """SIGTERM, after what was done so far has been saved: exit code 143."""

    exit_code = 143


class HungUp(Terminated):
    """SIGHUP, the terminal is gone; otherwise as SIGTERM: exit code 129."""

    exit_code = 129


def did_you_mean(name: str, known: Iterable[str], limit: int = 3) -> str:
    """Hint that names the nearest of ``known``; falls back to the whole list when it is short, '' when it is not."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=limit, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known)}" if 0 < len(known) <= 12 else ""
