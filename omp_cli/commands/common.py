"""What all commands share: global options before or after the command's name, layers, run folders."""

from __future__ import annotations

import datetime
import functools
import inspect
import itertools
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.console import Console, make_table
from omp_cli.core.errors import Interrupted
from omp_cli.core.seeds import MAX_SEED

DATA, RUNS = Path("data"), Path("runs")
GLOBAL = "Global options"
AGAIN = "run the line again (omp prepare and omp sweep go on from what is finished), or continue with --resume RUN"


def _option(kind: Any, help_: str, *names: str, **limits: int) -> Any:
    return Annotated[kind, typer.Option(*names, help=help_, rich_help_panel=GLOBAL, **limits)]


GLOBAL_OPTIONS: dict[str, tuple[Any, Any]] = {
    "json_": (_option(bool, "One JSON document on stdout.", "--json"), False),
    "quiet": (_option(bool, "No progress, no notes.", "--quiet", "-q"), False),
    "verbose": (_option(bool, "Where time went; tracebacks.", "--verbose", "-v"), False),
    "dry_run": (_option(bool, "Print the configuration; touch nothing.", "--dry-run"), False),
    "seed": (_option(int | None, "Seed. (default: 0)", "--seed", min=0, max=MAX_SEED), None),
    "device": (_option(str | None, "auto, cpu, cuda, cuda:N, mps. (default: auto)", "--device"), None),
    "out": (_option(Path | None, "Folder of this run.", "--out"), None),
    "plugin": (_option(list[Path] | None, "Python file that registers own parts; repeatable.", "--plugin"), None),
}


@dataclass(frozen=True)
class Globals:
    """Values of the global options."""

    json_: bool = False
    quiet: bool = False
    verbose: bool = False
    dry_run: bool = False
    seed: int | None = None
    device: str | None = None
    out: Path | None = None
    plugin: list[Path] = field(default_factory=list)
    resolving: bool = False
    """No option: only the settings are wanted (``lines.resolve``)."""
    start: tuple[str, str] | None = None
    """Of the policy that a resolved ``omp finetune`` will begin with: suite and pre-training method."""

    def merged(self, given: Mapping[str, Any]) -> Globals:
        """These values with those given later on the line on top."""
        changed = {k: v for k, v in given.items() if v not in (None, False, [])}
        if changed.get("plugin"):
            changed["plugin"] = [*self.plugin, *changed["plugin"]]
        return replace(self, **changed)

    @functools.cached_property
    def console(self) -> Console:
        """Where this command prints."""
        if int(os.environ.get("RANK", "0")) > 0:  # of several processes the first alone speaks
            return Console(quiet=True, verbose=self.verbose)
        return Console(self.json_, self.quiet, self.verbose)

    @property
    def device_name(self) -> str:
        """The device asked for by flag or environment, else "auto"."""
        return self.device or os.environ.get("OMP_CLI_DEVICE", "auto")


CURRENT = Globals()
"""The options of the running command, for the handler of exceptions."""


def with_global_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the global options; it receives them as its first argument, a ``Globals``."""
    hints = typing.get_type_hints(function, include_extras=True)
    own = list(inspect.signature(function).parameters.values())[1:]

    @functools.wraps(function)
    def command(**values: Any) -> None:
        values = {name: _expanded(value) for name, value in values.items()}
        given = {name: values.pop(name) for name in GLOBAL_OPTIONS}
        set_current(CURRENT.merged(given))
        try:
            load_plugins(CURRENT.plugin)
            function(CURRENT, **values)
        except KeyboardInterrupt:  # Typer would end the process without a word
            raise Interrupted("interrupted", AGAIN) from None

    parameters = [p.replace(annotation=hints[p.name]) for p in own]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in GLOBAL_OPTIONS.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _expanded(value: Any) -> Any:
    """Paths with ``~`` as the home folder, for no shell does that after ``=``; any other value as it is."""
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    if not isinstance(value, Path):
        return value
    try:
        return value.expanduser()
    except RuntimeError:  # there is no such user: then it is a name
        return value


def set_current(values: Globals) -> None:
    """Remember the options of the running command."""
    global CURRENT
    CURRENT = values


def load_plugins(paths: Sequence[Path]) -> None:
    """Import the user's own parts; ``OMP_CLI_PLUGIN`` may name files too, separated as in PATH."""
    from omp_cli.core.registry import load_plugin

    named = [_expanded(Path(p)) for p in os.environ.get("OMP_CLI_PLUGIN", "").split(os.pathsep) if p]
    for path in [*named, *paths]:
        load_plugin(path)


