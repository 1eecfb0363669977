"""Ctrl-C and SIGTERM as requests to stop at the next safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from omp_cli.core.errors import Interrupted, OmpError, Terminated


class StopRequest:
    """Set once somebody asked to stop; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.error: type[OmpError] | None = None

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.error is Interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.error = Interrupted if number == signal.SIGINT else Terminated


@contextmanager
def stop_requests(enabled: bool = True) -> Iterator[StopRequest]:
    """Collect SIGINT and SIGTERM instead of dying of them (main thread only); the old handlers come back at the end."""
    request = StopRequest()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield request
        return
    old = {number: signal.signal(number, request._handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
