"""One writer per folder: a lock of the operating system, which ends with its process however that ends.

The lock is the hidden file ``.lock`` in the folder. It holds the process id and the time of the one at work, and goes
when the work is done; what a killed process leaves of it hinders nobody. Processes that the holder has started do not
inherit it, so that a run whose parent was killed can be resumed while its workers are still ending.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import LEFTOVER, remove
from omp_cli.core.base.manifest import FILE_NAME

LOCK = ".lock"
PATIENCE = 1.0
"""Seconds that a holder is waited for: it may be about to end, or somebody only looks (``is_held``)."""


WAIT = "wait for it, or choose another folder with --out DIR"


@contextmanager
def hold(folder: Path, hint: str = WAIT) -> Iterator[None]:
    """Hold a folder, which must be there, until the block ends; this process may hold it already.

    Temporary files that killed processes left there are removed: nobody else writes there now.

    Raises:
        UsageError: another process holds it; the message has its process id.
        OSError: the lock cannot be written.
    """
    path = folder.resolve() / LOCK
    lock = FileLock(path, timeout=PATIENCE, is_singleton=True, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise _taken(folder, hint) from None
    outermost = lock.lock_counter == 1
    try:
        if outermost:
            since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            path.write_text(f"{os.getpid()} {since}\n", encoding="utf-8")
            _remove_leftovers(path.parent)
        yield
    finally:
        if outermost:  # while it is locked: who opened it meanwhile sees that it is gone, and makes a new one
            path.unlink(missing_ok=True)
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process, this one included, holds the folder."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:  # no lock, no folder, or a file of somebody who lets nobody look
        return False
    try:
        return not lock_descriptor(descriptor, blocking=False)
    finally:
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    """What ``atomic`` left in a folder and in those right below it, but for runs of their own, which have own locks."""
    below = (p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and not LEFTOVER.fullmatch(p.name))
    for place in (folder, *below):
        if place != folder and any((place / name).exists() for name in (FILE_NAME, LOCK)):
            continue
        for path in [p for p in place.iterdir() if LEFTOVER.fullmatch(p.name)]:
            remove(path)


def refuse_held(folder: Path) -> None:
    """UsageError, as of ``hold``, where a process holds the folder."""
    if is_held(folder):
        raise _taken(folder, WAIT)


def _taken(folder: Path, hint: str) -> UsageError:
    return UsageError(f"{folder}: {_holder(folder / LOCK)} is at work there", hint)


def _holder(path: Path) -> str:
    """Who holds a lock, by what its holder has written there."""
    try:
        process, since = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # it has only just begun, or has just ended
        return "another process"
    return f"process {process} (since {since})"
