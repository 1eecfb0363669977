"""Worker processes: what they share with their parent and what they leave to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path

from omp_cli.core.base.plugins import load_plugin

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MOST_WORKERS = 8
"""The most worker processes that a command starts unless the line says otherwise."""
LEFT_TO_PARENT = (signal.SIGINT, signal.SIGHUP)
"""Signals that a terminal sends to a command and its workers alike; the command saves and ends its workers itself."""


def begin_worker(plugins: Sequence[Path] = ()) -> None:
    """Begin a worker process: it leaves Ctrl-C and the like to its parent, ends with it, and knows its plugins.

    The worker watches its parent, for a parent that was killed closes no queue that would end the worker.

    Args:
        plugins: what ``plugins.loaded_plugins`` says in the parent.
    """
    for number in LEFT_TO_PARENT:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    for path in plugins:
        load_plugin(path)


ENDS_WITH_STDIN = "OMP_CLI_ENDS_WITH_STDIN"
"""The variable that tells a command that its standard input closes when the process that started it ends."""


def end_with_stdin() -> None:
    """Ask this process to end, as SIGTERM does, once its standard input closes."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def starting_workers() -> Iterator[None]:
    """A context in which a parent starts workers, each of which gets one thread and no signal of the terminal.

    Numerical libraries read their number of threads when they load, before any line of ours runs in the worker; nor
    could it ignore a signal before.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_PARENT)
    resource_tracker.ensure_running()  # a process of this kind too; its start lifts the mask in part
    signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_PARENT)
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """The number of worker processes unless the line says otherwise: one per core, up to ``MOST_WORKERS``."""
    return min(cores(), MOST_WORKERS)
