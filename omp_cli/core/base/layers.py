"""Layers of configuration: what files, the environment, ``--set`` and flags say, and how they are merged.

Order, later wins: default < preset < ``--config`` file < environment ``OMP_CLI_*`` < ``--set`` < flag.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from omp_cli.core.base.errors import DataError, UsageError

ENV_PREFIX = "OMP_CLI_"
ENVIRONMENT = "environment"
"""The source of what its variables say."""
EARLIER = {"finetune": ("method.", "algorithm."), "eval": ("finetune.method.", "finetune.algorithm.")}
"""How the dotted names of a section began in omp 0.2 and how they begin today, by command."""
NOTHING = ("none", "null")
"""How a file, a variable and ``--set`` say that a setting is off."""

T = TypeVar("T")


@dataclass(frozen=True)
class Layer:
    """Values from one place; keys are dotted ("train.steps"), and a table given as a value is its keys."""

    source: str
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", flatten(self.values))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a nested mapping by dotted keys, whose parts may be dotted already; a list is one value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dictionaries of dotted keys; UsageError when a key is both a value and a section."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, leaf = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise UsageError(f"{key}: {section} is a value, not a section")
        node[leaf] = value
    return tree


def of_today(command: str, settings: Mapping[str, T]) -> dict[str, T]:
    """A command's settings under their dotted names of today, which omp 0.2 may have called otherwise."""
    old, new = EARLIER.get(command, ("", ""))
    return {new + key.removeprefix(old) if key.startswith(old) else key: value for key, value in settings.items()}


def merge(layers: Iterable[Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    """Merge layers key by key, where a later layer wins; returns nested values and the source of each dotted key.

    A section that was switched off ("x = none") is there again once a later layer sets one of its keys, and the other
    way round.

    A layer that names a member of a family ("net.name") speaks of that member: when a later layer picks another one,
    what it says of the section is dropped, for a preset's ``net.hidden`` means nothing to another net. What a layer
    says of a section without naming a member is meant for the one that is chosen in the end.
    """
    layers = list(layers)
    chosen = {key: value for layer in layers for key, value in layer.values.items() if key.endswith(".name")}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        others = tuple(k.removesuffix("name") for k, v in layer.values.items() if k in chosen and v != chosen[k])
        for key, value in layer.values.items():
            if key.startswith(others):
                continue
            sections = key.split(".")
            off = [s for n in range(1, len(sections)) if (s := ".".join(sections[:n])) in values and values[s] is None]
            inside = [k for k in values if k.startswith(f"{key}.")] if value is None else []
            for gone in (*off, *inside):
                del values[gone], sources[gone]
            values[key], sources[key] = value, layer.source
    return unflatten(values), sources


def toml_document(text: str) -> dict[str, Any]:
    """What a TOML text says. TOML has no null, so "none" stands for one, as with ``--set``."""

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: read(entry) for key, entry in value.items()}
        return None if isinstance(value, str) and value.lower() in NOTHING else value

    return {key: read(value) for key, value in tomllib.loads(text).items()}


def toml_file(path: Path, kind: str) -> dict[str, Any]:
    """What a TOML file of the user's says; DataError when it is missing, UsageError when it does not parse.

    ``kind`` is what messages call it.
    """
    try:
        return toml_document(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{kind} {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, numbers of too many digits, too deep
        raise UsageError(f"{kind} {path}: {error}") from None


def file_layer(path: Path) -> Layer:
    """The layer of a TOML configuration file; raises as ``toml_file``."""
    return Layer(f"file {path}", flatten(toml_file(path, "configuration")))


def env_layer(environ: Mapping[str, str], model: type[BaseModel]) -> Layer:
    """The layer of the environment: ``OMP_CLI_TRAIN__STEPS=100`` sets ``train.steps``.

    A variable may be meant for another command, so one whose first section ``model`` does not have is left alone.
    """
    values = {key: parse_value(environ[name]) for name, key in keys_of(environ).items()}
    return Layer(ENVIRONMENT, {key: v for key, v in values.items() if key.split(".")[0] in model.model_fields})


def variables_of(environ: Mapping[str, str], key: str) -> list[str]:
    """The variables of the environment that say something of a setting, or of a section, by its dotted key."""
    return [name for name, known in keys_of(environ).items() if overlap(known, key)]


def variable(key: str) -> str:
    """The variable that says a setting, by its dotted key."""
    return ENV_PREFIX + key.replace(".", "__").upper()


def keys_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The dotted keys that the variables of the environment say, by the variables' names."""
    names = [name for name in sorted(environ) if name.startswith(ENV_PREFIX)]
    return {name: name.removeprefix(ENV_PREFIX).lower().replace("__", ".") for name in names}


def overlap(one: str, other: str) -> bool:
    """Whether two dotted keys are the same, or one lies inside the other ("net" and "net.hidden.0")."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def set_layer(pairs: Iterable[str]) -> Layer:
    """The layer of ``--set section.key=value``, each of which is read as TOML, else taken as text."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {pair!r}: expected section.key=value", "example: --set train.steps=500")
        values |= flatten({key.strip(): parse_value(text.strip())})
    return Layer("--set", values)


def parse_value(text: str) -> Any:
    """A TOML value if it is one (numbers, booleans, lists, tables), otherwise the text itself; "none" is null."""
    if text.lower() in NOTHING:
        return None
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def value_text(value: Any) -> str:
    """A value as a table shows it: a setting that is off is "none", as it is typed."""
    return NOTHING[0] if value is None else str(value)
