"""What ``omp deploy`` and ``omp serve`` share: from a path to a policy that acts."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from omp_cli import core
from omp_cli.commands.call import Call
from omp_cli.commands.chosen import Chosen
from omp_cli.commands.inputs import TRAINED
from omp_cli.core.deploy.config import ActingConfig

S = TypeVar("S", bound=ActingConfig)


def opened(call: Call[S], policy: Path | None) -> tuple[Chosen[S], core.Player]:
    """The settings of the line and a policy that it names, else the newest trained one."""
    chosen = call.settings()
    call.known(chosen)
    settings = chosen.settings
    core.use_threads(settings.threads)
    path = policy or call.newest(TRAINED)
    decider = core.open_decider(
        path, call.globals.device_name, settings.weights, settings.nfe, settings.graph, settings.precision
    )
    if (moved := decider.against_float32) is not None:
        call.console.note(f"precision {settings.precision}: actions differ from float32's by {moved.spread}")
    chosen.add(decider.kind, str(decider.path), "argument")
    return chosen, core.Player(decider, settings.seed, settings.execute, settings.ensemble, settings.noise_scale)
