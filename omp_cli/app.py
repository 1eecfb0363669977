"""The Typer app: command table, global options, and the way from an exception to an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
import types
from collections.abc import Collection
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from omp_cli import __version__
from omp_cli.commands import globals as g
from omp_cli.commands.table import COMMANDS, load
from omp_cli.console import standard_streams
from omp_cli.core.base.errors import (
    FREE_SPACE,
    Interrupted,
    OmpError,
    RunFailed,
    UsageError,
    machine_error,
    one_line,
    system_error,
    unreadable,
)
from omp_cli.core.base.plugins import loaded_plugins, way_there
from omp_cli.core.base.signals import ERRORS, heeded

EPILOG = (
    "Exit codes: 0 ok, 1 the run failed, 2 usage or configuration, 3 data missing or damaged, 4 a simulator, package "
    "or device is missing, 5 diverged, 129 the terminal is gone (SIGHUP), 130 interrupted, 143 terminated."
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"omp {__version__}\n")
        raise typer.Exit


@g.with_globals
def _callback(
    values: g.Globals,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Receives the global options that stand before the command's name."""


def make_app(words: Collection[str]) -> typer.Typer:
    """The Typer app; only the commands that are among ``words`` have their options, which take long to build."""
    app = typer.Typer(
        name="omp",
        help="One-step generative robot policies: prepare demonstrations, pretrain, finetune, evaluate, measure, "
        "export.\n\n"
        "Example: omp prepare metaworld --points 512, then omp pretrain --derivative dde, then omp eval",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="rich",
    )
    app.callback()(_callback)
    for name, entry in COMMANDS.items():
        app.command(name, help=entry.line if name not in words else None, rich_help_panel=entry.panel)(
            load(name) if name in words else _not_loaded
        )
    return app


def _not_loaded() -> None:
    """Stands for a command in the list of commands."""


def as_omp_error(error: BaseException) -> tuple[OmpError, int]:
    """What to report for an exception, and the exit code. Anything unforeseen is a failed run (1)."""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("interrupted"), Interrupted.exit_code
    if isinstance(error, OmpError):
        return error, error.exit_code
    if hasattr(error, "format_message"):  # Typer's own usage errors; its vendored Click is not to be imported
        return UsageError(error.format_message(), "see --help"), getattr(error, "exit_code", 2)
    place = f"{name}: " if (name := getattr(error, "filename", None)) else ""
    number = system_error(error)
    reason = (os.strerror(number) if number else getattr(error, "strerror", None) or str(error)).lower()
    way = way_there(error, otherwise="")
    if _cannot_write(error):
        told = f"{place}{reason}"
        return (RunFailed(told, way), 1) if way else (UsageError(told, "choose another folder with --out DIR"), 2)
    if (found := machine_error(error)) is not None:
        hint = f"{found.hint}; {g.current().again}" if found.hint == FREE_SPACE else found.hint
        return type(found)(found.message, f"{hint}; {way}" if way else hint), found.exit_code
    if isinstance(error, OSError):
        return RunFailed(f"{place}{reason}", way), 1
    if isinstance(error, UnicodeEncodeError):
        what = f"{error.object!a}: the encoding {error.encoding} of this locale lacks a letter of it"
        return UsageError(what, "set LC_ALL=C.UTF-8, or PYTHONUTF8=1"), 2
    if way:
        return RunFailed(one_line(error, typed=True), way), 1
    bug = "this looks like a bug"
    if used := loaded_plugins():  # what a part gave back may be wrong, which shows where it is used
        bug = f"{bug}, of omp or of what {' or '.join(map(str, used))} gave it"
    return RunFailed(f"{type(error).__name__}: {error}", f"{bug}; --verbose shows where"), 1


def _cannot_write(error: BaseException) -> bool:
    """Whether permissions kept something from being written; for what they keep from being read, --out is no help."""
    number, name = system_error(error), getattr(error, "filename", None)
    if number not in (errno.EACCES, errno.EPERM, errno.EROFS):
        return False
    return number == errno.EROFS or not (name and unreadable(Path(str(name))))


def _end(number: int, _: FrameType | None) -> None:
    raise ERRORS[number]((signal.strsignal(number) or f"signal {number}").lower(), g.current().again)


def _quicker_help() -> None:
    """Load Typer's help renderer without the two parts of Rich that omp's help never uses: a third of its time."""
    unused = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}
    if (len(sys.argv) > 1 and not {"-h", "--help"} & set(sys.argv)) or unused.keys() & sys.modules.keys():
        return
    for module, name in unused.items():
        sys.modules[module] = types.ModuleType(module)
        setattr(sys.modules[module], name, None)
    try:
        import typer.rich_utils  # noqa: F401
    finally:
        for module in unused:
            del sys.modules[module]


def main() -> None:
    """Entry point of ``omp``; ends the process with the documented exit code."""
    with standard_streams():
        sys.exit(_run())


def _run() -> int:
    """The command of this process's line; its exit code."""
    _quicker_help()
    # One OpenMP thread unless asked otherwise: a second one waits at every barrier when anything else runs.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for number in heeded():
        if number != signal.SIGINT:  # KeyboardInterrupt is Python's own way
            signal.signal(number, _end)
    g.set_current(g.Globals(json_="--json" in sys.argv, verbose=bool({"--verbose", "-v"} & set(sys.argv))))
    # The shell asks for options of any command, by a variable with the program's name; other programs have theirs.
    completing = any("OMP" in name.removesuffix("_COMPLETE") for name in os.environ if name.endswith("_COMPLETE"))
    try:
        if os.environ.pop("OMP_CLI_ENDS_WITH_STDIN", None):  # a job of omp sweep
            from omp_cli.core.base.processes import end_with_stdin

            end_with_stdin()
        g.load_plugins(g.plugins_of(sys.argv))
        code = _exit_code(make_app(COMMANDS if completing else sys.argv[1:]))
        sys.stdout.flush()  # a full disk shows now
    except (Exception, KeyboardInterrupt) as error:
        report, code = as_omp_error(error)
        if g.current().verbose:
            _print_traceback(error)
        g.current().console.error(report, code)
    return code


def _print_traceback(error: BaseException) -> None:
    """The traceback, without the hint, which the line of the error has below it."""
    told = traceback.TracebackException.from_exception(error)
    if isinstance(error, OmpError):
        told.__notes__ = [note for note in told.__notes__ or () if note != error.hint_note]
    sys.stderr.write("".join(told.format()))


def _exit_code(app: typer.Typer) -> int:
    try:
        return app(standalone_mode=False) or 0
    except typer.Exit as stop:
        return stop.exit_code