def base_layers(model: Any, preset: Any, config: Path | None, sets: Sequence[str], flags: Any) -> list[Any]:
    """Layers in their one order, preset < file < environment < --set < flag; absent ones left out.

    ``model`` is the command's configuration class; its own defaults lie below all layers.
    """
    from omp_cli.core import config as c

    file = c.file_layer(config) if config else None
    layers = [preset, file, c.env_layer(os.environ, model), c.set_layer(sets), flags]
    return [layer for layer in layers if layer is not None]


def checkpoint_layer(checkpoint: Any) -> Any:
    """The lowest layer: the evaluations per decision that a checkpoint names, in an earlier omp's its method."""
    from omp_cli.core import config as c

    source = "checkpoint" if checkpoint.meta.nfe else f"method {checkpoint.config().method.name}"
    return c.Layer(source, {"nfe": checkpoint.nfe})


def run_folder(root: Path, name: str) -> Path:
    """Make a new folder ``root/<time>-<name>``; no other process gets the same one.

    Raises:
        UsageError: ``root`` cannot be written.
    """
    from omp_cli.core.files import writable_folder

    writable_folder(root)
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for n in itertools.count(1):
        folder = root / (f"{stamp}-{name}" if n == 1 else f"{stamp}-{name}-{n}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("there is always a next number")


def newest(globals_: Globals, root: Path, commands: Sequence[str], what: str, hint: str) -> Path:
    """The newest finished run of these commands below ``root``, named to the user; DataError with ``hint`` if none."""
    from omp_cli.core.errors import DataError
    from omp_cli.core.manifest import latest_run

    found = latest_run(root, *commands, note=globals_.console.note)
    if found is None:
        raise DataError(f"no {what} below {root}/", hint)
    globals_.console.note(f"{what}: {found} (the newest below {root}/)")
    return found


def newest_trained(globals_: Globals, *also: str) -> Path:
    """The newest run below runs/ that ``omp pretrain`` finished, or one of the commands ``also``."""
    return newest(globals_, RUNS, ("pretrain", *also), "trained run", "train one with: omp pretrain")


def check_free(run: Path) -> None:
    """UsageError when a process is at work on a run that is to be resumed, before anything else is looked at."""
    from omp_cli.core.locks import refuse_held

    if int(os.environ.get("RANK", "0")) == 0:  # of several processes the first alone holds the folder
        refuse_held(run)


class Resolved(Exception):
    """Not an error: the settings of a line, of which nothing else is wanted (``lines.resolve``)."""

    def __init__(self, sources: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__()
        self.sources = sources


def settings_known(globals_: Globals, sources: Mapping[str, Mapping[str, Any]]) -> None:
    """To be called before a command looks for its inputs: the place where ``lines.resolve`` ends it."""
    if globals_.resolving:
        raise Resolved(sources)


def show_dry_run(globals_: Globals, command: str, sources: Mapping[str, Mapping[str, Any]], **more: Any) -> None:
    """Print the resolved configuration with the source of each value."""
    settings_known(globals_, sources)
    rows = [(key, _text(entry["value"]), str(entry["source"])) for key, entry in sources.items()]
    globals_.console.result(
        {"command": command, "dry_run": True, "config": dict(sources), **more},
        [make_table(f"omp {command} would use", ("setting", "value", "source"), rows)],
        [f"{key.replace('_', ' ')}: {_text(value)}" for key, value in more.items()],
    )


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
