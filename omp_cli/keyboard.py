"""What a person types at the terminal while a command goes on, key by key."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from omp_cli.core.base.errors import RunFailed, UsageError

_CONTROL = 6
"""Place of the control characters in what ``termios`` says of a terminal."""


@contextmanager
def typed_keys(what: str) -> Iterator[Callable[[], str]]:
    """A function that returns what was typed since its last call, without waiting and without Enter; "" for nothing.

    The terminal shows no typed keys meanwhile, and Ctrl-C stops as ever; Ctrl-Z does not, for a robot would go on
    moving while nobody could type. Where the terminal is gone nothing is typed any more, and SIGHUP says so; the
    function raises RunFailed in a process that ignores it.

    Args:
        what: needs the terminal, for the message.

    Raises:
        UsageError: standard input is no terminal, or the command was started in the background.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"{what}: standard input is no terminal, so nobody can type", "start it in a terminal")
    number = sys.stdin.fileno()
    try:
        in_front = os.tcgetpgrp(number) == os.getpgrp()
    except OSError:  # a terminal, and not that of this session
        in_front = False
    if not in_front:
        raise UsageError(f"{what}: started in the background, where nobody can type", "start it in the foreground")

    def typed() -> str:
        found = b""
        with suppress(OSError):  # a terminal that is gone may say so, or end
            while select.select([number], [], [], 0)[0]:
                if not (more := os.read(number, 1024)):
                    break
                found += more
            else:
                return found.decode(errors="replace")
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            raise RunFailed(f"{what}: the terminal is gone")
        return ""

    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    keys = termios.tcgetattr(number)
    keys[_CONTROL][termios.VSUSP] = bytes([os.fpathconf(number, "PC_VDISABLE")])
    termios.tcsetattr(number, termios.TCSANOW, keys)
    try:
        yield typed
    finally:
        with suppress(termios.error):  # it is gone
            termios.tcsetattr(number, termios.TCSAFLUSH, before)  # what was typed too much is for no shell
