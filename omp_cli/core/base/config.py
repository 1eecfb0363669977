"""Configuration: frozen Pydantic sections, the bounds of their numbers, and the source of every value."""

from __future__ import annotations

import functools
import itertools
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.base.layers import flatten
from omp_cli.core.base.seeds import MAX_SEED

COMPLETE = "complete"
"""The context of a dump that holds every setting; other dumps leave out settings that old data did not have yet."""
RECOMMENDED = "recommended"
"""The source of a setting that a suite recommends for new data and of which a line says nothing."""
ON_THE_LINE = ("flag", "--set")
"""Sources of what the command line itself says."""
LARGEST = 2**31 - 1
"""The bound of every count, size and weight: torch, NumPy and the simulators take it, and float32 holds its square."""


def from_commas(value: Any) -> Any:
    """Text as the list of what stands between its commas, which is how a list is typed most easily.

    Whole numbers, alone or in a list, are as good as their digits: places, and names such as 0. Text in brackets stays
    text, which no list takes: it is a list whose quotation marks the shell has eaten.
    """
    if type(value) is int:
        return [str(value)]
    if isinstance(value, list | tuple):
        return [str(part) if type(part) is int else part for part in value]
    if not isinstance(value, str) or value.startswith("["):
        return value
    return [part.strip() for part in value.split(",")]


Names = Annotated[tuple[str, ...], BeforeValidator(from_commas)]
"""Names of arrays, cameras or motors, given as a list or as text with commas."""


