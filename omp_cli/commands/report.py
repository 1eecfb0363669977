"""``omp report``: the papers' table, from manifests alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from omp_cli import core
from omp_cli.commands.call import Call, files
from omp_cli.commands.frame import command
from omp_cli.commands.options import argument
from omp_cli.core.report.config import ReportConfig


@command("report", ReportConfig, earlier="replaced")
def report(
    call: Call[ReportConfig],
    folders: Annotated[
        list[Path], argument("Folders that hold runs of omp eval or omp deploy, at any depth.", metavar="FOLDER")
    ],
) -> None:
    """Write tables and plots of all evaluations below some folders, with intervals and the published figures.

    Runs of omp bench-latency below the folders give the latencies. Runs of omp deploy that were judged have a table of
    their own. The terminal shows the tables by class of tasks; the files, and the terminal with --verbose, have those
    by task and of the selection of checkpoints, too.

    Example: omp report runs/eval

    Example: omp report runs/sweep --baseline "omp dde" --out runs/report/family

    Example: omp report runs/sweep --rename "omp dde=light-1" --baseline light-1
    """
    chosen = call.settings()
    chosen.add("folders", [str(folder) for folder in folders], "argument")
    if call.dry_run(chosen):
        return
    found = core.read_evaluations(folders)
    core.rename_rows(found, chosen.settings.rename)
    core.make_sections(found.evaluations, chosen.settings.baseline)  # a wrong name is told before a folder is made
    with call.run(chosen, "report") as (run, _):
        document = core.write_report(run, found, chosen.settings)
    lines = [f"warning: {line}" for line in document["warnings"]]
    tables = core.all_tables(document, by_task=call.globals.verbose)
    call.result(run.folder, document, tables, [*lines, *files(run)])
