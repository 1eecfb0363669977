"""``omp report``: the papers' table, from manifests alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.commands.common import RUNS, Globals, run_folder, show_dry_run
from omp_cli.console import make_table


def report(
    globals_: Globals,
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Hold runs of omp eval, at any depth.")],
    baseline: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Compare the others with this one. (default: the most evaluated)"),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW", help="Show a row under another name; OLD*=NEW* all that begin so. May be repeated."
        ),
    ] = None,
) -> None:
    """Tables and plots of all evaluations below some folders, with intervals; published figures beside them.

    Runs of omp bench-latency below the folders give the latencies. The terminal shows the tables by class, the files
    (and --verbose) those by task and of the selection of checkpoints too.

    Example: omp report runs/eval

    Example: omp report runs/sweep --baseline "omp dde" --out runs/report/family

    Example: omp report runs/sweep --rename "omp dde=light-1" --baseline light-1
    """
    seed = globals_.seed or 0
    sources: dict[str, Any] = {
        "folders": {"value": [str(folder) for folder in folders], "source": "argument"},
        "baseline": {"value": baseline, "source": "default" if baseline is None else "flag"},
        "rename": {"value": rename or [], "source": "flag" if rename else "default"},
        "seed": {"value": seed, "source": "default" if globals_.seed is None else "flag"},
    }
    if globals_.dry_run:
        show_dry_run(globals_, "report", sources)
        return
    from omp_cli.core.report.collect import collect
    from omp_cli.core.report.rename import renamed
    from omp_cli.core.report.tables import all_tables
    from omp_cli.core.report.write import write_report
    from omp_cli.core.run import Run

    found = collect(folders)
    found.evaluations = renamed(found.evaluations, rename or [])
    with Run(globals_.out or run_folder(RUNS / "report", "report"), "report", sources, {"seed": seed}) as run:
        document = write_report(run, found, baseline, seed)
    shown = []
    for table in all_tables(document, by_task=globals_.verbose):
        shown.append(make_table(table.title, table.columns, table.rows))
        shown[-1].caption = table.note or None
        for index in table.grey:
            shown[-1].rows[index].style = "dim"
    lines = [f"warning: {line}" for line in document["warnings"]]
    lines += [f"{a.path.rpartition('.')[2]}: {run.folder / a.path}" for a in run.manifest.artifacts]
    body = {"command": "report", "run_dir": str(run.folder), "manifest": str(run.path), "result": document}
    globals_.console.result(body, shown, lines)
