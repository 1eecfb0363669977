"""What the trainings behind evaluations came to: their time, the embedding, and the way of a fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omp_cli.core.base.statistics import spread
from omp_cli.core.base.table import NONE, PLUS_MINUS, Table, once, table_of
from omp_cli.core.report.collect import Evaluation
from omp_cli.core.report.sections import Section

FIGURES: Mapping[str, tuple[str, float]] = {
    "minutes": ("train_seconds", 60),
    "thousand\nsteps": ("env_steps", 1000),
    "rank\nof h": ("effective_rank", 1),
    "width\nof h": ("mean_distance", 1),
    "dispersion": ("share_dispersion", 1),
}
"""Column: the figure of the run's manifest, and its unit."""
NOTE = (
    "Means over seeds of the figures that each run ended with. h is the embedding of an "
    "observation: its effective rank, and the mean distance of two of a batch; dispersion: its share of the gradient."
)


def trainings(section: Section) -> list[dict[str, Any]]:
    """The trainings of each policy on each task, whatever NFE they were evaluated with; JSON types only.

    "held_out" are the evaluations during a fine-tuning, a list for each seed of [environment steps, seconds of
    collecting and learning, success rate in [0, 1] or return, episodes].
    """
    found = []
    for _, (suite, task) in section.tasks:
        policies: dict[str, dict[int | None, Evaluation]] = {}
        for row in section.rows:
            for e in row.of((suite, task)):
                if e.policy.get("training"):  # evaluations by earlier omps do not say it
                    policies.setdefault(e.label, {}).setdefault(e.seed, e)
        for label, runs in policies.items():
            said = [e.policy["training"] for e in runs.values()]
            figures = {key for key, _ in FIGURES.values() if all(key in figures for figures in said)}
            found.append(
                {
                    "task": f"{suite}/{task}",
                    "title": label,
                    "seeds": list(runs),
                    "figures": {key: _spread(figure[key] for figure in said) for key in sorted(figures)},
                    "held_out": [_held_out(section.metric, figure["evaluations"]) for figure in said]
                    if all(figure.get("evaluations") for figure in said)
                    else [],
                    "demonstrations": _demonstrations(runs.values()),
                }
            )
    return found


def _spread(values: Iterable[float]) -> dict[str, Any]:
    found = spread(list(values))
    return {"mean": found.mean, "std": found.std}


def _held_out(metric: str, rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    return [
        [
            row.get("env_steps", 0),
            row.get("train_seconds", 0.0),
            row["successes"] / row["episodes"] if metric == "success" else row["return"],
            row["episodes"],
        ]
        for row in rows
    ]


def _demonstrations(evaluations: Iterable[Evaluation]) -> float | None:
    """The demonstrations' mean return, where the return counts and all have the same."""
    means = {(e.manifest.metrics.get("demonstrations") or {}).get("mean") for e in evaluations if e.metric != "success"}
    return means.pop() if len(means) == 1 else None


def training_table(section: Mapping[str, Any]) -> Table:
    """Policies by task; only figures that some training has."""
    rows, (name, unit) = section["training"], held_out_of(section)
    columns: dict[str, list[str]] = {
        "task": once(row["task"].partition("/")[2] for row in rows),
        "policy": [row["title"] for row in rows],
        "seeds": [str(len(row["seeds"])) for row in rows],
    }
    for head, (key, of) in FIGURES.items():
        means = [row["figures"].get(key, {}).get("mean") for row in rows]
        columns[head] = [NONE if mean is None else _in_words(mean / of) for mean in means]
    for head, place in {"before": 0, "after": -1}.items():
        ends = [[run[place][2] / unit for run in row["held_out"]] for row in rows]
        columns[head] = [_in_words(**_spread(values)) if values else NONE for values in ends]
    found = table_of(f"Training on {section['title']}", columns, always=("task", "policy", "seeds"))
    found.note = NOTE
    if any(row["held_out"] for row in rows):
        found.note += (
            f" Steps are the environment's. Before, after: {name} {PLUS_MINUS} std, as the fine-tuning found on few "
            "episodes."
        )
    return found


def held_out_of(section: Mapping[str, Any]) -> tuple[str, float]:
    """What the axis of held-out evaluations is called, and its unit."""
    return ("held-out success, %", 0.01) if section["metric"] == "success" else (f"held-out {section['metric']}", 1)


def _in_words(mean: float, std: float | None = None) -> str:
    digits = max(0, 2 - math.floor(math.log10(abs(mean)))) if mean else 0  # three significant ones
    return f"{mean:.{digits}f}" + ("" if std is None else f" {PLUS_MINUS} {std:.{digits}f}")
