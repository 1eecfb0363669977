"""Where a preset is not what its paper's public code does, by its file's table ``[deviations]``.

A key is a setting, with quotes for its dots, or a few words for what no setting says. As inline tables::

    [deviations]
    "algorithm.clip" = { public = "0.001 to 0.01 over the jumps", why = "one clip for all jumps" }
    "gradient of a batch" = { public = "summed", ours = "averaged", why = "..." }

What a preset ``extends`` hands its deviations on, but for those of the settings that the preset itself sets.
"""

from __future__ import annotations

from typing import Any

from omp_cli.core.base.config import Settings, validated
from omp_cli.core.base.layers import flatten, value_text
from omp_cli.core.base.presets import DEVIATIONS, preset_file, preset_names


class Deviation(Settings):
    """One difference from what was published."""

    public: Any
    """The public value; words where it is none that the setting could have."""
    why: str
    """The reason for another one."""
    ours: Any = None
    """What there is instead, where no setting says it."""


def deviations(command: str, name: str) -> dict[str, Deviation]:
    """All deviations of a preset, its own and those that it has taken over; UsageError for a malformed entry."""
    document = preset_file(command, name)
    own = document.pop(DEVIATIONS, {})
    base = document.pop("extends", None)
    mine = flatten(document)
    inherited = {} if base is None else deviations(command, base)
    found = {key: entry for key, entry in inherited.items() if key not in mine}
    return found | {key: validated(Deviation, entry, f"preset {name}: {DEVIATIONS}") for key, entry in own.items()}


def page(command: str) -> str:
    """The deviations of all presets of a command as Markdown, one section per preset that has any of its own."""
    lines: list[str] = []
    for name in preset_names(command):
        document = preset_file(command, name)
        if DEVIATIONS not in document:
            continue
        lines += [f"### `{name}`", "", "| setting or matter | here | public | why |", "|---|---|---|---|"]
        values, found = flatten(document), deviations(command, name)
        for key in document[DEVIATIONS]:
            entry = found[key]
            here = values.get(key, "the default") if entry.ours is None else entry.ours
            lines.append(f"| {key} | {value_text(here)} | {value_text(entry.public)} | {entry.why} |")
        lines.append("")
    return "\n".join(lines)
