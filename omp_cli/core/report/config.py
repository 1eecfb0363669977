"""Configuration of ``omp report``."""

from __future__ import annotations

from typing import Annotated

from omp_cli.core.base.config import Flag, Seed, Settings


class ReportConfig(Settings):
    """How a report is made from evaluations."""

    baseline: Annotated[str | None, Flag(panel="Report")] = None
    """Label of the row with which the others are compared; None for the one with the most evaluations."""
    rename: Annotated[tuple[str, ...], Flag(panel="Report", metavar="OLD=NEW")] = ()
    """Show a row under another name: OLD=NEW, or OLD*=NEW* for all rows that begin so; repeatable. Rows that come to
    have one name become one. Manifests stay as they are.
    """
    paper: Annotated[bool, Flag("--paper", panel="Report")] = False
    """Write the tables as LaTeX (``report.tex``, booktabs), too, and the plots as PDF."""
    seed: Seed = 0
    """Seed of the bootstrap."""
