"""What a person types at the terminal while a command goes on, key by key."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from omp_cli.core.base.errors import RunFailed, UsageError


@contextmanager
def typed_keys(what: str) -> Iterator[Callable[[], str]]:
    """A function that returns what was typed since its last call, without waiting and without Enter; "" for nothing.

    The terminal shows no typed keys meanwhile, and Ctrl-C stops as ever. The function raises RunFailed where the
    terminal is gone.

    Args:
        what: needs the terminal, for the message.

    Raises:
        UsageError: standard input is no terminal, or the command was started in the background.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{what}: standard input is no terminal, so nobody can type", "start it in a terminal")
    number = sys.stdin.fileno()
    if os.tcgetpgrp(number) != os.getpgrp():
        raise UsageError(f"{what}: started in the background, where nobody can type", "start it in the foreground")

    def typed() -> str:
        found = b""
        while select.select([number], [], [], 0)[0]:
            if not (more := os.read(number, 1024)):
                raise RunFailed(f"{what}: the terminal is gone")
            found += more
        return found.decode(errors="replace")

    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    try:
        yield typed
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
