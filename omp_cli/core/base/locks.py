"""One writer per folder: a lock of the operating system, which ends with its process however that ends.

The lock is the hidden file ``.lock`` in the folder. It holds process id, machine and time of the one at work, and goes
when the work is done; what a killed process leaves of it hinders nobody. Processes that the holder has started do not
inherit it, so that a run whose parent was killed can be resumed while its workers are still ending.

On a file system without locks (Lustre without ``-o flock``) the file itself is the lock. What a killed process leaves
of it hinders nobody on the same machine; on another one it cannot be told from a process that lives.
"""

from __future__ import annotations

import datetime
import errno
import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import LEFTOVER, quoted, remove
from omp_cli.core.base.manifest import FILE_NAME

LOCK = ".lock"
PATIENCE = 1.0
"""Seconds that a holder is waited for: it may be about to end, or somebody only looks (``is_held``)."""
LOCKLESS = (errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system without locks answers."""
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
    native = outermost and _locked(path) is not None  # else filelock has written who holds it, and takes it away
    try:
        if native:
            since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            path.write_text(f"{os.getpid()}\n{platform.node()}\n{since}\n", encoding="utf-8")
        if outermost:
            _remove_leftovers(path.parent)
        yield
    finally:
        if native:  # while it is locked: who opened it meanwhile sees that it is gone, and makes a new one
            path.unlink(missing_ok=True)
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process, this one included, holds the folder."""
    path = folder.resolve() / LOCK
    try:
        locked = _locked(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # no lock, no folder, or nobody may look
        return False
    if locked is not None:
        return locked
    try:
        with SoftFileLock(path, timeout=0):
            return False
    except (Timeout, PermissionError):  # what a killed process left where this one may not write
        return True


def _locked(path: Path) -> bool | None:
    """Whether a process, this one included, has locked a file; None where the file system has no locks.

    A shared lock is tried, for a network file system (NFS) grants no other to who opens a file for reading.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        return None
    finally:
        os.close(descriptor)
    return False


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
    path = folder / LOCK
    with suppress(OSError):  # it has just ended
        hint += "" if _locked(path) is not None else f"; where it is gone: rm {quoted(path)}"
    return UsageError(f"{folder}: {_holder(path)} is at work there", hint)


def _holder(path: Path) -> str:
    """Who holds a lock, by what its holder has written there."""
    try:
        process, machine, since = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # it has only just begun, or has just ended
        return "another process"
    where = "" if machine == platform.node() else f" on {machine}"
    return f"process {process}{where}" + (f" (since {since})" if not since.isdigit() else "")
