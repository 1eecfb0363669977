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
from omp_cli.core.deploy.config import AGAINST, ActingConfig, DeployConfig

S = TypeVar("S", bound=ActingConfig)
LABEL, DIGITS = "--label", "0123456789."


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
    try:
        path, *own = [words] if Path(words).exists() else shlex.split(words) or [""]
        if path[:1] in ("", "-"):
            raise ValueError("a policy's path comes first")
        names = [*(one.name for one in options_of(ActingConfig)), LABEL]
        for word in own:
            if word.startswith("-") and word[1:2] not in DIGITS and word.partition("=")[0] not in names:
                raise UsageError(f"{word} is no policy's own", f"what may be: {', '.join(names)}")
        found = resolve("deploy", ("-", "--env", "", *own))
    except ValueError as error:
        hint = "PATH, or 'PATH --nfe 5'; quote a path that has spaces"
        raise UsageError(f"--against {words!r}: {error}", hint) from None
    except UsageError as error:
        raise UsageError(f"--against {words!r}: {error.message}", error.hint) from None
    changed = {key: {**entry, "source": AGAINST} for key, entry in found.items() if entry["source"] in c.ON_THE_LINE}
    entries = {**call.settings().sources, "label": {"value": None, "source": "default"}, **changed}
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
