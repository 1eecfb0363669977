"""``omp runs``: what there is of data sets and runs, and the removal of those that came to nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.commands.call import Call
from omp_cli.commands.frame import command
from omp_cli.commands.inputs import DATA, RUNS
from omp_cli.commands.options import argument, option
from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.inventory import (
    STATES,
    UNFINISHED,
    entries_table,
    list_lines,
    list_runs,
    list_tables,
    plan_pruning,
    remove_runs,
    size_of_all,
)

PLACES = (DATA, RUNS)


@command("runs", None, writes=False)
def runs(
    call: Call[Settings],
    folders: Annotated[
        list[Path] | None, argument("Folders to look in.", " and ".join(map(str, PLACES)), metavar="FOLDER")
    ] = None,
    status: Annotated[
        str | None, option(f"List only what is of this status: {', '.join(STATES)}.", values=lambda: STATES)
    ] = None,
    prune: Annotated[bool, option(f"Remove runs that are {', '.join(UNFINISHED)}, after asking.", "--prune")] = False,
    yes: Annotated[bool, option("Remove without asking, with --prune.", "--yes", "-y")] = False,
) -> None:
    """List data sets and runs: the status of each, what it is, when it began, its size, its success and where it is.

    Example: omp runs

    Example: omp runs runs/pretrain --status failed, then omp runs --prune --dry-run
    """
    if status is not None and status not in STATES:
        raise UsageError(f"--status {status}: no status", f"known: {', '.join(STATES)}")
    if yes and not prune:
        raise UsageError("--yes: there is nothing to agree to without --prune", "omp runs --prune --yes")
    if prune and status is not None and status not in UNFINISHED:
        raise UsageError(
            f"--prune removes no run that is {status}", f"it removes those that are {', '.join(UNFINISHED)}"
        )
    for folder in folders or ():
        if not folder.is_dir():
            raise DataError(f"folder {folder}: no such folder", "give folders that hold data sets or runs")
    places = list(folders or PLACES)
    if prune:
        _prune(call, places, status, yes)
        return
    found = list_runs(places)
    shown = [entry for entry in found if status in (None, entry.state)]
    document = {"command": "runs", "runs": [entry.as_dict(found) for entry in shown]}
    call.console.result(document, list_tables(shown, found), list_lines(shown, places))


def _prune(call: Call[Settings], places: Sequence[Path], status: str | None, yes: bool) -> None:
    """Show which runs would go and which stay, ask the user, and remove them."""
    everything = list_runs([*places, *PLACES])  # what lies elsewhere may need what lies here
    plan = plan_pruning(everything, places)
    gone = [entry for entry in plan.gone if status in (None, entry.state)]
    stays = [f"stays: {folder}: {reason}" for folder, reason in plan.kept.items()]
    document: dict[str, Any] = {
        "command": "runs",
        "dry_run": call.globals.dry_run,
        "removed": [],
        "kept": [{"folder": str(folder), "reason": reason} for folder, reason in plan.kept.items()],
        "would_remove": [entry.as_dict(everything) for entry in gone],
    }
    size = size_of_all(gone)
    if call.globals.dry_run or not gone:
        tables = [entries_table("Would go", gone, everything)] if gone else []
        call.console.result(document, tables, [*stays, f"{len(gone)} would be removed, {size}"])
        return
    if not yes:
        if call.globals.json_ or not sys.stdin.isatty():
            raise UsageError(f"--prune would remove {len(gone)} runs and has nobody to ask", "--yes agrees to it")
        call.console.result({}, [entries_table("To be removed", gone, everything)], stays)
        if not typer.confirm(f"Remove these {len(gone)} folders, {size}?", err=True):
            call.console.note("nothing was removed")
            return
        stays = []  # these lines were shown above the question
    removed, failures = remove_runs(gone)
    document["removed"] = [str(entry.folder) for entry in removed]
    told = [f"removed: {entry.folder} ({entry.state})" for entry in removed]
    told += [*stays, *[f"stays: {reason}" for reason in failures]]
    call.console.result(document, [], [*told, f"{len(removed)} removed, {size_of_all(removed)}"])
