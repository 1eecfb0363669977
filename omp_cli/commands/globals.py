"""The global options, which stand before or after a command's name."""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.console import Console
from omp_cli.core.base.plugins import load_plugin
from omp_cli.core.base.seeds import MAX_SEED

PANEL = "Global options"
AGAIN = "run the line again"
ANY_DEVICE = "auto"
Values = Callable[..., Iterable[str]]


def told(words: str, default: str = "") -> str:
    """The text of the help for a parameter: ``words``, then in brackets what holds without it."""
    return f"{words} (default: {default})" if default else words


def completing(values: Values | None) -> Callable[[typer.Context, str], list[str]] | None:
    """The function by which Typer completes what has been typed so far to one of the values.

    Args:
        values: gives the values; where it takes an argument, that is what stands earlier on the line, by parameter.
    """
    if values is None:
        return None
    offered, reads_the_line = values, bool(inspect.signature(values).parameters)

    def begin_so(ctx: typer.Context, incomplete: str) -> list[str]:
        found = offered(ctx.params) if reads_the_line else offered()
        return [str(value) for value in found if str(value).startswith(incomplete)]

    return begin_so


def _option(words: str, *names: str, default: str = "", **limits: Any) -> Any:
    return typer.Option(*names, help=told(words, default), rich_help_panel=PANEL, **limits)


def _devices() -> tuple[str, ...]:
    # No lambda in the annotation: that is evaluated later, where a lambda does not see this module's names.
    return (ANY_DEVICE, "cpu", "cuda", "mps")


def _seed(default: str) -> Any:
    """The option of the seed, which is ``default`` without it, in words."""
    return _option("Seed of all that is random.", "--seed", default=default, min=0, max=MAX_SEED)


@dataclass(frozen=True)
class Globals:
    """Values of the global options; each field is the option that its annotation describes."""

    json_: Annotated[bool, _option("Print the result as one JSON document on stdout.", "--json")] = False
    quiet: Annotated[bool, _option("Show no progress and no notes.", "--quiet", "-q")] = False
    verbose: Annotated[bool, _option("Show where time went, and tracebacks.", "--verbose", "-v")] = False
    dry_run: Annotated[
        bool, _option("Print the resolved settings with their sources, and touch nothing.", "--dry-run")
    ] = False
    seed: Annotated[int | None, _seed("")] = None
    device: Annotated[
        str | None,
        _option(
            "Where tensors live: auto, cpu, cuda, cuda:N or mps.",
            "--device",
            default=ANY_DEVICE,
            autocompletion=completing(_devices),
        ),
    ] = None
    out: Annotated[Path | None, _option("Folder of the run or data set.", "--out", default="below data/ or runs/")] = (
        None
    )
    plugin: Annotated[list[Path], _option("Python file with parts of your own; repeatable.", "--plugin")] = field(
        default_factory=list
    )
    resolving: bool = False
    """Whether only the settings of the line are wanted (``lines.resolve``); no option sets this."""
    start: tuple[str, str] | None = None
    """Suite and pre-training method of the policy that a resolved ``omp finetune`` will begin with."""
    again: str = AGAIN
    """What to do about this line once it was stopped."""
    alone: bool = False
    """Whether this process does the command by itself, also where it is one of several (``torchrun``)."""

    def merged(self, given: Mapping[str, Any]) -> Globals:
        """These values, replaced by those that were given later on the line; plugins are added to."""
        changed = {k: v for k, v in given.items() if v not in (None, False, [])}
        if changed.get("plugin"):
            changed["plugin"] = [*self.plugin, *changed["plugin"]]
        return replace(self, **changed)

    @functools.cached_property
    def console(self) -> Console:
        """Where this command prints."""
        if not self.is_main:
            return Console(quiet=True, verbose=self.verbose, results=False)
        return Console(self.json_, self.quiet, self.verbose, self.plugin_options)

    @property
    def is_main(self) -> bool:
        """Whether this is the first of several processes (``torchrun``): it alone prints, and holds the folder.

        A cluster may give a number to every process, which means nothing to one that works by itself.
        """
        alone = self.alone or os.environ.get("WORLD_SIZE", "1") == "1"
        return alone or os.environ.get("RANK", "0") == "0"

    @property
    def plugin_options(self) -> tuple[str, ...]:
        """The words that give another line the plugins of this one."""
        return tuple(word for path in self.plugin for word in ("--plugin", str(path)))

    @property
    def device_name(self) -> str:
        """The device that the line or the environment asks for."""
        return self.device or os.environ.get("OMP_CLI_DEVICE", ANY_DEVICE)


