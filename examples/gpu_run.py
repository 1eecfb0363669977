"""How a part of ``gpu_check.py`` runs: a command in a process of its own, with a time limit, that becomes rows."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omp_cli.core.base.errors import OmpError


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure with its unit, or why there is none."""

    part: str
    what: str
    value: float | None
    unit: str = ""
    note: str = ""


class PartFailed(Exception):
    """A part that did not come to its end: one line says why."""


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        name: what it is called in the table.
        line: its command.
        rows: the figures of what it printed on its standard output; ``PartFailed`` where there are none.
        seconds: it may take so long, and no longer than is left.
        partial: whether ``rows`` also reads what a part printed that failed or was ended.
    """

    name: str
    line: Sequence[object]
    rows: Callable[[str], Iterable[Row]]
    seconds: float
    partial: bool = False


def run_part(part: Part, seconds: float, folder: Path) -> list[Row]:
    """The rows of a part, one of them with the reason where it failed, crashed or took too long.

    What it writes is kept: its standard error in ``logs/NAME.txt``, its standard output in ``logs/NAME.out.txt``.
    """
    limit = min(part.seconds, seconds)
    if limit < 1:
        return [Row(part.name, "", None, note="skipped: no time is left, --minutes gives it more")]
    log = folder / "logs" / f"{part.name.replace(' ', '-').replace(',', '')}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    printed = log.with_suffix(".out.txt")
    ended: list[Row] = []
    try:
        _run([str(word) for word in part.line], limit, printed, log)
    except PartFailed as failed:
        ended = [Row(part.name, "", None, note=f"failed: {failed}{_told(log) or _told(printed)}")]
    except OSError as error:
        return [Row(part.name, "", None, note=f"failed: {error}")]
    if ended and not part.partial:
        return ended
    try:
        return [*part.rows(_text(printed)), *ended]
    except (PartFailed, ValueError, KeyError, TypeError, IndexError, OSError, OmpError) as error:
        why = str(error) if isinstance(error, PartFailed) else f"{type(error).__name__}: {error}"
        return ended or [Row(part.name, "", None, note=f"failed: no figures in its output ({why})")]


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _told(file: Path) -> str:
    """The last line of a log that speaks of an error, else its last one, in brackets; nothing of an empty log."""
    lines = [line.strip() for line in _text(file).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines
    return f" ({errors[-1][:160]})" if errors else ""


def _run(line: Sequence[str], limit: float, printed: Path, log: Path) -> None:
    """Run a command; it is ended with all its processes after ``limit`` seconds, and what it wrote until then stays."""
    # Wide, so that nobody cuts a message to the width of a terminal; unbuffered, so that a kill loses none.
    environment = os.environ | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    with printed.open("w", encoding="utf-8") as out, log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            line, stdout=out, stderr=errors, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise PartFailed(f"not done within {limit:.0f} s") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code:
        raise PartFailed(f"signal {-code}" if code < 0 else f"exit code {code}")
