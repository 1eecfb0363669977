"""What every command does around its one call of the core.

layers -> settings -> dry run -> folder -> run -> progress -> result: each is a method of ``Call``, the line on its way.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import typer

from omp_cli import core
from omp_cli.commands import options
from omp_cli.commands.globals import (
    AGAIN,
    GLOBAL_OPTIONS,
    Globals,
    keywords,
    load_plugins,
    own_parameters,
    signed,
    take,
)
from omp_cli.console import Console, RichProgress
from omp_cli.core.base import config as c
from omp_cli.core.base.config import Layer, Settings
from omp_cli.core.base.errors import DataError, Interrupted, UsageError
from omp_cli.core.base.files import name_part, writable_folder
from omp_cli.core.base.locks import refuse_held
from omp_cli.core.base.manifest import FILE_NAME, Manifest, latest_run, read_manifest
from omp_cli.core.base.run import Run, refuse_checkpoints
from omp_cli.core.base.table import Table

DATA, RUNS = Path("data"), Path("runs")
PANEL = "Configuration"
S = TypeVar("S", bound=Settings)
T = TypeVar("T", bound=Settings)
Sources = dict[str, dict[str, Any]]
Function = Callable[..., None]
Input = tuple[str, Path, str]
"""Kind, path and hash of something that a run reads."""

CONFIG = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.", rich_help_panel=PANEL)]
SET = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; repeatable.", rich_help_panel=PANEL)]


class Resolved(Exception):
    """Not an error: the settings of a line, of which nothing else is wanted (``lines.resolve``)."""

    def __init__(self, sources: Sources) -> None:
        super().__init__()
        self.sources = sources


@dataclass
class Chosen(Generic[S]):
    """The settings of a run and where each value came from: ``{dotted key: {"value", "source"}}``."""

    settings: S
    sources: Sources

    def add(self, key: str, value: Any, source: str) -> None:
        """Something the run depends on that is no setting: its data set, its checkpoint."""
        self.sources[key] = {"value": value, "source": source}


class Call(Generic[S]):
    """One line: a command's name, its options, and the way from them to a result.

    Args:
        name: of the command.
        model: its configuration class.
        globals_: values of the global options.
        flags: the settings that were given as options.
        file: of settings.
        sets: words of ``--set``.
        given: what was given as options, by their names on the line.
    """

    def __init__(
        self,
        name: str,
        model: type[S],
        globals_: Globals,
        flags: Layer,
        file: Path | None,
        sets: Sequence[str],
        given: Mapping[str, Any],
    ) -> None:
        self.name, self.model, self.globals = name, model, globals_
        self.flags, self.file, self.sets, self.given = flags, file, tuple(sets), given
        if globals_.seed is not None and (key := _seed_of(model)) is not None:
            self.flags = Layer(flags.source, {**flags.values, key: globals_.seed})

    def of(self, model: type[T], what: str) -> Call[T]:
        """The same line, read as the settings of another configuration class.

        Raises:
            UsageError: an option was given that the class does not have: it does not go with ``what``.
        """
        known = {option.name for option in options.options_of(model)}
        for name in self.given:
            if name not in known:
                raise UsageError(f"{name} does not go with {what}", "leave it out")
        given = options.flag_layer(model, self.given)
        keys = {option.key for option in options.options_of(self.model)}
        others = {key: value for key, value in self.flags.values.items() if key not in keys}  # of a call from Python
        flags = Layer(given.source, {**others, **given.values})
        return Call(self.name, model, self.globals, flags, self.file, self.sets, self.given)

    @property
    def console(self) -> Console:
        """Where this command prints."""
        return self.globals.console

    def layers(self, model: type[Settings], *below: Layer | None) -> list[Layer]:
        """All layers in their one order, later wins: ``below``, file, environment, ``--set``, options."""
        file = c.file_layer(self.file) if self.file else None
        found = [*below, file, c.env_layer(os.environ, model), c.set_layer(self.sets), self.flags]
        return [Layer(layer.source, c.of_today(self.name, layer.values)) for layer in found if layer is not None]

    def settings(self, *below: Layer | None) -> Chosen[S]:
        """The validated settings; ``below`` are a preset's or a checkpoint's, which all else on the line beats."""
        values, layer_of = c.merge(self.layers(self.model, *below))
        settings = c.validated(self.model, values)
        return Chosen(settings, c.sources_of(settings, layer_of))

    def known(self, chosen: Chosen[Any]) -> None:
        """To be called before inputs are looked for: where only the settings are wanted, the command ends here."""
        if self.globals.resolving:
            raise Resolved(chosen.sources)

    def refuse_checkpoints(self) -> None:
        """UsageError where ``--out`` names a folder that holds checkpoints of an earlier run."""
        if self.globals.out is not None:
            refuse_checkpoints(self.globals.out)

    def alone(self, reason: str, *others: Any, but: str = "") -> None:
        """UsageError where a setting, ``--out`` or one of the ``others`` was given beside what stands alone.

        The setting ``but`` may be given, by its option or by ``--set``.
        """
        given = {**c.set_layer(self.sets).values, **self.flags.values}.keys() - {but}
        if given or self.file or self.globals.out or any(others):
            raise UsageError(reason, "leave the other settings out")

    def resumed(
        self, folder: Path, *inputs: str, change: Mapping[str, Any] | None = None
    ) -> tuple[Manifest, Chosen[S] | None]:
        """The manifest of a run that ``--resume`` names, and its settings; None in their place when it is finished.

        Args:
            folder: of the run.
            inputs: the entries of its configuration that are no settings.
            change: settings that take the place of the run's own; with some it is gone on with though it is finished.
        """
        if folder.exists() and not (folder / FILE_NAME).is_file():
            above = next((f"--resume {p}" for p in folder.parents[:3] if (p / FILE_NAME).is_file()), "")
            if above:  # a checkpoint, or a file of one
                raise UsageError(f"{folder}: a part of a run; a run is resumed as a whole", above)
        manifest = read_manifest(folder)
        if manifest.command != self.name:
            raise UsageError(f"{folder}: a run of omp {manifest.command}, not of omp {self.name}")
        if manifest.status == "succeeded" and not change:
            self.console.note(f"{folder} is finished; nothing to do")
            return manifest, None
        if int(os.environ.get("RANK", "0")) == 0:  # of several processes the first alone holds the folder
            refuse_held(folder)
        sources = {key: value.model_dump() for key, value in manifest.config.items()}
        sources |= {key: {"value": value, "source": "flag"} for key, value in (change or {}).items()}
        flat = {key: entry["value"] for key, entry in sources.items() if key not in inputs}
        return manifest, Chosen(c.validated(self.model, c.unflatten(flat)), sources)

    def newest(self, root: Path, commands: Sequence[str], what: str, hint: str) -> Path:
        """The newest finished run of these commands below ``root``, named to the user; DataError if there is none."""
        found = latest_run(root, *commands, note=self.console.note)
        if found is None:
            raise DataError(f"no {what} below {root}/", hint)
        self.console.note(f"{what}: {found} (the newest below {root}/)")
        return found

    def newest_trained(self, *also: str) -> Path:
        """The newest run below runs/ that ``omp pretrain`` finished, or one of the commands ``also``."""
        return self.newest(RUNS, ("pretrain", *also), "trained run", "train one with: omp pretrain")

    def dry_run(self, chosen: Chosen[Any], **more: Any) -> bool:
        """Whether nothing is to be done; then the settings, their sources and ``more`` have been printed."""
        self.known(chosen)
        if self.globals.dry_run:
            rows = [(key, _text(entry["value"]), str(entry["source"])) for key, entry in chosen.sources.items()]
            self.console.result(
                {"command": self.name, "dry_run": True, "config": chosen.sources, **more},
                [Table(f"omp {self.name} would use", ("setting", "value", "source"), rows)],
                [f"{key.replace('_', ' ')}: {_text(value)}" for key, value in more.items()],
            )
        return self.globals.dry_run

    def _folder(self, name: str) -> Path:
        """``--out``, or a folder ``runs/COMMAND/<time>-<name>`` that this call has made; nobody else gets the same."""
        if self.globals.out is not None:
            return self.globals.out
        root, name = writable_folder(RUNS / self.name), name_part(name)  # a task out of data leads nowhere else
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        for n in itertools.count(1):
            folder = root / (f"{stamp}-{name}" if n == 1 else f"{stamp}-{name}-{n}")
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
        raise AssertionError("there is always a next number")

    @contextmanager
    def run(
        self,
        chosen: Chosen[Any],
        where: str | Path,
        device: str = "cpu",
        inputs: Iterable[Input] = (),
        new: bool = False,
        bar: bool = True,
    ) -> Iterator[tuple[Run, RichProgress]]:
        """A run with its manifest, and the display of its progress.

        Args:
            chosen: its settings.
            where: the name of a new folder, made now, or the folder itself.
            device: where tensors live.
            inputs: kind, path and hash of what is known to be read.
            new: whether the folder may not hold checkpoints.
            bar: False draws no live bar, whose thread would disturb what is timed.
        """
        settings = chosen.settings
        folder = self._folder(where) if isinstance(where, str) else where
        seeds = {"seed": settings.seed} if hasattr(settings, "seed") else {}
        threads = getattr(settings, "threads", None)
        progress = self.console.progress()
        with Run(folder, self.name, chosen.sources, seeds, device, threads, new, inputs) as run:
            if not bar:
                yield run, progress
                return
            with progress:
                yield run, progress

    def result(
        self, folder: Path, figures: Mapping[str, Any], tables: Sequence[Table] = (), lines: Sequence[str] = ()
    ) -> None:
        """Print what came out: one JSON document, or tables and lines."""
        document = {"command": self.name, "run_dir": str(folder), "manifest": str(folder / "manifest.json")}
        self.console.result({**document, "result": dict(figures)}, tables, lines)


def command(
    name: str, model: type[S] | None, of_preset: bool = False, also: Callable[[], Iterable[type[Settings]]] = tuple
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a Typer function of a command: its own parameters, the options of ``model``, the global options.

    The command receives a ``Call`` first and its own parameters by name.

    Args:
        name: of the command.
        model: its configuration class, whose fields with a ``Flag`` become options; None for a command without
            settings, which then has neither ``--config`` nor ``--set``.
        of_preset: whether the defaults come from a preset.
        also: other configuration classes, of which the line decides which it means (``Call.of``). Asked for each time
            that the function is loaded, for plugins may have brought some.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def load() -> Callable[..., None]:
            # each has its own list: a parser made before a plugin came goes on without the plugin's options
            offered = [] if model is None else list(options.union(model, *also()))

            @functools.wraps(function)
            def typed(**values: Any) -> None:
                globals_ = take(values)
                read = {option.name: values.pop(option.parameter) for option in offered}
                given = {option: value for option, value in read.items() if value not in (None, [])}
                flags = options.flag_layer(model or Settings, given)
                file, sets = values.pop("config", None), values.pop("set_", None) or []
                call: Call[Any] = Call(name, model or Settings, globals_, flags, file, sets, given)
                try:
                    load_plugins(globals_.plugin)
                    function(call, **values)
                except KeyboardInterrupt:  # Typer would end the process without a word
                    raise Interrupted("interrupted", AGAIN) from None

            typed.options = offered  # type: ignore[attr-defined]
            layers = {} if model is None else {"config": (CONFIG, None), "set_": (SET, None)}
            settings = options.parameters(offered, of_preset)
            return signed(typed, [*own_parameters(function), *settings, *keywords(layers | GLOBAL_OPTIONS)])

        def named(*_: Any, **__: Any) -> None:
            raise TypeError(f"omp {name}: load it first")

        functools.update_wrapper(named, function)
        named.load = load  # type: ignore[attr-defined]
        return named

    return decorate


def checkpoint_layer(checkpoint: core.Checkpoint) -> Layer:
    """The lowest layer: the evaluations per decision that a checkpoint names, in an earlier omp's its method."""
    source = "checkpoint" if checkpoint.meta.nfe else f"method {checkpoint.config().method.name}"
    return Layer(source, {"nfe": checkpoint.nfe})


def _seed_of(model: type[Settings]) -> str | None:
    """The setting that the global option sets: "seed", of the configuration or of what it records."""
    if "seed" in model.model_fields:
        return "seed"
    field = model.model_fields.get("record")
    recorded = getattr(None if field is None else field.annotation, "model_fields", {})
    return "record.seed" if "seed" in recorded else None


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
