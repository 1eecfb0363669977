"""Presets: TOML files of settings for a command, one of which may build on another.

Some ship with omp and are called by their names; one of the user's own is called by the path of its file.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any

from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.base.layers import Layer, flatten, merge, toml_document, toml_file

DEVIATIONS = "deviations"
"""The table of a preset's file that says where it is not what was published (``core/base/deviations.py``)."""
BENCH = "bench"
"""The table of a preset's file that says what is timed."""
ENDING = ".toml"
"""What tells the path of a file from a name."""
VERSION = "version"
"""The key that numbers the presets which have had one name; a file that does not say has number 1."""


def preset_names(command: str) -> tuple[str, ...]:
    """Names of the presets that ship for a command."""
    folder = resources.files("omp_cli.presets") / command
    return tuple(sorted(p.name.removesuffix(ENDING) for p in folder.iterdir() if p.name.endswith(ENDING)))


def preset_document(command: str, name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A preset with the settings of the one that it ``extends``.

    Args:
        command: the command that it is for.
        name: of a preset that ships, or the path of a file; in ``extends`` that is relative to the file it stands in.
        above: the presets that build on this one.

    Raises:
        UsageError: there is no preset of that name (with the nearest ones), it is no TOML, or builds on itself.
        DataError: there is no such file.
    """
    name = _normal(name)
    document = preset_file(command, name)
    for of_the_file in (DEVIATIONS, VERSION):
        document.pop(of_the_file, None)
    if (base := document.pop("extends", None)) is None:
        return document
    above = (*above, name)
    if not isinstance(base, str):
        raise UsageError(f"preset {name}: extends is {base!r}", 'it names one preset: extends = "light"')
    if base.endswith(ENDING):
        base = _normal(str(Path(name).parent / _normal(base)))
    if base in above:
        raise UsageError(f"preset {name}: extends {base}, which builds on it")
    below = preset_document(command, base, above)
    if isinstance(bench := below.get(BENCH), dict):
        bench.pop("label", None)  # which is that preset's alone
    return merge([Layer(base, flatten(below)), Layer(name, flatten(document))])[0]


def preset_file(command: str, name: str) -> dict[str, Any]:
    """What stands in a preset's own file; raises as ``preset_document``."""
    if name.endswith(ENDING):
        return toml_file(Path(_normal(name)), "preset")
    if name not in (known := preset_names(command)):
        nearest = did_you_mean(name, known)
        hint = f"a preset of your own is the path of its file, such as {name}{ENDING}"
        raise UsageError(f"unknown preset {name!r}", f"{nearest}; {hint}" if nearest else hint)
    return toml_document((resources.files("omp_cli.presets") / command / f"{name}{ENDING}").read_text(encoding="utf-8"))


def _normal(name: str) -> str:
    """A preset's name; of a file its path, the same however it is written."""
    if not name.endswith(ENDING):
        return name
    return os.path.normpath(os.path.expanduser(name))


def preset_layer(command: str, name: str) -> Layer:
    """The settings of a preset, under its name and, where its settings were changed since the first, its ``version``.

    Its ``[bench]`` table, what the latency table says of it, is no setting.
    """
    document = {key: value for key, value in preset_document(command, name).items() if key != BENCH}
    version = preset_file(command, name).get(VERSION, 1)
    return Layer(f"preset {name}" if version == 1 else f"preset {name}, version {version}", flatten(document))
