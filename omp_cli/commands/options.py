"""What Typer is told of arguments and options: a command's own, and those that settings have (``core.base.flags``)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from omp_cli.commands.globals import Values, completing, told
from omp_cli.core.base.flags import Option


def argument(words: str, default: str = "", values: Values | None = None, **more: Any) -> Any:
    """A command's own argument.

    Args:
        words: what the argument is, for the help.
        default: words for what holds without it; "" where the help says nothing of that.
        values: gives the values that completion offers (``completing``); None offers none.
        more: further arguments of ``typer.Argument``.
    """
    return typer.Argument(help=told(words, default), autocompletion=completing(values), **more)


def option(
    words: str,
    *names: str,
    panel: str | None = None,
    default: str = "",
    values: Values | None = None,
    **more: Any,
) -> Any:
    """A command's own option, which sets no setting.

    ``names`` are what is written on a line, ``panel`` is a heading of the help; ``argument`` describes the rest.
    """
    return typer.Option(
        *names,
        help=told(words, default),
        show_default=not default,
        rich_help_panel=panel,
        autocompletion=completing(values),
        **more,
    )


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
