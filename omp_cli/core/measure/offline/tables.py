"""The tables of an evaluation without an environment, made from the figures of its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omp_cli.core.base.table import NONE, Table, cell_text
from omp_cli.core.measure.offline.scores import BASELINES, DATA, LAST, MEAN, POLICY, SAMPLE, SAMPLES

WORDS = {
    POLICY: "policy",
    SAMPLE: "policy: one sample",
    MEAN: "policy: mean of {samples} samples",
    SAMPLES: "policy: distribution of {samples} samples",
    LAST: "last action repeated",
    DATA: "mean of the demonstrations",
}
WIDEST = 8
"""Executed steps up to which each has a column."""


def offline_tables(figures: Mapping[str, Any]) -> list[Table]:
    """Error by predictor, and the policy's and the baselines' by action dimension."""
    offline = figures["offline"]
    errors = offline["errors"]
    steps = len(errors[LAST].get("by_step", ()))
    shown = range(steps) if steps <= WIDEST else (0, steps // 2, steps - 1)
    grey = {row for row, name in enumerate(errors) if name in BASELINES}
    rows = [
        [WORDS[name].format(**offline), *(bounded(of.get(key)) for key in ("relative", "energy_score"))]
        + [_value(of["by_step"][step]) if "by_step" in of else NONE for step in shown]
        for name, of in errors.items()
    ]
    head = ("predicted by", "error / spread", "energy score", *(f"step {step + 1}" for step in shown))
    title = f"Actions of {_episodes(offline)}, {figures['selection']} checkpoint, step {figures['checkpoint_step']}"
    note = (
        "Root mean square error of the executed steps in units of the demonstrations' standard deviation [95 % "
        "bootstrap over episodes]. The energy score does not punish spread that the demonstrations have."
    )
    policy = next(name for name in (SAMPLE, POLICY) if name in errors)
    names = [name for name in (policy, MEAN, *BASELINES) if name in errors]
    named = offline.get("names") or list(map(str, range(len(offline["spread"]))))  # earlier manifests have none
    unit = offline.get("unit") or "the data's units"
    columns = ("action", "spread", *(WORDS[name].format(**offline) for name in names), "error / spread")
    by_dimension = [
        [named[index], NONE if spread is None else spread]
        + [bounded(errors[name]["by_dimension"][index]) for name in names]
        + [bounded(errors[policy]["by_dimension_relative"][index])]
        for index, spread in enumerate(offline["spread"])
    ]
    return [
        Table(title, head, rows, grey, note=note),
        Table(f"Error by action dimension, in {unit}", columns, by_dimension),
    ]


def _episodes(offline: Mapping[str, Any]) -> str:
    count = len(offline["episodes"])
    which = {"held-out": "held-out", "train": "training"}.get(offline["on"], "other")
    return f"{count} {which} episode{'s' * (count > 1)}"


def bounded(cell: Mapping[str, Any] | None) -> str:
    """A figure with its bounds, where it has any."""
    if cell is None or cell["value"] is None:
        return NONE
    bounds = "" if cell["low"] is None else f" [{cell_text(cell['low'])}, {cell_text(cell['high'])}]"
    return cell_text(cell["value"]) + bounds


def _value(cell: Mapping[str, Any]) -> str:
    return NONE if cell["value"] is None else cell_text(cell["value"])
