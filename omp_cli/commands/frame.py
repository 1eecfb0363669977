"""What every command has around its function: the options of its settings, the global ones, and a ``Call``."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from omp_cli.commands.call import Call, seed_of
from omp_cli.commands.environment import unread
from omp_cli.commands.globals import AGAIN, global_options, keywords, load_plugins, own_parameters, signed, take
from omp_cli.commands.options import annotation, option
from omp_cli.core.base.config import Settings, default_text
from omp_cli.core.base.errors import Interrupted, UsageError
from omp_cli.core.base.flags import Option, union
from omp_cli.core.base.layers import Layer
from omp_cli.core.base.presets import preset_layer
from omp_cli.core.base.run import Earlier

PANEL = "Configuration"
Function = Callable[..., None]
LAYERS = {
    "config": (Annotated[Path | None, option("TOML file of settings.", "--config", panel=PANEL)], None),
    "set_": (
        Annotated[list[str] | None, option("Set one, section.key=value; repeatable.", "--set", panel=PANEL)],
        None,
    ),
}


@dataclass(frozen=True)
class Framed:
    """A command: a function, which gets a ``Call`` and its own parameters by name, and what the frame knows of it.

    Attributes:
        function: what the command does.
        name: name of the command.
        model: the command's configuration class, whose fields with a ``Flag`` become options; None for a command
            without settings, which then has neither ``--config`` nor ``--set``.
        preset: the preset that is taken unless the line names another; "" where it depends on what the run begins with;
            None for a command without presets.
        also: gives further configuration classes, among which the line decides (``Call.of``). It is called whenever the
            options are made, for plugins may have brought some.
        writes: whether the command writes into a folder of its own, which ``--out`` may name.
        earlier: what becomes of an earlier run in that folder, unless the line resumes it.
        together: whether the processes of ``torchrun`` do the command together; else each does it by itself.
    """

    function: Function
    name: str
    model: type[Settings] | None
    preset: str | None
    also: Callable[[], Iterable[type[Settings]]]
    writes: bool
    earlier: Earlier
    together: bool

    def __call__(self, call: Call[Any], **parameters: Any) -> None:
        """Do what the command does, without a line."""
        self.function(call, **parameters)

    def models(self) -> list[type[Settings]]:
        """The configuration classes of which a line may mean one."""
        return [] if self.model is None else [self.model, *self.also()]

    @property
    def again(self) -> str:
        """What to do about a line that was stopped."""
        if self.earlier in ("resumed", "reused"):
            return f"{AGAIN}: it goes on from what is finished"
        resumes = any(parameter.name == "resume" for parameter in own_parameters(self.function))
        return f"{AGAIN}, or continue with --resume RUN" if resumes else AGAIN

    def options(self) -> list[Option]:
        """The options that the settings have."""
        values = preset_layer(self.name, self.preset).values if self.preset else {}
        return union(*self.models(), preset=None if self.preset is None else Layer(f"preset {self.preset}", values))

    def load(self) -> Function:
        """The function that Typer calls: with the command's parameters, the settings' options and the global ones.

        It keeps its list of options, so a parser that was made before a plugin was loaded goes on without the plugin's.
        """
        offered = self.options()

        @functools.wraps(self.function)
        def typed(**values: Any) -> None:
            self._run(offered, values)

        settings = {one.parameter: (annotation(one), None) for one in offered}
        layers = {} if self.model is None else LAYERS
        everywhere = global_options(_seed_without(self.models()))
        return signed(typed, [*own_parameters(self.function), *keywords({**settings, **layers, **everywhere})])

    def _run(self, offered: Sequence[Option], values: dict[str, Any]) -> None:
        """Run a line, of which Typer has made ``values`` by the names of parameters."""
        globals_ = take(values, again=self.again, alone=not self.together)
        read = {one.name: values.pop(one.parameter) for one in offered}
        given = {option: value for option, value in read.items() if value not in (None, [])}
        file, sets = values.pop("config", None), values.pop("set_", None) or []
        try:
            if globals_.seed is not None and (self.model or not self.writes):  # a sweep's seeds are in its file
                seed_of(self.name, self.models())
            if globals_.out is not None and not self.writes:
                raise UsageError(f"--out: omp {self.name} makes no folder", "leave it out")
            load_plugins(globals_.plugin)
            if not globals_.resolving:
                for line in unread(os.environ, offered):
                    globals_.console.note(line)
            model = self.model or Settings
            self.function(Call[Any](self.name, model, globals_, file, sets, given, earlier=self.earlier), **values)
        except KeyboardInterrupt:  # Typer would end the process without a word
            raise Interrupted("interrupted", self.again) from None


def command(
    name: str,
    model: type[Settings] | None,
    preset: str | None = None,
    also: Callable[[], Iterable[type[Settings]]] = tuple,
    writes: bool = True,
    earlier: Earlier = "kept",
    together: bool = False,
) -> Callable[[Function], Framed]:
    """Make a command of a function; see ``Framed``."""
    return lambda function: Framed(function, name, model, preset, also, writes, earlier, together)


def _seed_without(models: Iterable[type[Settings]]) -> str:
    """The words with which the help says what the seed is without ``--seed``."""
    found = (default_text(model.model_fields["seed"]) for model in models if "seed" in model.model_fields)
    return " or ".join(dict.fromkeys(found))
