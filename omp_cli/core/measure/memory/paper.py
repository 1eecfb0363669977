"""The rows of OMP's table of training memory (arXiv 2512.19347), 256 M parameters, batch 128, one RTX 4090.

The paper gives a sum per row and does not say what it counts (allocated, reserved or the whole process), nor whether
GB are 10^9 bytes. Adroit Hammer's sizes are those of the public pipelines it builds on; Place Bottle is a task of its
own real robot, whose sizes it does not give: ours are assumptions, and not chosen to match.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omp_cli.core.base.papers import memory_gb
from omp_cli.core.measure.memory.cases import Case, made_up_spec, make_case
from omp_cli.core.measure.memory.config import COLUMNS, Column


@dataclass(frozen=True)
class PaperTask:
    """A task of the table.

    Attributes:
        name: the task's name in the paper.
        action_dim: A.
        state_dim: S.
        points: N.
        assumed: which of these are assumptions, in words; empty when none is.
    """

    name: str
    action_dim: int
    state_dim: int
    points: int
    assumed: str


TASKS = (
    PaperTask("Adroit Hammer", 26, 24, 512, ""),
    PaperTask(
        "Place Bottle",
        7,
        7,
        1024,
        "action 7, state 7 and 1024 points of Place Bottle are assumed (six joints and a gripper; the larger of the "
        "paper's two clouds)",
    ),
)
HORIZONS = (4, 16)
BATCH = 128


def paper_cases(derivatives: tuple[Column, ...] = COLUMNS, seed: int = 0) -> list[Case]:
    """The table's rows with the encoder as published, plus each derivative with the two-pass encoder."""
    cases = []
    for task in TASKS:
        spec = made_up_spec(task.action_dim, task.state_dim, task.points)
        for horizon in HORIZONS:
            for two_pass in (False, True):
                for derivative in derivatives:
                    changes = {"encoder.two_pass": two_pass}
                    case = make_case("omp-paper", derivative, horizon, BATCH, spec, changes, seed)
                    cases.append(Case(task.name, derivative, case.config, spec))
    return cases


def published_gb(row: Mapping[str, Any]) -> float | None:
    """The paper's figure for a result row, GB; None where it has none."""
    if row["two_pass"]:
        return None
    return memory_gb(row["name"], row["horizon"], row["derivative"])
