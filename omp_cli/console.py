"""The only module that prints: results to stdout, everything else to stderr, one JSON document with ``--json``."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.markup import escape

from omp_cli.core.base.errors import Interrupted, OmpError, Terminated
from omp_cli.core.base.files import defined, to_json
from omp_cli.core.base.table import Table, cell_text
from omp_cli.layout import laid_out

JSON_SCHEMA_VERSION = 1
NEXT = "next: omp "
"""How a line begins that says what to do next."""
GONE = (errno.EPIPE, errno.EIO, errno.EBADF)
"""What writing ends with to a closed pipe, to a terminal that is gone, and where a shell left a file for reading."""


class Stream:
    """A standard stream that may lose its reader (``| head -1``, a closed terminal): work goes on without one.

    What this locale's encoding does not have is written as an escape. A full disk is an error as ever.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, to nowhere once nobody reads."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._discard_if_gone(error)
            return len(text)

    def flush(self) -> None:
        """Flush, to nowhere once nobody reads."""
        try:
            self._stream.flush()
        except OSError as error:
            self._discard_if_gone(error)

    def discard(self) -> None:
        """Let all that is written from now on, and what waits in the buffer, go nowhere."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)

    def _discard_if_gone(self, error: OSError) -> None:
        if error.errno not in GONE:
            raise error
        self.discard()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Standard streams for a command: ``Stream`` for output, and what was closed (``>&-``) leads nowhere.

    A closed one would lend its number to the next file that is opened, in which C libraries then print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    old = sys.stdout, sys.stderr
    new = [Stream(s or os.fdopen(n, "w", closefd=False, encoding="utf-8")) for n, s in enumerate(old, 1)]
    sys.stdout, sys.stderr = new
    try:
        yield
    finally:
        sys.stdout, sys.stderr = old
        for stream in new:
            try:
                stream.flush()
            except OSError:  # a full disk, which was told; Python would try again at its end
                stream.discard()


class Console:
    """Output of one command.

    Args:
        as_json: print one JSON document on stdout and nothing else there.
        quiet: no progress and no notes.
        verbose: tracebacks and more notes.
        options: global options that a line needs which goes on from here: the plugins of this one.
        results: whether results are printed; of several processes the first alone prints them.
    """

    def __init__(
        self,
        as_json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        options: Sequence[str] = (),
        results: bool = True,
    ) -> None:
        self.as_json, self.quiet, self.verbose, self._options = as_json, quiet, verbose, tuple(options)
        self._results = results
        # stdout is often a pipe or a log in CI: fall back to a width that does not break tables
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 110
        # No emoji: what is shown may be called as one, such as a function ":robot:".
        self._out = RichConsole(width=width, highlight=False, soft_wrap=False, emoji=False)
        self._err = RichConsole(stderr=True, highlight=False, width=width, emoji=False)

    def note(self, text: str) -> None:
        """One line for the user on stderr."""
        if not self.quiet:
            self._err.print(escape(text), style="dim", soft_wrap=True)

    def error(self, error: OmpError, exit_code: int) -> None:
        """Report an error, or that somebody stopped the command: one line and its hint, or a JSON document."""
        begin, message = "[bold red]error:[/]", error.message
        if isinstance(error, Interrupted | Terminated):
            begin, message = "[bold yellow]stopped:[/]", message.removeprefix("stopped ")  # said once is enough
        self._err.print(f"{begin} {escape(message)}", soft_wrap=True)
        if error.hint:
            self._err.print(f"[dim]hint:[/]  {escape(error.hint)}", soft_wrap=True)
        if self.as_json:
            body = {"code": exit_code, "type": type(error).__name__, "message": error.message, "hint": error.hint}
            with suppress(OSError):  # stdout may be what failed; stderr has it
                self.json({**error.document, "error": body})

    def result(self, document: Mapping[str, Any], tables: Iterable[Table] = (), lines: Sequence[str] = ()) -> None:
        """Print a command's result: tables and lines for people, or the document as JSON.

        A line that begins with ``NEXT`` is what to do next; it gets the options that it needs.
        """
        if not self._results:
            return
        if self.as_json:
            self.json({"schema_version": JSON_SCHEMA_VERSION, **document})
            return
        for table in tables:
            self._out.print(laid_out(table, self._out.width), crop=False)
        for line in lines:
            if self._options and line.startswith(NEXT):
                line = f"{NEXT}{shlex.join(self._options)} {line.removeprefix(NEXT)}"
            self._out.print(escape(line), soft_wrap=True)

    def json(self, document: Mapping[str, Any]) -> None:
        """One JSON document on stdout; a figure that is not finite is null. ASCII where the encoding lacks a letter."""
        text = to_json(defined(document), indent=2)
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            text = to_json(defined(document), indent=2, ascii_only=True)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def times(self, title: str, seconds: Mapping[str, float], unit: str, count: int) -> None:
        """With --verbose: where time went, on stderr. ``count`` units of work were done in all."""
        total = sum(seconds.values())
        if self.verbose and total > 0:
            rows: list[Sequence[Any]] = [
                (part, f"{value:.2f}", f"{100 * value / total:.1f}", f"{1e3 * value / max(count, 1):.3g}")
                for part, value in seconds.items()
            ]
            rows.append(("together", f"{total:.2f}", "100.0", f"{1e3 * total / max(count, 1):.3g}"))
            columns = ("part", "seconds", "%", f"ms per {unit}")
            shown = laid_out(Table(f"Where time went: {title}", columns, rows), self._err.width)
            self._err.print(shown, crop=False)

    def progress(self) -> RichProgress:
        """A progress display; a few plain lines instead of a bar where stderr is not a terminal."""
        return RichProgress(self._err, self.quiet)


class RichProgress:
    """Implements ``core.progress.Progress`` on stderr; use as a context manager.

    Args:
        console: where to draw.
        quiet: draw nothing.
    """

    def __init__(self, console: RichConsole, quiet: bool) -> None:
        self._console, self._quiet = console, quiet
        self._bar: Any = None
        self._task: Any = None
        self._title, self._total, self._done = "", 0, 0

    def __enter__(self) -> RichProgress:
        if self._console.is_terminal and not self._quiet:
            from omp_cli.bar import make_bar

            self._bar = make_bar(self._console)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Begin a task."""
        self._title, self._total, self._done = title, total, done
        if self._bar is not None:
            from omp_cli.bar import fitting_title

            shown = fitting_title(title, total, self._console.width)
            self._task = self._bar.add_task(shown, total=total, completed=done, figures=[])

    def advance(self, units: int = 1, **figures: float | str) -> None:
        """Some units are done."""
        texts = [f"{name.replace('_', ' ')} {cell_text(value)}" for name, value in figures.items()]
        before = self._done
        self._done += units
        if self._bar is not None:
            self._bar.update(self._task, advance=units, figures=texts)
        elif not self._quiet and _tenth(before, self._total) != _tenth(self._done, self._total):
            text = f"{self._title}: {self._done}/{self._total}  {'  '.join(texts)}"
            self._console.print(escape(text), soft_wrap=True)

    def note(self, text: str) -> None:
        """One line, above the bar."""
        if not self._quiet:
            self._console.print(escape(text), style="dim", soft_wrap=True)


def _tenth(done: int, total: int) -> int:
    return 10 * done // max(total, 1)
