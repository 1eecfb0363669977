"""Ctrl-C, SIGTERM and SIGHUP as requests to stop at the next safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from omp_cli.core.base.errors import HungUp, Interrupted, OmpError, Terminated

ERRORS: dict[int, type[OmpError]] = {
    signal.SIGINT: Interrupted,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: HungUp,
}
"""The error with which a command ends that was asked to stop by a signal, by the signal's number."""


def heeded() -> list[int]:
    """The signals of ``ERRORS``, without SIGHUP where this process was started to ignore it (nohup)."""
    return [n for n in ERRORS if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]


class StopRequest:
    """Set once somebody asked to stop; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.error: type[OmpError] | None = None

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.error is Interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.error = ERRORS[number]


@contextmanager
def stop_requests(enabled: bool = True) -> Iterator[StopRequest]:
    """Collect signals instead of dying of them (main thread only); the old handlers come back at the end."""
    request = StopRequest()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield request
        return
    old = {number: signal.signal(number, request._handle) for number in heeded()}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
