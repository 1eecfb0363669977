"""Errors a user can act on: one line that says what and where, a hint, and the documented exit code."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class OmpError(Exception):
    """Base of every error that is reported as one line instead of a traceback (exit code 1: the run failed).

    Args:
        message: what is wrong and where, in one line.
        hint: what to do about it, in one line; in Python it stands below the error in a traceback.

    Attributes:
        document: what the command came to in spite of it, as its result says it; JSON types.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.document: Mapping[str, Any] = {}
        self.hint_note = f"hint: {hint}"
        if hint:
            self.add_note(self.hint_note)


class RunFailed(OmpError):
    """The run itself failed (disk or memory full, a file locked, a worker died): exit code 1."""


class UsageError(OmpError):
    """A wrong option, name or configuration: exit code 2.

    ``key`` is the dotted name of the setting that is refused, where the message does not begin with it.
    """

    exit_code = 2
    key = ""


class DataError(OmpError):
    """Data, a checkpoint or a manifest is missing, damaged or of the wrong shape: exit code 3."""

    exit_code = 3


class MissingDependency(OmpError):
    """A simulator, an optional package or a device is not there: exit code 4."""

    exit_code = 4


class Diverged(OmpError):
    """Training, or a policy whose weights are finite, produced a number that is not: exit code 5."""

    exit_code = 5


def diverged_action(where: str, verb: str) -> Diverged:
    """What is raised for an action that is not finite; ``verb`` is what to do with an earlier checkpoint instead."""
    return Diverged(
        f"{where}: the policy's action is not finite although its weights are",
        f"training has diverged: {verb} an earlier checkpoint, or train again with a lower --lr",
    )


class Interrupted(OmpError):
    """Ctrl-C, after what was done so far has been saved: exit code 130."""

    exit_code = 130


class Terminated(OmpError):
    """SIGTERM, after what was done so far has been saved: exit code 143."""

    exit_code = 143


class HungUp(Terminated):
    """SIGHUP, the terminal is gone; otherwise as SIGTERM: exit code 129."""

    exit_code = 129


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Hint that names the nearest of ``known``; falls back to the whole list when it is short, '' when it is not."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known)}" if 0 < len(known) <= 12 else ""


FREE_SPACE = "free some space"
FREE_MEMORY = "take a smaller batch, fewer points or fewer --workers, or end other programs"
_READ = "allow this user to read it (chmod), or run omp as a user who may"
_FILES = "raise the limit (ulimit -n), or take fewer --workers"
_THREADS = "raise the limit (ulimit -u), or ask for fewer threads or --workers"
_LOCKED = "wait for that process, or end it; where a file system has no locks: HDF5_USE_FILE_LOCKING=FALSE"
_NO_LOCKS = "the file system's service of locks does not answer: choose a folder elsewhere, or ask who runs the machine"
_DEVICE = "the file itself may be whole: look after the disk or the network, then run the line again"
_FILTER = (
    "pip install hdf5plugin, then set HDF5_PLUGIN_PATH to what this prints: "
    "python -c 'import hdf5plugin; print(hdf5plugin.PLUGINS_PATH)'"
)
_BY_NUMBER: dict[int, tuple[str, str]] = {
    errno.ENOMEM: ("out of memory", FREE_MEMORY),
    errno.EMFILE: ("too many open files", _FILES),
    errno.ENFILE: ("too many open files", _FILES),
    errno.ENOSPC: ("no space left on device", FREE_SPACE),
    errno.EDQUOT: ("disk quota exceeded", FREE_SPACE),
    errno.EFBIG: ("file too large", FREE_SPACE),
    errno.EAGAIN: ("resource temporarily unavailable", "another process uses it, or a limit is reached; try again"),
    errno.EACCES: ("permission denied", _READ),
    errno.EPERM: ("operation not permitted", _READ),
    errno.ENOLCK: ("no locks available", _NO_LOCKS),
    errno.EIO: ("input/output error", _DEVICE),
    errno.ESTALE: ("stale file handle", _DEVICE),
    errno.ETIMEDOUT: ("connection timed out", _DEVICE),
    errno.ENODEV: ("no such device", _DEVICE),
    errno.ENXIO: ("no such device or address", _DEVICE),
    errno.ENOTCONN: ("transport endpoint is not connected", _DEVICE),
    errno.EHOSTDOWN: ("host is down", _DEVICE),
}
"""By the operating system's number: a refusal that is no fault of the file, in words, and what to do about it."""
_BY_WORDS: tuple[tuple[str, str, str], ...] = (
    (r"unable to lock file|file locking", "another process holds its lock", _LOCKED),
    (r"can't start new thread", "no more threads can be started", _THREADS),
    (
        r"OutOfMemoryError|DefaultCPUAllocator|not enough memory|bad_alloc|ALLOC_FAILED"
        r"|(can't|cannot|could not|unable to|failed to) allocate|out of memory|memory allocation failed|malloc.*failed",
        "out of memory",
        FREE_MEMORY,
    ),
    (r"too many open files", "too many open files", _FILES),
    (r"no space left on device", "no space left on device", FREE_SPACE),
)
"""The same refusals in the words of libraries with errors of their own: torch, HDF5, safetensors, Arrow, Blosc."""
_NOT_THERE = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_FILTERS = r"required filter|filter.*(not registered|not available)|can't open (plugin )?directory"
_NUMBER = re.compile(r"\b(?:errno[ =]+|os error )(\d{1,3})\b", re.IGNORECASE)
"""The number of a system error as libraries have it: HDF5 (C) writes "errno = 11", safetensors (Rust) "os error 12"."""


