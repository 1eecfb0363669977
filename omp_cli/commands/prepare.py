"""``omp prepare``: make data sets of scripted demonstrations, or of files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.commands.frame import DATA, Call, Chosen, command
from omp_cli.commands.prepare_files import (
    OPERATORS,
    Asked,
    list_catalogue,
    prepare_files,
    prepare_scripted,
    prepare_trained,
    refuse,
)
from omp_cli.core.config import Layer
from omp_cli.core.data.catalogue import read_catalogue
from omp_cli.core.errors import UsageError
from omp_cli.core.families import SUITES
from omp_cli.core.prepare.make import PrepareConfig, folder_name, prepare_task
from omp_cli.core.processes import default_workers
from omp_cli.core.table import Table

TASK, RECORD, FILES = "Task", "Recording", "Public data and files"


@command("prepare", PrepareConfig)
def prepare(
    call: Call[PrepareConfig],
    benchmark: Annotated[
        str | None, typer.Argument(help="To record: metaworld, toy. From files: robomimic, gym, kitchen, adroit.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", help="Task; repeatable.", rich_help_panel=TASK)
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            "--suite", help="Group of tasks: easy, medium, hard, very-hard, mw34, mw50.", rich_help_panel=TASK
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. (default: one per core)", rich_help_panel=RECORD)
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Show the catalogue of public data sets.", rich_help_panel=FILES)
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(help="Which data set: ph, mh, d4rl, sb3, scripted, ...", rich_help_panel=FILES),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "--demos-file", help="Read this file instead of downloading.", rich_help_panel=FILES),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="Its format. (default: by its content)", rich_help_panel=FILES)
    ] = None,
    quality: Annotated[
        str | None, typer.Option(help="With --source sb3: medium or expert. (default: medium)", rich_help_panel=FILES)
    ] = None,
    train_steps: Annotated[
        int | None,
        typer.Option(min=1, help="With --source sb3: of PPO. (default: 200000, 600000)", rich_help_panel=FILES),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.", rich_help_panel=FILES)] = False,
) -> None:
    """Record scripted experts (successful episodes only), or convert public data; one data set per task.

    Example: omp prepare metaworld --suite hard --demos 20 --workers 8

    Example: omp prepare robomimic --task can --source ph, or --source scripted, or --file low_dim.hdf5

    Example: omp prepare --list
    """
    if list_:
        list_catalogue(call, benchmark, task or [], source)
        return
    if benchmark is None:
        raise UsageError("name a benchmark: omp prepare metaworld, for one", "omp prepare --list shows public data")
    training = {"--quality": quality, "--train-steps": train_steps}
    if source or file or format_ or offline or _only_files(benchmark):
        asked = Asked(benchmark, task or [], source, file, format_, offline, workers)
        if benchmark == "gym" and source == "sb3" and file is None:
            refuse(f"--source {source}", {"--suite": suite})
            prepare_trained(call, asked, quality, train_steps)
        elif benchmark == "robomimic" and source in OPERATORS and file is None:
            refuse(f"--source {source}", {"--suite": suite} | training)
            prepare_scripted(call, asked)
        else:
            refuse(f"data of {benchmark} from files", {"--suite": suite} | training)
            prepare_files(call, asked)
        return
    if benchmark in SUITES.names() and not SUITES.get(benchmark).scripted:
        raise UsageError(
            f"{benchmark} has no scripted expert to record; its data come from files",
            f"name a --source (sb3 trains a policy here), or a --file of yours: omp prepare {benchmark} --list",
        )
    refuse(f"{benchmark}'s scripted expert", training)
    _record(call, benchmark, task or [], suite or [], workers or default_workers())


def _only_files(benchmark: str) -> bool:
    """Whether a benchmark's data are public alone: there is no expert to record, and none is trained as in gym."""
    recorded = benchmark in SUITES.names() and SUITES.get(benchmark).scripted
    return benchmark != "gym" and not recorded and benchmark in read_catalogue().suites


def _record(call: Call[PrepareConfig], benchmark: str, tasks: list[str], groups: list[str], workers: int) -> None:
    chosen = call.settings(Layer("argument", {"suite.name": benchmark}))
    settings = chosen.settings
    name = SUITES.build(settings.suite).config.name
    if name != benchmark:
        raise UsageError(f"suite.name: {name} in the settings, {benchmark} on the line", "leave it out")
    selected = SUITES.build(settings.suite).select(tasks, groups)
    root = call.globals.out or DATA / benchmark
    folders = {task: root / folder_name(settings, task) for task in selected}
    if call.globals.out and len(selected) == 1:
        folders = {selected[0]: call.globals.out}
    where = {task: str(folder) for task, folder in folders.items()}
    if call.dry_run(chosen, tasks=where, workers=workers):
        return
    _report(call, [_prepare_one(call, chosen, task, folder, workers) for task, folder in folders.items()])


def _prepare_one(
    call: Call[PrepareConfig], chosen: Chosen[PrepareConfig], task: str, folder: Path, workers: int
) -> dict[str, Any]:
    of_task = Chosen(chosen.settings, {**chosen.sources, "task": {"value": task, "source": "argument"}})
    with call.run(of_task, folder) as (run, progress):
        figures = prepare_task(run, chosen.settings, task, workers, progress)
    if "seconds_by_part" in figures:  # a data set that was kept took none
        console, frames = call.console, figures["frames"]
        console.times(f"omp prepare, {task}", figures["seconds_by_part"], "frame", frames)
        console.times(f"recording, {workers} processes together", figures["worker_seconds_by_part"], "frame", frames)
    return {"run_dir": str(folder), "manifest": str(run.path), "result": figures}


def _report(call: Call[PrepareConfig], results: list[dict[str, Any]]) -> None:
    columns = ("task", "demos", "failed", "frames", "steps", "filled frames", "ms/frame", "content")
    rows = []
    for entry in results:
        r = entry["result"]
        parts = r.get("ms_per_frame", {})
        cost = f"{sum(parts.values()):.1f}" if parts else "kept"
        row = [r["task"], r["demos"], r["expert_failures"], r["frames"], r["mean_steps"], r["frames_filled"], cost]
        rows.append([str(x) for x in [*row, r["content_sha256"][:12]]])
    document = {"command": "prepare", **results[0]} if len(results) == 1 else {"command": "prepare", "runs": results}
    lines = [f"data set: {entry['run_dir']}   look at its contact_sheet.png" for entry in results]
    lines += [f"{e['result']['task']}: {sentence}" for e in results for sentence in e["result"]["said"]]
    call.console.result(document, [Table("Data sets", columns, rows)], [*lines, "next: omp pretrain"])
