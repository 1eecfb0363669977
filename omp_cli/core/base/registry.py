"""Families of interchangeable parts: a name in a configuration becomes a class found by its registered name.

A family is a package; every module in it may register classes. Dropping a file into the package (or loading one
with ``--plugin FILE``) is all it takes to add a member.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

from omp_cli.core.base.config import Member, Settings, UnknownSetting, validated
from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.base.plugins import loaded_plugins


class UnknownMember(UsageError):
    """A name that no member of a family has; ``key`` is the dotted name of the setting that holds it."""


class Configured(Protocol):
    """What every member class has: the class of its settings, of which an instance is the first argument."""

    Config: ClassVar[type[Settings]]

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None: ...


T = TypeVar("T", bound=Configured)


class Family(Generic[T]):
    """Named members of one kind. Each member class carries ``Config``, a ``Settings`` subclass with a ``name`` field.

    Args:
        kind: singular noun used in messages and as the configuration section ("method", "net", ...).
        packages: dotted names of the packages whose modules register the members; imported on first look-up.
        base: module and class, "package.module:Class", that every member derives from.
        named: whether the settings of a member have a ``name`` that is its own.
    """

    def __init__(self, kind: str, *packages: str, base: str = "", named: bool = True) -> None:
        self.kind = kind
        self._packages, self._base, self._named = packages, base, named
        self._members: dict[str, type[T]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator that files the class under ``name``; a name can be taken once.

        Raises:
            UsageError: the name is taken, or the class lacks what every member of the family has.
        """
        if not isinstance(name, str):
            raise UsageError(f"{self.kind} of {_file(name)}: registered without a name", f"{self._how} stands above it")

        def decorate(cls: type[T]) -> type[T]:
            if not _ships(cls) and (fault := self._fault(name, cls)):
                hint = f"what every {self.kind} has to have: {self._base.replace(':', '.')}"
                raise UsageError(f"{self.kind} {name!r} of {_file(cls)}: {fault}", hint)
            taken = self._members.get(name)
            if taken is not None and (taken.__qualname__, _file(taken)) != (cls.__qualname__, _file(cls)):
                raise UsageError(f"{self.kind} {name!r} is registered twice: {_file(taken)} and {_file(cls)}")
            self._members[name] = cls
            return cls

        return decorate

    def names(self) -> tuple[str, ...]:
        """The names of all members, sorted."""
        self._load()
        return tuple(sorted(self._members))

    def get(self, name: str) -> type[T]:
        """The class registered as ``name``; UsageError with the nearest names when there is none."""
        self._load()
        if name not in self._members:
            hint = did_you_mean(name, self._members) or f"known: {', '.join(self.names())}"
            if not loaded_plugins():
                hint = f"{hint}; one of your own: --plugin FILE"
            elif all(map(_ships, self._members.values())):
                hint = f"{hint}; one of your own needs {self._how} above its class, which stands in no plugin here"
            unknown = UnknownMember(f"unknown {self.kind} {name!r}", hint)
            unknown.key = f"{self.kind}.name"
            raise unknown
        return self._members[name]

    def ships(self, name: str) -> bool:
        """Whether the member of that name is a part of omp, and not of a plugin of the user's; raises as ``get``."""
        return _ships(self.get(name))

    def where(self, name: str) -> str:
        """Kind, name and file of a member, for messages: "method 'mine' of lab/mine.py"; raises as ``get``."""
        return f"{self.kind} {name!r} of {_file(self.get(name))}"

    def parse(self, value: Any) -> Member:
        """Validate a section such as ``{"name": "omp", "epsilon": 0.01}`` with its member's configuration class."""
        if isinstance(value, Settings):
            return cast(Member, value)
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise UsageError(f"{self.kind}: needs a name", f"known: {', '.join(self.names())}")
        try:
            return cast(Member, validated(self.get(value["name"]).Config, value, where=self.kind))
        except UnknownSetting as error:
            setting = error.key.removeprefix(f"{self.kind}.")
            others = [name for name in self.names() if setting in self.get(name).Config.model_fields]
            if not others:
                raise
            hint = f"it is one of {self.kind} {', '.join(others)}, and {value['name']} has none such; {error.hint}"
            raise UnknownSetting(error.key, hint) from None

    def build(self, config: Member, *args: Any, **kwargs: Any) -> T:
        """An instance of the member that ``config.name`` selects, constructed as ``cls(config, *args, **kwargs)``."""
        return self.get(config.name)(config, *args, **kwargs)

    @property
    def _how(self) -> str:
        """What stands above the class of a member."""
        return f'@{self.kind.upper()}S.register("NAME")'

    def _fault(self, name: str, cls: type[Any]) -> str | None:
        """What the class lacks that every member of the family has; None where it lacks nothing that a look shows."""
        module, _, base = self._base.partition(":")
        if base and not issubclass(cls, getattr(importlib.import_module(module), base)):
            return f"the class {cls.__name__} does not derive from {base}"
        config = getattr(cls, "Config", None)
        if not (isinstance(config, type) and issubclass(config, Settings)):
            return f"the class {cls.__name__} has no Config, a subclass of Settings: Config = MySettings"
        field = config.model_fields.get("name")
        if self._named and (field is None or (field.default != name and not field.is_required())):
            return f'its Config, {config.__name__}, needs the field that says so: name: Literal["{name}"] = "{name}"'
        if missing := sorted(getattr(cls, "__abstractmethods__", ())):
            return f"the class {cls.__name__} does not define {', '.join(missing)}"
        return None

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            for name in self._packages:
                for module in pkgutil.iter_modules(importlib.import_module(name).__path__):
                    importlib.import_module(f"{name}.{module.name}")


def _ships(cls: type[Any]) -> bool:
    """Whether a class is a part of omp."""
    return str(cls.__module__).partition(".")[0] == __name__.partition(".")[0]


def _file(cls: type[Any]) -> str:
    """The file in which a class stands, else its module: a file that is imported under two names is one."""
    return str(getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__)