@functools.cache
def global_options(seed: str = "") -> Mapping[str, tuple[Any, Any]]:
    """Annotation and default of each global option; ``seed`` is what the help says of the seed's default."""
    kinds = typing.get_type_hints(Globals, include_extras=True)
    kinds["seed"] = Annotated[int | None, _seed(seed)]
    marked = [one for one in fields(Globals) if typing.get_origin(kinds[one.name]) is Annotated]
    return {one.name: (kinds[one.name], None if one.default is MISSING else one.default) for one in marked}


_current = Globals()


def current() -> Globals:
    """The options of the running command."""
    return _current


def set_current(values: Globals) -> None:
    """Keep the options of the running command, which the handler of exceptions reads, too."""
    global _current
    _current = values


def keywords(options: Mapping[str, tuple[Any, Any]]) -> list[inspect.Parameter]:
    """Keyword parameters for ``signed``, made of annotations and defaults by name."""
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in options.items()
    ]


def signed(function: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """Give a function that takes anything by name the signature that Typer reads."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect.signature looks for first
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    return function


def own_parameters(function: Callable[..., None]) -> list[inspect.Parameter]:
    """A function's parameters after its first one, with their annotations evaluated."""
    hints = typing.get_type_hints(function, include_extras=True)
    return [p.replace(annotation=hints[p.name]) for p in list(inspect.signature(function).parameters.values())[1:]]


def expanded(value: Any) -> Any:
    """The value, or in a path the home folder in the place of ``~``, which no shell expands after ``=``."""
    if isinstance(value, list):
        return [expanded(item) for item in value]
    return Path(os.path.expanduser(value)) if isinstance(value, Path) else value


def take(values: dict[str, Any], **own: Any) -> Globals:
    """Take the global options out of Typer's values and merge them with those that stood earlier on the line.

    In every path that stays among the values, too, ``~`` is expanded. ``own`` are fields that no option sets.
    """
    values.update({name: expanded(value) for name, value in values.items()})
    merged = current().merged({**{name: values.pop(name) for name in global_options()}, **own})
    set_current(merged)
    return merged


def with_globals(function: Callable[..., None]) -> Callable[..., None]:
    """Give a function the global options; it receives them as its first argument, a ``Globals``."""

    @functools.wraps(function)
    def typed(**values: Any) -> None:
        function(take(values), **values)

    return signed(typed, [*own_parameters(function), *keywords(global_options())])


def plugins_of(words: Sequence[str]) -> list[Path]:
    """The files that ``--plugin`` names on a line that is not parsed yet, for they may bring options."""
    found = [word.removeprefix("--plugin=") for word in words if word.startswith("--plugin=")]
    found += [file for word, file in itertools.pairwise(words) if word == "--plugin"]
    return [expanded(Path(file)) for file in found]


def load_plugins(paths: Sequence[Path]) -> None:
    """Import the user's own parts; ``OMP_CLI_PLUGIN`` may name files too, separated as in PATH."""
    named = [expanded(Path(p)) for p in os.environ.get("OMP_CLI_PLUGIN", "").split(os.pathsep) if p]
    for path in [*named, *paths]:
        load_plugin(path)
