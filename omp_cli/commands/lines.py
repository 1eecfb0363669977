"""The settings that a line would come to, by the parser and the configuration of its command; nothing is run."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from omp_cli.commands import globals as g
from omp_cli.commands.chosen import Resolved
from omp_cli.commands.table import load
from omp_cli.core.base.errors import UsageError
from omp_cli.core.families import SOURCES


def resolve(
    command: str, words: Sequence[str], start: tuple[str, str] | None = None
) -> Mapping[str, Mapping[str, Any]]:
    """The settings of ``omp COMMAND WORDS`` as ``{dotted key: {"value", "source"}}``; its inputs need not be there yet.

    ``start`` names suite and pre-training method of the policy that ``omp finetune`` will begin with.

    Raises:
        UsageError: an option or a value that the command would refuse, or a line that makes nothing.
        DataError: a configuration file that is missing.
    """
    before = g.current()
    g.set_current(g.Globals(dry_run=True, resolving=True, start=start))
    try:
        _parser(command, SOURCES.names())(list(words), prog_name=f"omp {command}", standalone_mode=False)
    except Resolved as found:
        return found.sources
    except Exception as error:
        if hasattr(error, "format_message"):  # Typer's own usage errors; its vendored Click is not to be imported
            raise UsageError(error.format_message(), f"see omp {command} --help") from None
        raise
    finally:
        g.set_current(before)
    raise UsageError("makes nothing", f"see omp {command} --help")


@functools.cache
def _parser(command: str, sources: tuple[str, ...]) -> Any:
    """The parser of a command, whose options depend on the sources that are there: a plugin brings some along."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command(command)(load(command))
    return typer.main.get_command(app)
