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
        words: what it is.
        default: words for what happens without it.
        values: what completion offers.
        more: for Typer.
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
    """A command's own option, one that sets nothing; ``argument`` describes the rest, names and panel are Typer's."""
    words = told(words, default)
    return typer.Option(*names, help=words, rich_help_panel=panel, autocompletion=_completing(values), **more)


def _completing(values: Callable[[], Iterable[str]] | None) -> Callable[[str], list[str]] | None:
    """Typer's completion by the values that begin as what has been typed."""
    if values is None:
        return None
    offered = values

    def begin_so(incomplete: str) -> list[str]:
        return [str(value) for value in offered() if str(value).startswith(incomplete)]

    return begin_so


def annotation(of: Option) -> Any:
    """The parameter's annotation of an option that a setting has."""
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
