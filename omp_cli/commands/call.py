"""A line of a command on its way: layers of configuration, settings, dry run, folder, run, progress, result."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from omp_cli import core
from omp_cli.commands.chosen import Chosen, Resolved
from omp_cli.commands.globals import Globals
from omp_cli.commands.inputs import RUNS, TRAINED, Newest
from omp_cli.commands.sources import with_source
from omp_cli.console import Console, RichProgress
from omp_cli.core.base import config as c
from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.flags import flag_layer, options_of
from omp_cli.core.base.layers import (
    Layer,
    env_layer,
    file_layer,
    merge,
    of_today,
    set_layer,
    unflatten,
    value_text,
)
from omp_cli.core.base.locks import refuse_held
from omp_cli.core.base.manifest import FILE_NAME, Manifest, latest_run, read_manifest
from omp_cli.core.base.registry import UnknownMember
from omp_cli.core.base.run import (
    Earlier,
    Run,
    changed_code,
    earlier_run,
    new_folder,
    of_plugin,
    read_resumed,
    refuse_checkpoints,
    refuse_lost,
)
from omp_cli.core.base.table import Table

if TYPE_CHECKING:
    import torch

S = TypeVar("S", bound=Settings)
T = TypeVar("T", bound=Settings)
Input = tuple[str, Path, str]
"""Kind, path and hash of something that a run reads."""


@dataclass
class Call(Generic[S]):
    """One line of a command: its name, its options, and the way from them to a result.

    Attributes:
        name: name of the command.
        model: the command's configuration class.
        globals: values of the global options.
        file: the file that ``--config`` names; None without one.
        sets: the words that follow each ``--set``.
        given: the values of the options on the line, by the options' names.
        more: settings that the line says in another way, by their dotted names.
        earlier: what becomes of an earlier run in the folder of this one, unless it is resumed.
    """

    name: str
    model: type[S]
    globals: Globals
    file: Path | None
    sets: Sequence[str]
    given: Mapping[str, Any]
    more: dict[str, Any] = field(default_factory=dict)
    earlier: Earlier = "kept"

    @property
    def flags(self) -> Layer:
        """The settings that were given as options: the layer that beats all others.

        Raises:
            UsageError: a seed was given, and nothing is drawn.
        """
        seed = {} if self.globals.seed is None else {seed_of(self.name, (self.model,)): self.globals.seed}
        return Layer("flag", {**flag_layer(self.model, self.given).values, **self.more, **seed})

    def of(self, model: type[T], what: str) -> Call[T]:
        """The same line, read as the settings of another configuration class.

        Raises:
            UsageError: an option was given that the class does not have: it does not go with ``what``.
        """
        known = {one.name for one in options_of(model)}
        for name in self.given:
            if name not in known:
                raise UsageError(f"{name} does not go with {what}", "leave it out")
        return Call(self.name, model, self.globals, self.file, self.sets, self.given, self.more, self.earlier)

    @property
    def console(self) -> Console:
        """Where this command prints."""
        return self.globals.console

    def layers(self, *below: Layer | None) -> list[Layer]:
        """All layers in their one order, later wins: ``below``, file, environment, ``--set``, options."""
        file = file_layer(self.file) if self.file else None
        found = [*below, file, env_layer(os.environ, self.model), set_layer(self.sets), self.flags]
        return [Layer(layer.source, of_today(self.name, layer.values)) for layer in found if layer is not None]

    def settings(self, *below: Layer | None) -> Chosen[S]:
        """The validated settings; ``below`` are a preset's or a checkpoint's, which all else on the line beats."""
        values, layer_of = merge(self.layers(*below))
        try:
            settings = c.validated(self.model, values)
        except UsageError as error:
            raise with_source(error, layer_of, os.environ) from None
        return Chosen(settings, c.sources_of(settings, layer_of))

    def known(self, chosen: Chosen[Any]) -> None:
        """End the command here where only its settings are wanted, before anything is looked for that it reads."""
        if self.globals.resolving:
            raise Resolved(chosen.sources)

    def refuse_checkpoints(self) -> None:
        """UsageError where ``--out`` names a folder that holds checkpoints of an earlier run."""
        if self.globals.out is not None:
            refuse_checkpoints(self.globals.out)

    def alone(self, reason: str, *others: Any, but: Sequence[str] = ()) -> dict[str, Any]:
        """UsageError where a setting, ``--out`` or one of the ``others`` was given beside what stands alone.

        The settings ``but`` may be given, by their options or by ``--set``; those that are given are returned.
        """
        given = {**set_layer(self.sets).values, **self.flags.values}
        if given.keys() - set(but) or self.file or self.globals.out or any(others):
            raise UsageError(reason, "leave the other settings out")
        return given

    def resumed(
        self, folder: Path, *inputs: str, change: Mapping[str, Any] | None = None
    ) -> tuple[Manifest, Chosen[S] | None]:
        """The manifest of a run that ``--resume`` names, and its settings; None in their place when it is finished.

        Args:
            folder: folder of the run.
            inputs: the entries of the run's configuration that are no settings.
            change: settings that take the place of the run's own; with any, a finished run goes on as well.
        """
        manifest = read_resumed(folder, self.name)
        if manifest.status == "succeeded" and not change:
            self.console.note(f"{folder} is finished; nothing to do")
            return manifest, None
        refuse_lost(folder, manifest)
        if self.globals.is_main:
            refuse_held(folder)
        sources = {key: value.model_dump() for key, value in manifest.config.items()}
        sources |= {key: {"value": value, "source": "flag"} for key, value in (change or {}).items()}
        flat = {key: entry["value"] for key, entry in sources.items() if key not in inputs}
        self._say_changed_code(folder, manifest)
        try:
            settings = c.validated(self.model, unflatten(flat))
        except UnknownMember as error:
            raise UsageError(f"{folder}: {error.message}", of_plugin(folder)) from None
        return manifest, Chosen(settings, sources)

    def _say_changed_code(self, folder: Path, manifest: Manifest) -> None:
        """Say which plugins have another content by now than the run in a folder was made with."""
        if said := changed_code(folder, manifest):
            self.console.note(said)

    def newest(self, wanted: Newest) -> Path:
        """The newest finished run of the kind wanted, which the user is told; DataError if there is none."""
        found = latest_run(wanted.root, *wanted.commands, note=self.console.note)
        if found is None:
            raise DataError(f"no {wanted.what} below {wanted.root}/", wanted.hint)
        self.console.note(f"{wanted.what}: {found} (the newest below {wanted.root}/)")
        return found

    def checkpoints(self, path: Path | None) -> tuple[list[core.Checkpoint], Chosen[S]]:
        """The checkpoints of the run at ``path``, else of the newest, and the settings, which the last checkpoint
        underlies. A wrong setting is refused before a checkpoint is looked for.
        """
        self.known(self.settings())
        found = core.open_run(path or self.newest(TRAINED))
        if (run := found[-1].run / FILE_NAME).is_file():
            with suppress(DataError):  # a checkpoint stands on its own
                self._say_changed_code(run.parent, read_manifest(run))
        chosen = self.settings(found[-1].layer)
        chosen.add("checkpoint", str(found[-1].path), "argument")
        return found, chosen

    def device(self, threads: int) -> torch.device:
        """The device that the line asks for; torch gets ``threads`` threads."""
        core.use_threads(threads)
        return core.pick_device(core.local_device(self.globals.device_name))

    def dry_run(self, chosen: Chosen[Any], **more: Any) -> bool:
        """Whether the line is a dry run; then the settings, their sources and ``more`` have been printed.

        Raises:
            UsageError: ``--out`` names the folder of an earlier run that may not be written over.
        """
        self.known(chosen)
        if self.globals.out is not None and self.earlier in ("kept", "logged"):
            earlier_run(self.globals.out, self.name, self.earlier)
        if self.globals.dry_run:
            rows = [(key, value_text(entry["value"]), str(entry["source"])) for key, entry in chosen.sources.items()]
            self.console.result(
                {"command": self.name, "dry_run": True, "config": chosen.sources, **more},
                [Table(f"omp {self.name} would use", ("setting", "value", "source"), rows)],
                [f"{key.replace('_', ' ')}: {value_text(value)}" for key, value in more.items()],
            )
        return self.globals.dry_run

    @contextmanager
    def run(
        self,
        chosen: Chosen[Any],
        where: str | Path,
        device: torch.device | str = "cpu",
        inputs: Iterable[Input] = (),
        resumed: bool = False,
        bar: bool = True,
    ) -> Iterator[tuple[Run, RichProgress]]:
        """A run with its manifest, and the display of its progress.

        Args:
            chosen: the run's settings.
            where: the folder; or a name, which makes a new folder of today's time unless ``--out`` names one.
            device: where tensors live.
            inputs: kind, path and hash of what is known to be read.
            resumed: whether the run goes on from what is in the folder.
            bar: False draws no live bar, whose thread would disturb what is timed.
        """
        settings = chosen.settings
        folder = where if isinstance(where, Path) else self.globals.out or new_folder(RUNS / self.name, where)
        seeds = {"seed": settings.seed} if hasattr(settings, "seed") else {}
        threads = getattr(settings, "threads", None)
        machine = device if isinstance(device, str) else core.device_name(device)
        progress, earlier = self.console.progress(), "resumed" if resumed else self.earlier
        with (
            Run(folder, self.name, chosen.sources, seeds, machine, threads, earlier, inputs) as run,
            progress if bar else nullcontext(),
        ):
            yield run, progress

    def result(
        self, folder: Path, figures: Mapping[str, Any], tables: Sequence[Table] = (), lines: Sequence[str] = ()
    ) -> None:
        """Print the figures of a run as one JSON document, or its tables and lines."""
        self.console.result(self.document(folder, figures), tables, lines)

    def document(self, folder: Path, figures: Mapping[str, Any]) -> dict[str, Any]:
        """The figures of a run as a JSON document."""
        document = {"command": self.name, "run_dir": str(folder), "manifest": str(folder / FILE_NAME)}
        return {**document, "result": dict(figures)}


def files(run: Run) -> list[str]:
    """The lines that name the files of a run."""
    return [f"{artifact.path.rpartition('.')[2]}: {run.folder / artifact.path}" for artifact in run.manifest.artifacts]


def seed_of(name: str, models: Iterable[type[Settings]]) -> str:
    """The name of the setting that ``--seed`` sets: that of a configuration class, else that of its section ``record``.

    Raises:
        UsageError: no class has such a setting.
    """
    for model in models:
        if "seed" in model.model_fields:
            return "seed"
        field = model.model_fields.get("record")
        if "seed" in getattr(None if field is None else field.annotation, "model_fields", {}):
            return "record.seed"
    raise UsageError(f"--seed: this omp {name} draws nothing at random", "leave it out")
