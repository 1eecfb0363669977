"""Configuration of ``omp report``."""

from __future__ import annotations

from typing import Annotated

from omp_cli.core.config import Flag, Settings


class ReportConfig(Settings):
    """How a report is made from evaluations."""

    baseline: Annotated[str | None, Flag(panel="Report", default="the most evaluated")] = None
    """The row, by its label, with which the others are compared."""
    seed: int = 0
    """Seed of the bootstrap."""
