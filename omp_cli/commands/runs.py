"""``omp runs``: what there is of data sets and runs, and the removal of those that came to nothing."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.commands.frame import DATA, RUNS, Call, command
from omp_cli.commands.options import argument, option
from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import DataError, OmpError, UsageError
from omp_cli.core.base.table import NONE, Table
from omp_cli.core.inventory import UNFINISHED, Entry, list_runs, outermost, plan_pruning, remove_run

PLACES = (DATA, RUNS)
STATES = (*UNFINISHED, "running", "succeeded", "damaged")


@command("runs", None)
def runs(
    call: Call[Settings],
    folders: Annotated[
        list[Path] | None, argument("Folders to look in.", " and ".join(map(str, PLACES)), metavar="[FOLDER]...")
    ] = None,
    status: Annotated[
        str | None, option(f"Only those of this status: {', '.join(STATES)}.", values=lambda: STATES)
    ] = None,
    prune: Annotated[bool, option(f"Remove those that are {', '.join(UNFINISHED)}, after asking.", "--prune")] = False,
    yes: Annotated[bool, option("With --prune: do not ask.", "--yes", "-y")] = False,
) -> None:
    """List data sets and runs: status, what, when, size, success, where.

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
    total = sum(entry.bytes for entry in outermost(shown))
    lines = [f"{len(shown)} below {', '.join(map(str, places))}, {_size(total)}"]
    unfinished = [entry for entry in shown if entry.state in UNFINISHED]
    lines += [f"{e.folder}: {e.problem}" for e in shown if e.problem and e.manifest is not None]
    lines += [f"{len(unfinished)} came to nothing; see what can go: omp runs --prune --dry-run"] if unfinished else []
    document = {"command": "runs", "runs": [_row(entry, found) for entry in shown]}
    data = [entry for entry in shown if entry.command == "prepare"]
    others = [entry for entry in shown if entry.command != "prepare"]
    tables = [_table(title, of, found) for title, of in (("Data sets", data), ("Runs", others)) if of]
    call.console.result(document, tables, lines)


def _prune(call: Call[Settings], places: Sequence[Path], status: str | None, yes: bool) -> None:
    """Show what would go and what stays, ask, and remove."""
    everything = list_runs([*places, *PLACES])  # what lies elsewhere may need what lies here
    plan = plan_pruning(everything, places)
    gone = [entry for entry in plan.gone if status in (None, entry.state)]
    stays = [f"stays: {folder}: {reason}" for folder, reason in plan.kept.items()]
    document: dict[str, Any] = {
        "command": "runs",
        "dry_run": call.globals.dry_run,
        "removed": [],
        "kept": [{"folder": str(folder), "reason": reason} for folder, reason in plan.kept.items()],
        "would_remove": [_row(entry, everything) for entry in gone],
    }
    size = _size(sum(entry.bytes for entry in gone))
    if call.globals.dry_run or not gone:
        tables = [_table("Would go", gone, everything)] if gone else []
        call.console.result(document, tables, [*stays, f"{len(gone)} would be removed, {size}"])
        return
    if not yes:
        if call.globals.json_ or not sys.stdin.isatty():
            raise UsageError(f"--prune would remove {len(gone)} runs and has nobody to ask", "--yes agrees to it")
        call.console.result({}, [_table("To be removed", gone, everything)], stays)
        if not typer.confirm(f"Remove these {len(gone)} folders, {size}?", err=True):
            call.console.note("nothing was removed")
            return
    removed, failures = [], []
    for entry in gone:
        try:
            remove_run(entry)
            removed.append(entry)
        except OmpError as error:  # somebody has begun to work there meanwhile; the others can go
            failures.append(f"stays: {entry.folder}: {error.message}")
    document["removed"] = [str(entry.folder) for entry in removed]
    told = [f"removed: {entry.folder} ({entry.state})" for entry in removed]
    freed = _size(sum(entry.bytes for entry in removed))
    call.console.result(document, [], [*told, *(stays if yes else []), *failures, f"{len(removed)} removed, {freed}"])


def _table(title: str, entries: Sequence[Entry], everything: Sequence[Entry]) -> Table:
    columns = ("status", "what", "when", "size", "success", "where")
    rows = [[value or NONE for value in _cells(entry, everything)] for entry in entries]
    return Table(title, columns, rows)


def _cells(entry: Entry, everything: Sequence[Entry]) -> list[str]:
    success = entry.success(everything)
    return [entry.state, entry.what, _when(entry), _size(entry.bytes), success, str(entry.folder)]


def _row(entry: Entry, everything: Sequence[Entry]) -> dict[str, Any]:
    return {
        "folder": str(entry.folder),
        "status": entry.state,
        "command": entry.command or None,
        "what": entry.what,
        "started_at": entry.started_at or None,
        "bytes": entry.bytes,
        "success": entry.success(everything) or None,
        "problem": entry.problem or None,
    }


def _when(entry: Entry) -> str:
    """When it began, in the time of this place."""
    try:
        return datetime.datetime.fromisoformat(entry.started_at).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""


def _size(count: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
