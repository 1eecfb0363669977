"""What ``omp sweep`` shows of its jobs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omp_cli.core.base.table import Table
from omp_cli.core.sweep.job import Job


def planned(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The jobs of a sweep and how far each is now, as plain data."""
    return [
        {"name": job.name, "command": job.command, "state": job.outcome().state, "line": list(job.line)} for job in jobs
    ]


def plan_table(folder: Path, jobs: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each job of the sweep in ``folder``, of ``planned``."""
    rows = [(job["name"], job["state"], f"omp {shlex.join(job['line'])}") for job in jobs]
    return Table(f"Jobs of {folder}", ("job", "state", "line"), rows)


def job_tables(jobs: Sequence[Mapping[str, Any]]) -> list[Table]:
    """How many jobs of each command have finished, in what mean time; and why the others have not."""
    kinds = dict.fromkeys(job["command"] for job in jobs)
    rows = []
    for kind in kinds:
        of = [job for job in jobs if job["command"] == kind]
        finished = [job["seconds"] for job in of if job["state"] == "finished"]
        mean = f"{sum(finished) / len(finished):.1f}" if finished else "none"
        rows.append((f"omp {kind}", f"{len(finished)}/{len(of)}", mean))
    tables = [Table("Jobs", ("command", "finished", "mean seconds"), rows)]
    lost = [(job["name"], job["state"], job["error"] or "") for job in jobs if job["state"] != "finished"]
    if lost:
        tables.append(Table("Not finished", ("job", "state", "why"), lost))
    return tables
