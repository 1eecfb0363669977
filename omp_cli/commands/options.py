"""What Typer is told of arguments and options: a command's own, and those that settings have (``core.base.flags``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer

from omp_cli.commands.globals import told
from omp_cli.core.base.flags import Option


def argument(words: str, default: str = "", values: Callable[[], Iterable[str]] | None = None, **more: Any) -> Any:
    """A command's own argument.

    Args:
        words: what the argument is, for the help.
        default: words for what holds without it; "" where the help says nothing of that.
        values: gives the values that completion offers; None offers none.
        more: further arguments of ``typer.Argument``.
    """
    return typer.Argument(help=told(words, default), autocompletion=_completing(values), **more)


def option(
    words: str,
    *names: str,
    panel: str | None = None,
    default: str = "",
    values: Callable[[], Iterable[str]] | None = None,
    **more: Any,
) -> Any:
    """A command's own option, which sets no setting.

    ``names`` are what is written on a line, ``panel`` is a heading of the help; ``argument`` describes the rest.
    """
    words = told(words, default)
    return typer.Option(*names, help=words, rich_help_panel=panel, autocompletion=_completing(values), **more)


def _completing(values: Callable[[], Iterable[str]] | None) -> Callable[[str], list[str]] | None:
    """The function by which Typer completes what has been typed so far to one of the values."""
    if values is None:
        return None
    offered = values

    def begin_so(incomplete: str) -> list[str]:
        return [str(value) for value in offered() if str(value).startswith(incomplete)]

    return begin_so


def annotation(of: Option) -> Any:
    """The annotation from which Typer makes the option of a setting."""
    name, flag = of.name, of.flag
    with_no = of.kind is bool and not flag.only_on
    return Annotated[
        of.kind | None,
        option(
            of.words,
            f"{name}/--no-{name.removeprefix('--')}" if with_no else name,
            panel=flag.panel,
            default=of.default,
            values=of.values,
            metavar=flag.metavar,
            min=of.least,
        ),
    ]
