"""In which settings a row differs from another, and which rows do not agree with themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.layers import flatten
from omp_cli.core.base.registry import Family
from omp_cli.core.families import ENCODERS, METHODS, NETS
from omp_cli.core.policy_config import PolicyConfig
from omp_cli.core.report.collect import Evaluation
from omp_cli.core.report.sections import Row

BOOKKEEPING = (
    *(f"train.{name}" for name in ("log_every", "checkpoint_every", "keep", "tracker", "validate_every", "graph")),
    "encoder.two_pass",
)
"""Settings that change no policy."""
OF_A_TASK = ("data.expert.", "data.files.", "data.source")
"""Settings that begin so differ between tasks by nature: a file has the data of one, and its expert does one."""
ABSENT = "absent"

_FAMILIES: dict[str, Family[Any]] = {"method": METHODS, "net": NETS, "encoder": ENCODERS}

_CHUNK = flatten(PolicyConfig.model_fields["chunk"].default.model_dump(mode="json"), "chunk.")

Change = tuple[str, str]


def differences(row: Row, base: Row) -> dict[str, Change]:
    """By setting: its value in ``base`` and in ``row``, on the tasks that both have (on all where there is none).

    A setting that an earlier omp did not have counts as its default, and as none where that is not known.
    Where another method, net or encoder is taken, or one of the two alone was fine-tuned, the settings that belong to
    it are not listed: they cannot be compared.
    """
    tasks = {(e.suite, e.task) for e in row.evaluations} & {(e.suite, e.task) for e in base.evaluations}
    ours, theirs = (_values(e for e in r.evaluations if not tasks or (e.suite, e.task) in tasks) for r in (row, base))
    changes = {
        key: (_text(theirs.get(key)), _text(ours.get(key)))
        for key in dict.fromkeys([*theirs, *ours])
        if theirs.get(key) != ours.get(key)
        and (theirs.get(key) or _unsaid(key, theirs)) != (ours.get(key) or _unsaid(key, ours))
    }
    names = [key for key in changes if key.endswith(".name")]
    others = tuple(key.removesuffix("name") for key in names)
    if "none" in changes.get("finetuned_by", ()):  # a fine-tuned policy tells that, not how it was trained before
        names = [key for key in names if not key.startswith("finetune.")]
        others = (*others, "train.", "finetune.")
    return {key: change for key, change in changes.items() if not key.startswith(others) or key in names}


def mixed(row: Row) -> dict[str, str]:
    """Settings that are not the same in all evaluations of a row on one suite (on one task), with their values."""
    found: dict[str, str] = {}
    for suite, task in dict.fromkeys((e.suite, name) for e in row.evaluations for name in (None, e.task)):
        values = _values(e for e in row.evaluations if e.suite == suite and task in (None, e.task))
        several = {key: _text(those) for key, those in values.items() if len(those) > 1}
        found |= {key: text for key, text in several.items() if (task is not None) == key.startswith(OF_A_TASK)}
    return found


def _values(evaluations: Iterable[Evaluation]) -> dict[str, list[str]]:
    """Every value that each setting has, as JSON."""
    found: dict[str, set[str]] = {}
    for e in evaluations:
        everything: dict[str, Any] = {**e.settings, "nfe": e.nfe, "precision": e.precision}
        everything["noise_scale"] = e.noise_scale
        everything |= {"export": e.policy.get("export")} | ({"chunk.execute": e.execute} if e.execute else {})
        for key, value in everything.items():
            if key not in BOOKKEEPING:
                found.setdefault(key, set()).add(json.dumps(value))
    return {key: sorted(values) for key, values in found.items()}


def _unsaid(key: str, row: Mapping[str, list[str]]) -> list[str]:
    """What a setting is in a row that does not say it: its default, or none where that is not known."""
    section = key.split(".")[0]
    names = [json.loads(name) for name in row.get(f"{section}.name", ())]
    default = _defaults(section, names[0]).get(key) if section in _FAMILIES and len(names) == 1 else _CHUNK.get(key)
    return [json.dumps(default)]


@cache
def _defaults(section: str, name: str) -> dict[str, Any]:
    """The defaults of a method, net or encoder by their dotted names; none of a plugin that is not loaded."""
    with suppress(UsageError):
        return flatten(_FAMILIES[section].parse({"name": name}).model_dump(mode="json"), f"{section}.")
    return {}


def _text(values: list[str] | None) -> str:
    if values is None:
        return ABSENT
    return " | ".join("none" if value == "null" else value.strip('"') for value in values)