def one_line(error: BaseException, limit: int = 160, typed: bool = False) -> str:
    """An error's own words in one line, after its type where it is ``typed``; its type alone where it has none."""
    kind, words = type(error).__name__, " ".join(str(error).split())
    return (f"{kind}: {words}" if typed and words else words or kind)[:limit]


def machine_error(error: BaseException, where: str = "") -> OmpError | None:
    """What to report where the machine refused (memory, files, threads, locks, permission, disk), not the data.

    Causes are looked at as well: libraries raise errors of their own over those of the operating system.

    Args:
        error: what a library raised.
        where: what was being read or made, for the message; without it the file that the error names.

    Returns:
        ``RunFailed`` (``MissingDependency`` for a filter of HDF5 that is not installed); None where nothing shows that
        the machine is at fault.
    """
    for cause in causes(error):
        if isinstance(cause, OmpError):
            continue
        place = where or str(getattr(cause, "filename", None) or "")
        before = f"{place}: " if place else ""
        words = f"{type(cause).__name__}: {one_line(cause, 1000)}"
        if isinstance(cause, OSError | RuntimeError) and re.search(_FILTERS, words, re.IGNORECASE):
            return MissingDependency(
                f"{before}needs a filter of HDF5 that is not installed ({one_line(cause)})", _FILTER
            )
        if isinstance(cause, MemoryError):
            return RunFailed(f"{before}out of memory", FREE_MEMORY)
        if isinstance(cause, ValueError | KeyError | TypeError | ImportError):
            continue  # these quote what stands in a file; a library that does not load names memory for other reasons
        number = system_error(cause)
        if number is None or number == errno.EAGAIN:
            for pattern, reason, hint in _BY_WORDS:
                if re.search(pattern, words, re.IGNORECASE):
                    return RunFailed(f"{before}{reason}", hint)
        if number in _BY_NUMBER:
            reason, hint = _BY_NUMBER[number]
            return RunFailed(f"{before}{reason}", hint)
    return None


@contextmanager
def also_for_memory(cure: str) -> Iterator[None]:
    """Where the memory does not suffice for what is done inside, the hint begins with this ``cure``; "" adds none."""
    try:
        yield
    except Exception as error:
        found = error if isinstance(error, OmpError) else machine_error(error)
        if not cure or found is None or found.hint != FREE_MEMORY:
            raise
        raise RunFailed(found.message, f"{cure}; or {FREE_MEMORY}") from error


def data_error(error: BaseException, where: str, damage: str, hint: str = "") -> OmpError:
    """What to report where reading ``where`` ended in ``error``; the only way from a broad ``except`` to "damaged".

    Args:
        error: what a library raised.
        where: what was being read.
        damage: what it means unless the operating system says otherwise ("damaged", "damaged, or not an npz file").
        hint: what to do about the damage.

    Returns:
        What ``machine_error`` finds; else a DataError: what the operating system says (no such file, a folder), or
        ``damage``.
    """
    if (found := machine_error(error, where)) is not None:
        return found
    if isinstance(error, OSError) and (number := system_error(error)) in _NOT_THERE:
        return DataError(f"{where}: {os.strerror(number or 0).lower()}", "give a file or folder that is there")
    return DataError(f"{where}: {damage} ({one_line(error)})", hint)


def system_error(error: BaseException) -> int | None:
    """The operating system's number of an error, also where a library only quotes it; None where there is none."""
    if type(error).__module__ == "ssl":
        return None  # OSErrors too, but the numbers are OpenSSL's
    number = getattr(error, "errno", None)
    if not isinstance(number, int):
        quoted = _NUMBER.search(str(error))
        number = int(quoted[1]) if quoted else None
    return number if number in errno.errorcode else None


def unreadable(path: Path) -> bool:
    """Whether the permissions of a file, or of the nearest folder of it that is there, keep this user from reading."""
    for place in (path, *path.parents):
        if os.path.lexists(place):
            return not os.access(place, os.R_OK | (os.X_OK if place.is_dir() else 0))
    return False


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, then what caused it or was being handled when it was raised, and the members of groups."""
    waiting, seen = [error], set()
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += current.exceptions if isinstance(current, BaseExceptionGroup) else ()
        behind = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        waiting += [behind] if behind is not None else []
