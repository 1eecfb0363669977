"""From settings to options: each field marked with a ``Flag`` becomes a Typer option, and a row of the reference."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from omp_cli.core.base.config import Flag, Layer, parse_value

SEPARATOR = "__"
"""Between the sections of a setting in the name of a Typer parameter."""


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        key: the setting, dotted.
        flag: its mark.
        field: the Pydantic field, or the family's section that ``flag.key`` lies in.
    """

    key: str
    flag: Flag
    field: FieldInfo

    @property
    def name(self) -> str:
        """As it is written on the line."""
        return self.flag.name or f"--{self.key.rpartition('.')[2].replace('_', '-')}"

    @property
    def parameter(self) -> str:
        """Name of the parameter of the Typer function."""
        return self.key.replace(".", SEPARATOR)

    @property
    def words(self) -> str:
        """The first sentence of the setting's docstring."""
        return self.flag.help or first_sentence(self.field.description or "")

    @property
    def kind(self) -> Any:
        """The type that Typer reads: a number, text, bool, Path, or a list of one of these."""
        if self.flag.key or self.flag.kind is object:
            return str if self.flag.kind is object else self.flag.kind
        return _typer_kind(self.field.annotation)

    @property
    def values(self) -> Callable[[], Any] | None:
        """What completion offers, if the values can be listed."""
        if self.flag.values is not None:
            return self.flag.values
        choices = _choices(self.field.annotation) if not self.flag.key else ()
        return (lambda: choices) if choices else None

    def default(self, of_preset: bool) -> str:
        """Words for what happens without the option; "" where nothing needs to be said."""
        if self.flag.default or self.flag.key or of_preset:
            return self.flag.default
        value = self.field.get_default(call_default_factory=True)
        if value is None or isinstance(value, bool | BaseModel) or self.field.is_required():
            return ""
        return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def annotation(self, of_preset: bool) -> Any:
        """The parameter's annotation for Typer."""
        default = self.default(of_preset)
        words = self.words + (f" (default: {default})" if default else "")
        return Annotated[
            self.kind | None,
            typer.Option(
                *self._names(),
                help=words,
                rich_help_panel=self.flag.panel,
                metavar=self.flag.metavar,
                min=_at_least(self.field) if self.kind in (int, list[int]) else None,
                autocompletion=None if self.values is None else self._complete,
            ),
        ]

    def _complete(self, incomplete: str) -> list[str]:
        return completed(self, incomplete)

    def _names(self) -> tuple[str, ...]:
        if self.kind is bool and not self.flag.only_on:
            return (f"{self.name}/--no-{self.name.removeprefix('--')}",)
        return (self.name,)

    def value(self, given: Any) -> Any:
        """The setting's value for what Typer has read; None where the option was not given."""
        if isinstance(given, list):
            return tuple(given) or None
        return parse_value(given) if self.flag.kind is object and given is not None else given


def options_of(model: type[BaseModel], prefix: str = "") -> Iterator[Option]:
    """The options of a configuration class and of its sections, in the order of the fields."""
    for name, field in model.model_fields.items():
        for flag in field.metadata:
            if isinstance(flag, Flag):
                yield Option(f"{prefix}{name}{'.' if flag.key else ''}{flag.key}", flag, field)
        inner = _plain(field.annotation)
        if inspect.isclass(inner) and issubclass(inner, BaseModel):
            yield from options_of(inner, f"{prefix}{name}.")


def union(*models: type[BaseModel]) -> list[Option]:
    """The options of several classes, each name once: the first class that has it says how it is read."""
    found: dict[str, Option] = {}
    for model in models:
        for option in options_of(model):
            found.setdefault(option.name, option)
    return list(found.values())


def parameters(offered: Iterable[Option], of_preset: bool = False) -> list[inspect.Parameter]:
    """The options as parameters of a Typer function; None is "not given" for each.

    Args:
        offered: the options.
        of_preset: whether defaults come from a preset, so that the fields' own would mislead.
    """
    return [
        inspect.Parameter(
            option.parameter, inspect.Parameter.KEYWORD_ONLY, annotation=option.annotation(of_preset), default=None
        )
        for option in offered
    ]


def flag_layer(model: type[BaseModel], given: Mapping[str, Any]) -> Layer:
    """The settings that were given as options, from Typer's values by the names of the options."""
    return Layer("flag", {o.key: o.value(given[o.name]) for o in options_of(model) if o.name in given})


def completed(option: Option, incomplete: str) -> list[str]:
    """The values of an option that begin so."""
    offered = option.values
    return [] if offered is None else [str(value) for value in offered() if str(value).startswith(incomplete)]


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, in one line."""
    line = " ".join(text.split())
    end = line.find(". ")
    return line if end < 0 else line[: end + 1]


def _plain(annotation: Any) -> Any:
    """A type without ``None`` and without ``Annotated``."""
    if typing.get_origin(annotation) is Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [_plain(kind) for kind in typing.get_args(annotation) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else str
    return annotation


def _choices(annotation: Any) -> tuple[str, ...]:
    """The values of a Literal, or of a tuple of them."""
    kind = _plain(annotation)
    if typing.get_origin(kind) is tuple:
        kind = _plain(typing.get_args(kind)[0])
    return tuple(map(str, typing.get_args(kind))) if typing.get_origin(kind) is Literal else ()


def _typer_kind(annotation: Any) -> Any:
    kind = _plain(annotation)
    if typing.get_origin(kind) is tuple:
        return types.GenericAlias(list, _typer_kind(typing.get_args(kind)[0]))
    return kind if kind in (int, float, bool, Path) else str


def _at_least(field: FieldInfo) -> int | None:
    """The smallest value of a whole number, or of the numbers of a tuple."""
    for mark in [*field.metadata, *_marks(field.annotation)]:
        if isinstance(mark, annotated_types.Ge) and isinstance(mark.ge, int):
            return mark.ge
        if isinstance(mark, annotated_types.Gt) and isinstance(mark.gt, int):
            return mark.gt + 1
        if isinstance(mark, FieldInfo) and (found := _at_least(mark)) is not None:
            return found
    return None


def _marks(annotation: Any) -> Iterator[Any]:
    """What stands in ``Annotated`` at any depth of a type."""
    if typing.get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
    for inner in typing.get_args(annotation):
        yield from _marks(inner)
