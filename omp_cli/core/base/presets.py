"""Presets that ship: TOML files of settings for a command, one of which may build on another."""

from __future__ import annotations

from importlib import resources
from typing import Any

from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.base.layers import Layer, flatten, merge, toml_document

DEVIATIONS = "deviations"
"""The table of a preset's file that says where it is not what was published (``core/base/deviations.py``)."""
VERSION = "version"
"""The key that numbers the presets which have had one name; a file that does not say has number 1."""


def preset_names(command: str) -> tuple[str, ...]:
    """Names of the presets that ship for a command."""
    folder = resources.files("omp_cli.presets") / command
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")))


def preset_document(command: str, name: str) -> dict[str, Any]:
    """A preset with the settings of the one that it ``extends``; UsageError with the nearest names if there is none."""
    if name not in (known := preset_names(command)):
        raise UsageError(f"unknown preset {name!r}", did_you_mean(name, known))
    document = preset_file(command, name)
    for of_the_file in (DEVIATIONS, VERSION):
        document.pop(of_the_file, None)
    if (base := document.pop("extends", None)) is None:
        return document
    return merge([preset_layer(command, base), Layer(name, flatten(document))])[0]


def preset_file(command: str, name: str) -> dict[str, Any]:
    """What stands in a preset's own file."""
    return toml_document((resources.files("omp_cli.presets") / command / f"{name}.toml").read_text(encoding="utf-8"))


def preset_layer(command: str, name: str) -> Layer:
    """The settings of a preset, under its name and, where its settings were changed since the first, its ``version``.

    Its ``[bench]`` table, what the latency table says of it, is no setting.
    """
    document = {section: value for section, value in preset_document(command, name).items() if section != "bench"}
    version = preset_file(command, name).get(VERSION, 1)
    return Layer(f"preset {name}" if version == 1 else f"preset {name}, version {version}", flatten(document))
