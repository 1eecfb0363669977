"""What ``omp deploy`` and ``omp serve`` share: from a path to a policy that acts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TypeVar

from omp_cli import core
from omp_cli.commands.call import Call
from omp_cli.commands.chosen import Chosen
from omp_cli.commands.inputs import TRAINED
from omp_cli.commands.lines import resolve
from omp_cli.core.base import config as c
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.flags import options_of
from omp_cli.core.base.layers import unflatten
from omp_cli.core.deploy.config import ActingConfig, DeployConfig
from omp_cli.core.deploy.turns import AGAINST

S = TypeVar("S", bound=ActingConfig)
LABEL = "--label"


def opened(call: Call[S], policy: Path | None) -> tuple[Chosen[S], core.Player]:
    """The settings of the line and a policy that it names, else the newest trained one."""
    chosen = call.settings()
    call.known(chosen)
    return _opened(call, chosen, policy or call.newest(TRAINED))


def opened_against(call: Call[DeployConfig], words: str) -> tuple[Chosen[DeployConfig], core.Player]:
    """Another policy, by the words of ``--against``: its path, perhaps with settings of its own after it.

    Raises:
        UsageError: a setting that is not a policy's own, or that does not fit.
    """
    path, *own = [words] if Path(words).exists() else shlex.split(words) or [""]
    names = [*(one.name for one in options_of(ActingConfig)), LABEL]
    for word in own:
        if word.startswith("-") and word.partition("=")[0] not in names:
            raise UsageError(f"--against {words!r}: {word} is no policy's own", f"what may be: {', '.join(names)}")
    shared, found = call.settings().sources, resolve("deploy", ("--env", "", *own))
    changed = {key: {**entry, "source": AGAINST} for key, entry in found.items() if entry["source"] in c.ON_THE_LINE}
    entries = {**shared, "label": found["label"], **changed}
    settings = c.validated(DeployConfig, unflatten({key: entry["value"] for key, entry in entries.items()}))
    sources = c.sources_of(settings, {key: str(entry["source"]) for key, entry in entries.items()})
    return _opened(call, Chosen(settings, sources), Path(path))


def _opened(call: Call[S], chosen: Chosen[S], path: Path) -> tuple[Chosen[S], core.Player]:
    settings = chosen.settings
    core.use_threads(settings.threads)
    decider = core.open_decider(
        path, call.globals.device_name, settings.weights, settings.nfe, settings.graph, settings.precision
    )
    if (moved := decider.against_float32) is not None:
        call.console.note(f"precision {settings.precision}: actions differ from float32's by {moved.spread}")
    chosen.add(decider.kind, str(decider.path), "argument")
    return chosen, core.Player(decider, settings.seed, settings.execute, settings.ensemble, settings.noise_scale)
