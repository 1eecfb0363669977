"""``omp prepare``: make data sets, from whatever source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from omp_cli.commands.call import Call
from omp_cli.commands.chosen import Chosen
from omp_cli.commands.frame import command
from omp_cli.commands.inputs import DATA, workers
from omp_cli.commands.options import argument, option
from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import name_part
from omp_cli.core.base.manifest import FILE_NAME
from omp_cli.core.base.processes import default_workers
from omp_cli.core.data.catalogue import read_catalogue
from omp_cli.core.families import FORMATS, SOURCES, SUITES
from omp_cli.core.prepare.build import build
from omp_cli.core.prepare.choose import groups_of_tasks, own_sources, source_for, tasks_of
from omp_cli.core.prepare.source import RECORD, Asked, Source
from omp_cli.core.prepare.tables import catalogue_document, catalogue_lines, catalogue_table, made_table

TASK, RECORDING, FILES = "Task", "Recording", "Public data and files"


def _groups() -> str:
    return "; ".join(f"{', '.join(groups)} ({suite})" for suite, groups in groups_of_tasks().items())


def _made_here() -> Iterator[str]:
    return itertools.chain.from_iterable(own_sources().values())


@dataclass(frozen=True)
class DataSetPlan:
    """A data set that is to be made: its settings, where it comes from, where it goes."""

    chosen: Chosen[Settings]
    source: Source
    folder: Path


@command(
    "prepare",
    SOURCES.get(RECORD).Config,
    also=lambda: (SOURCES.get(name).Config for name in SOURCES.names()),
    earlier="reused",
)
def prepare(
    call: Call[Settings],
    benchmark: Annotated[
        str | None,
        argument(
            f"One of {', '.join(SUITES.names())}, or one of your own.",
            values=lambda: sorted({*SUITES.names(), *read_catalogue().suites}),
        ),
    ] = None,
    path: Annotated[
        list[Path] | None, argument("Files or folders of yours to read, as with --file; several make one data set.")
    ] = None,
    task: Annotated[
        list[str] | None,
        option("Task; repeatable.", "--task", "-t", panel=TASK, values=lambda line: tasks_of(line.get("benchmark"))),
    ] = None,
    suite: Annotated[
        list[str] | None,
        option(
            f"Group of tasks, repeatable: {_groups()}.",
            "--suite",
            panel=TASK,
            values=lambda: sorted(itertools.chain(*groups_of_tasks().values())),
        ),
    ] = None,
    processes: Annotated[int | None, workers(RECORDING)] = None,
    list_: Annotated[bool, option("Show the catalogue of public data sets.", "--list", panel=FILES)] = False,
    source: Annotated[
        str | None,
        option(
            f"Where data come from: {', '.join(sorted(_made_here()))}, or a name in the catalogue.",
            panel=FILES,
            values=lambda: sorted({*_made_here(), *(entry.source for entry in read_catalogue().entries)}),
        ),
    ] = None,
    file: Annotated[
        list[Path] | None,
        option("Read this file instead of downloading one; repeatable.", "--file", "--demos-file", panel=FILES),
    ] = None,
    expert: Annotated[
        Path | None,
        option(
            "Record this expert: a perceptron's npz, a policy of hand_dapg or of SB3, or a policy of omp.",
            panel=RECORDING,
        ),
    ] = None,
    format_: Annotated[
        str | None,
        option("Format of the file.", "--format", panel=FILES, default="by its content", values=FORMATS.names),
    ] = None,
) -> None:
    """Record scripted experts (successful episodes only), or convert public data; one data set per task.

    Example: omp prepare metaworld --suite hard --demos 20 --workers 8

    Example: omp prepare robomimic --task can --source ph, or --source scripted, or --file low_dim.hdf5

    Example: omp prepare own monday.zarr tuesday.zarr --task pour --hz 30

    Example: omp prepare --list
    """
    tasks, groups = tuple(task or ()), tuple(suite or ())
    if list_:
        reason = "--list shows the catalogue, of a benchmark, of --task and of --source, and makes nothing"
        call.alone(reason, groups, path, processes, file, expert, format_, call.given)
        entries = read_catalogue().of(benchmark, tasks, source)
        document = {"command": "prepare", **catalogue_document(entries)}
        call.console.result(document, [catalogue_table(entries)], catalogue_lines(entries))
        return
    if path and file:
        raise UsageError(f"two files: {path[0]} and --file {file[0]}", "name one of them, or several in one way")
    if benchmark is None:
        raise UsageError("name a benchmark: omp prepare metaworld, for one", "omp prepare --list shows public data")
    files = tuple(path or file or ())
    asked = Asked(benchmark, tasks, groups, source, files, format_, expert, only_files="--offline" in call.given)
    plans, count = _plans(call, asked), processes or default_workers()
    for _, same in itertools.groupby(plans, key=lambda plan: plan.source.config):
        _dry_run(call, list(same), count)
    if not call.globals.dry_run:
        _show(call, plans, [_make(call, plan, count) for plan in plans])


def _plans(call: Call[Settings], asked: Asked) -> list[DataSetPlan]:
    """The data sets that the line asks for; UsageError where there is no such thing."""
    kind = source_for(asked)
    of_kind = call.of(kind.Config, kind.about(asked))
    out, origins = call.globals.out, kind.origins(asked)
    root = out or DATA / name_part(asked.benchmark)
    plans = []
    for origin in origins:
        chosen = of_kind.settings(origin.layer)
        if (recommended := kind.recommended(chosen.settings)) is not None:
            chosen = of_kind.settings(recommended, origin.layer)
        source = kind(chosen.settings, origin)
        plans.append(DataSetPlan(chosen, source, out if out and len(origins) == 1 else source.folder(root)))
    return plans


def _dry_run(call: Call[Settings], plans: Sequence[DataSetPlan], workers: int) -> None:
    """Print, in a dry run, the settings that these data sets share, and their folders."""
    tasks = {plan.source.origin.task: str(plan.folder) for plan in plans}
    more: dict[str, Any] = {"folder": str(plans[0].folder)} if len(plans) == 1 else {}
    call.dry_run(plans[0].chosen, tasks=tasks, workers=workers, **plans[0].source.planned(), **more)


def _make(call: Call[Settings], plan: DataSetPlan, workers: int) -> dict[str, Any]:
    """Make one data set and return its figures."""
    console, source = call.console, plan.source
    source.require()
    for note in source.notes():
        console.note(note)
    for key, (value, by) in source.depends().items():
        plan.chosen.add(key, value, by)
    with call.run(plan.chosen, plan.folder) as (run, progress):
        figures = build(run, source, workers, progress)
    frames = figures["frames"]
    console.times(f"omp prepare, {figures['task']}", figures.get("seconds_by_part", {}), "frame", frames)
    if of_workers := figures.get("worker_seconds_by_part"):
        console.times(f"recording, {workers} processes together", of_workers, "frame", frames)
    return figures


def _show(call: Call[Settings], plans: list[DataSetPlan], figures: list[dict[str, Any]]) -> None:
    source, folders = plans[0].source, [plan.folder for plan in plans]
    runs = [
        {"run_dir": str(folder), "manifest": str(folder / FILE_NAME), "result": of_one}
        for folder, of_one in zip(folders, figures, strict=True)
    ]
    document = {"command": "prepare", **runs[0]} if len(runs) == 1 else {"command": "prepare", "runs": runs}
    call.console.result(document, [made_table(source, figures)], source.lines(folders, figures))
