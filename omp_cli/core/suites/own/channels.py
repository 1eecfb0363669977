"""The numbers of a state or an action of one's own: their names, unit and ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from omp_cli.core.base.errors import UsageError
from omp_cli.core.data.readers import Recording
from omp_cli.core.data.store import Arrays
from omp_cli.core.spec import Channels

if TYPE_CHECKING:
    from omp_cli.core.suites.own.source import OwnFilesConfig

_SHOWN = 4
"""Numbers whose ranges are told."""


def check_names(setting: str, names: Sequence[str], width: int) -> None:
    """UsageError unless each of ``width`` numbers has a name of its own, or none has one."""
    if names and (len(names) != width or len(set(names)) != width):
        raise UsageError(f"{setting}: {len(set(names))} different names for {width} numbers", "name each of them once")


def names_of(episode: Arrays, key: str, recording: Recording, config: OwnFilesConfig) -> tuple[str, ...]:
    """Names of the numbers of "state" or "action": those asked for, the file's, or their places."""
    width = episode[key].shape[1]
    named = getattr(config, f"{key}_names") or recording.names.get(key, ())
    return tuple(named) if len(named) == width else tuple(f"{key}[{place}]" for place in range(width))


def channels_of(episodes: Sequence[Arrays], key: str, recording: Recording, config: OwnFilesConfig) -> Channels:
    """Names, unit, least and greatest value of each number of "state" or "action"."""
    low = np.min([episode[key].min(axis=0) for episode in episodes], axis=0)
    high = np.max([episode[key].max(axis=0) for episode in episodes], axis=0)
    finite = np.isfinite(low).all() and np.isfinite(high).all()  # what is not is refused by ``check_episodes``
    return Channels(
        names=names_of(episodes[0], key, recording, config),
        unit=getattr(config, f"{key}_unit") or recording.units.get(key, ""),
        low=tuple(low.tolist()) if finite else (),
        high=tuple(high.tolist()) if finite else (),
    )


def ranges(channels: Mapping[str, Any]) -> str:
    """The ranges of the first actions, in a sentence."""
    rows = list(zip(channels["names"], channels["low"], channels["high"], strict=True))
    shown = ", ".join(f"{name} {low:.3g} to {high:.3g}" for name, low, high in rows[:_SHOWN])
    unit = channels["unit"] or "their own units (--set action_unit=... names them)"
    return f"actions stay in {unit}: {shown}{f', and {len(rows) - _SHOWN} more' if len(rows) > _SHOWN else ''}"
