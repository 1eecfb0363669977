"""What ``omp finetune`` shows of its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omp_cli.core.base.table import Table

FIGURES = (
    "iterations", "env_steps", "train_seconds", "env_steps_per_second", "return", "successes", "recent_episodes",
    "ratio", "kl", "clip_share", "explained_variance", "bc", "sigma", "worker_restarts",
)  # fmt: skip
HELD_OUT = ("step", "env_steps", "train_seconds", "return", "successes", "episodes")


def tuning_tables(figures: Mapping[str, Any]) -> list[Table]:
    """The figures of a run; and a row for each of its evaluations on held-out episodes, if it had any."""
    tables = [Table("Fine-tuned", ("figure", "value"), [(n, figures[n]) for n in FIGURES if n in figures])]
    if rows := figures.get("evaluations"):
        keys = [key for key in HELD_OUT if key in rows[-1]]
        tables.append(Table("Held-out episodes", keys, [[row.get(key, 0) for key in keys] for row in rows]))
    return tables