def distinct(values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    """The values, unchanged, of a list of rows or of parts; ValueError where a value is there twice."""
    twice = [value for i, value in enumerate(values or ()) if value in (values or ())[:i]]
    if twice:
        raise ValueError(f"{twice[0]} is named twice: name each value once")
    return values


Keys = Annotated[Names, AfterValidator(distinct)]
"""Names of different arrays, which become one, one after the other."""
Count = Annotated[int, Field(ge=1, le=LARGEST)]
CountOrZero = Annotated[int, Field(ge=0, le=LARGEST)]
Width = Annotated[int, Field(ge=1, le=2**24)]
"""Bounds of the width of a layer, the steps of a chunk, or the size of a set whose members are in memory together."""
Depth = Annotated[int, Field(ge=1, le=1000)]
"""Bounds of a number of layers, or of steps of a sampler, that follow one another."""
Threads = Annotated[int, Field(ge=1, le=1024)]
Above0 = Annotated[float, Field(gt=0, le=LARGEST)]
AtLeast0 = Annotated[float, Field(ge=0, le=LARGEST)]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Share = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
HalfWidth = Annotated[float, Field(gt=0, le=1)]
"""Bounds of a difference between two times of a flow, which runs from 0 to 1."""


class Settings(BaseModel):
    """Base of every configuration section: immutable, and a key it does not know is an error.

    Every number has bounds at its field (a test walks them all); true and false are no numbers, though Python says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """A setting of which a class changes only the default keeps the words of the class that it comes from."""
        for name, field in cls.model_fields.items():
            if field.description is None:
                above = (base.model_fields.get(name) for base in cls.__mro__[1:] if issubclass(base, BaseModel))
                field.description = next((f.description for f in above if f is not None and f.description), None)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation: Any = cls.model_fields[str(info.field_name)].annotation
        kinds = kinds_of(annotation)
        if _has_boolean(value) and bool not in kinds and {int, float}.intersection(kinds):
            raise PydanticCustomError("number", "input should be a number, not true or false")
        return value

    def passed_over(self) -> dict[str, str]:
        """The settings of this section that do not count beside its others, each with the reason."""
        return {}


if TYPE_CHECKING:

    class Member(Settings):
        """The settings of a member of a family, as its section holds them: ``name`` says which member."""

        name: str
else:
    Member = Settings  # a member's class need not derive from it: ``Family.parse`` sees to the name


@dataclass(frozen=True)
class Flag:
    """Marks a setting that has an option of its own on the command line: ``Annotated[int, Flag(panel="Episodes")]``.

    Type, bounds, default and words of the option are the field's. Only for a setting inside a member of a family,
    whose class is not known before the line is read, do they stand here (``key``).

    Attributes:
        name: the option's name; "" makes it from the field's name (``max_steps`` is ``--max-steps``).
        panel: heading of the help under which it stands.
        key: the dotted name of a setting inside a family's section ("alignment.weight"); "" for the field itself.
        kind: the type of the option with ``key``. ``object``, without ``key`` too, takes what ``parse_value`` makes of
            the text.
        help: the words of the option with ``key``; else they stand for the first sentence of the field's docstring.
        values: gives what completion offers; a ``Literal`` offers its own values.
        default: words for what happens without the option, where the field's default is none or follows from others.
        only_on: whether there is no ``--no-name``.
        metavar: what stands for the value in the help.
    """

    name: str = ""
    panel: str = "Configuration"
    key: str = ""
    kind: type = str
    help: str = ""
    values: Callable[[], Iterable[str]] | None = None
    default: str = ""
    only_on: bool = False
    metavar: str | None = None


def default_text(field: FieldInfo) -> str:
    """A setting's default as it is typed; "" for one that has none, whose default is none, or follows from others."""
    if field.is_required() or field.default_factory is not None or field.default is None:
        return ""
    return typed(field.default)


def typed(value: Any) -> str:
    """A value as it is typed on a line, a list with commas between its entries."""
    if isinstance(value, tuple | list):
        return ", ".join(map(typed, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


@functools.cache
def kinds_of(annotation: Any) -> tuple[Any, ...]:
    """The plain types that an annotation is made of, and the values of a Literal.

    ``tuple[int, ...] | None`` is made of int, Ellipsis and NoneType; what stands in ``Annotated`` does not count.
    """
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is Annotated:
        parts = parts[:1]
    return tuple(dict.fromkeys(itertools.chain.from_iterable(map(kinds_of, parts)))) if parts else (annotation,)


def _has_boolean(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_has_boolean, value)))


S = TypeVar("S", bound=BaseModel)


class UnknownSetting(UsageError):
    """A setting that no configuration class has under that name; ``key`` is its dotted name as it was given."""

    def __init__(self, key: str, hint: str) -> None:
        super().__init__(f"unknown setting {key}", hint)
        self.key = key


def validated(model: type[S], data: Any, where: str = "") -> S:
    """``model.model_validate(data)`` with Pydantic's report turned into one line (UsageError).

    Args:
        model: the Pydantic class.
        data: plain data.
        where: dotted prefix of the section, for the message.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in ([where] if where else []) + list(first["loc"]))
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(str(first["loc"][-1]), _fields_at(model, first["loc"][:-1]))
            raise UnknownSetting(place, _elsewhere(model, data, _innermost(first)) or hint) from None
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "tuple_type":
            reason = """expected a list, as in '["a", "b"]' or [1, 2]"""
        got = "" if first["type"] in ("missing", "value_error") else f" (got {first['input']!r})"
        raise UsageError(f"{f'{place}: ' if place else ''}{reason[0].lower()}{reason[1:]}{got}") from None
    except UnknownSetting as error:  # of a member of a family, which knows no other section
        hint = _elsewhere(model, data, error.key.rpartition(".")[2]) or error.hint
        raise UnknownSetting(error.key, hint) from None


def _innermost(error: Mapping[str, Any]) -> str:
    """The last part of the name of an unknown setting, which may lie in a section that is unknown too."""
    name, value = str(error["loc"][-1]), error["input"]
    while isinstance(value, Mapping) and len(value) == 1:
        name, value = next(iter(value.items()))
    return name


def _elsewhere(model: type[BaseModel], data: Any, name: str) -> str:
    """Hint that names the settings whose own name is ``name``, in whatever section ("steps": train.steps); else ""."""
    found = [key for key in _known(model, data) if key.rpartition(".")[2] == name]
    return f"did you mean {' or '.join(found[:3])}?" if found else ""


def _known(model: type[BaseModel], data: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings; ``data`` say which member of a family a section is of."""
    for name, field in model.model_fields.items():
        given = data.get(name) if isinstance(data, Mapping) else None
        inner = _section(field, given)
        if inner is None:
            yield f"{prefix}{name}"
        else:
            yield from _known(inner, given, f"{prefix}{name}.")


def _section(field: FieldInfo, given: Any) -> type[BaseModel] | None:
    """The configuration class of a section; of a family's, that of the member that ``given`` names. Else None."""
    for mark in field.metadata:
        family: Any = getattr(getattr(mark, "func", None), "__self__", None)  # BeforeValidator(FAMILY.parse)
        if hasattr(family, "names") and isinstance(given, Mapping) and given.get("name") in family.names():
            config: type[BaseModel] = family.get(given["name"]).Config
            return config
    annotation: Any = field.annotation
    kinds = [kind for kind in kinds_of(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return kinds[0] if len(kinds) == 1 else None


def checked(model: type[S], data: Any, what: str) -> S:
    """``validated`` for what was read from a file: DataError that begins with ``what``."""
    try:
        return validated(model, data)
    except UsageError as error:
        raise DataError(f"{what}: {error.message}") from None


def _fields_at(model: type[BaseModel], place: tuple[int | str, ...]) -> Iterable[str]:
    """Names of the settings in the section at ``place``."""
    for part in place:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return ()
        model = field.annotation
    return model.model_fields


def sources_of(config: BaseModel, sources: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """``{dotted key: {"value": ..., "source": ...}}`` of a validated configuration; what no layer set is a default.

    Raises:
        UsageError: the command line itself sets what does not count (``Settings.passed_over``). A preset, a file or
            the environment may: they are written for more than one line.
    """
    refuse_passed_over(_all_passed_over(config), sources)
    flat = flatten(config.model_dump(mode="json", context=COMPLETE))
    return {key: {"value": value, "source": sources.get(key, "default")} for key, value in flat.items()}


def same_setting(one: Mapping[str, Any] | None, two: Mapping[str, Any] | None) -> bool:
    """Whether two entries ``{"value", "source"}`` of a setting are the same.

    One that a side does not know is, where it is the other's default: another version may have added it.
    """
    if one is None or two is None:
        return (one or two or {}).get("source") == "default"
    return bool(one["value"] == two["value"])


def refuse_passed_over(reasons: Mapping[str, str], sources: Mapping[str, str]) -> None:
    """UsageError where the command line itself sets one of the settings that do not count, each with its reason."""
    for key, reason in reasons.items():
        if sources.get(key) in ON_THE_LINE:
            raise UsageError(f"{key} does not count: {reason}", "leave it out, or change the other setting")


def _all_passed_over(config: BaseModel, prefix: str = "") -> dict[str, str]:
    own = config.passed_over() if isinstance(config, Settings) else {}
    found = {f"{prefix}{key}": reason for key, reason in own.items()}
    for name in type(config).model_fields:
        if isinstance(section := getattr(config, name), BaseModel):
            found |= _all_passed_over(section, f"{prefix}{name}.")
    return found
