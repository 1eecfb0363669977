"""Settings that have an option of their own: its name, type, bounds, words, default and values, all from the field.

Whoever parses a command line makes its parameters of these (``omp_cli.commands.options``).
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from omp_cli.core.base.config import Flag, default_text, typed
from omp_cli.core.base.layers import Layer, parse_value

SEPARATOR = "__"
"""What stands between the sections of a setting in the name of a parameter, where a dot cannot."""
NONE_MEANS = re.compile(r"[;,] None (?:for|takes) ([^;]+?)(?=[;.]|$)")
"""How a setting's docstring says what None means; these words are shown as the default."""


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        key: the dotted name of the setting.
        flag: the mark of the setting's field.
        field: the Pydantic field, or the family's section that ``flag.key`` lies in.
        others: the options of the same name of other configuration classes, which the line may mean instead.
        preset: the values of the preset that is taken unless the line names another, without any where the run has to
            be known first; None for a command without presets.
    """

    key: str
    flag: Flag
    field: FieldInfo
    others: tuple[Option, ...] = ()
    preset: Layer | None = None

    @property
    def name(self) -> str:
        """The option as it is written on a line, such as "--max-steps"."""
        return self.flag.name or f"--{self.key.rpartition('.')[2].replace('_', '-')}"

    @property
    def parameter(self) -> str:
        """The option as a name in Python, by which a parser's function can take it."""
        return self.key.replace(".", SEPARATOR)

    @property
    def words(self) -> str:
        """The first sentence of the setting's docstring without what None means, and the values that it leaves out."""
        words = self.flag.help or NONE_MEANS.sub("", first_sentence(self.field.description or ""))
        values = () if self.flag.key else _choices(self.field.annotation)
        if any(not re.search(rf"\b{re.escape(value)}\b", words) for value in values):
            words += f" One of {', '.join(values)}."
        return words.replace("``", "")

    @property
    def kind(self) -> Any:
        """The type that is parsed: a number, text, bool, Path, or a list of one of these."""
        if self.flag.key or self.flag.kind is object:
            return str if self.flag.kind is object else self.flag.kind
        return _parsed_kind(self.field.annotation)

    @property
    def values(self) -> Callable[[], Iterable[str]] | None:
        """Gives the values that completion offers; None where they cannot be listed."""
        choices = () if self.flag.key else _choices(self.field.annotation)
        return self.flag.values or ((lambda: choices) if choices else None)

    @property
    def default(self) -> str:
        """Words for what happens without the option; "" where nothing needs to be said."""
        found = list(dict.fromkeys(text for one in (self, *self.others) if (text := one._default())))
        if self.preset is not None and self.key in self.preset.values:
            return f"{typed(self.preset.values[self.key])}, by {self.preset.source}"
        if self.preset is not None and not self.preset.values:
            return ", or ".join([*found, "the preset's"])
        return " or ".join(found) + (", by the source of the data" if len(found) > 1 else "")

    def _default(self) -> str:
        if self.flag.default or self.flag.key:
            return self.flag.default
        if self.kind is bool and self.field.default is not None:
            return self.name if self.field.default else ""
        if means := NONE_MEANS.search(first_sentence(self.field.description or "")):
            return means[1].replace("``", "")
        return default_text(self.field)

    @property
    def least(self) -> int | None:
        """The smallest value of a whole number, or of each in a list of them; None where nothing bounds it."""
        return _at_least(self.field) if self.kind in (int, list[int]) else None

    def value(self, given: Any) -> Any:
        """The setting's value for what was parsed; None where the option was not given."""
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


def union(*models: type[BaseModel], preset: Layer | None = None) -> list[Option]:
    """The options of several classes, each name once: the first class that has it says how it is read."""
    found: dict[str, list[Option]] = {}
    for model in models:
        for one in options_of(model):
            found.setdefault(one.name, []).append(replace(one, preset=preset))
    return [replace(first, others=tuple(others)) for first, *others in found.values()]


def flag_layer(model: type[BaseModel], given: Mapping[str, Any]) -> Layer:
    """The settings that were given as options, from what was parsed, by the names of the options."""
    return Layer("flag", {o.key: o.value(given[o.name]) for o in options_of(model) if o.name in given})


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, in one line."""
    line = " ".join(text.split())
    end = line.find(". ")
    return line if end < 0 else line[: end + 1]


def _plain(annotation: Any) -> Any:
    """The type that an annotation comes to without ``None`` and ``Annotated``; str where several are left."""
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


def _parsed_kind(annotation: Any) -> Any:
    kind = _plain(annotation)
    if typing.get_origin(kind) is tuple:
        return types.GenericAlias(list, _parsed_kind(typing.get_args(kind)[0]))
    return kind if kind in (int, float, bool, Path) else str


def _at_least(field: FieldInfo) -> int | None:
    """The smallest value that the bounds of a field, or of the numbers in its tuple, allow; None without a bound."""
    for mark in [*field.metadata, *marks(field.annotation)]:
        if isinstance(mark, annotated_types.Ge) and isinstance(mark.ge, int):
            return mark.ge
        if isinstance(mark, annotated_types.Gt) and isinstance(mark.gt, int):
            return mark.gt + 1
        if isinstance(mark, FieldInfo) and (found := _at_least(mark)) is not None:
            return found
    return None


def marks(annotation: Any) -> Iterator[Any]:
    """What stands in ``Annotated`` at any depth of a type."""
    if typing.get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
    for inner in typing.get_args(annotation):
        yield from marks(inner)
