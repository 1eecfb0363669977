"""``omp sweep``: many tasks, seeds and methods from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from omp_cli import core
from omp_cli.commands.call import Call
from omp_cli.commands.frame import command
from omp_cli.commands.inputs import RUNS
from omp_cli.commands.lines import resolve
from omp_cli.commands.options import argument, option
from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import RunFailed, UsageError
from omp_cli.core.base.files import quoted, writable_folder
from omp_cli.core.base.locks import hold
from omp_cli.core.base.run import Run
from omp_cli.core.sweep.config import read_sweep
from omp_cli.core.sweep.engines import ENGINES, EngineChoice
from omp_cli.core.sweep.execute import execute
from omp_cli.core.sweep.plan import made_with_other_code, of_no_job, plan_jobs, same_settings
from omp_cli.core.sweep.tables import job_tables, plan_table, planned

RAY = "Engine ray"


@command("sweep", None, earlier="resumed")
def sweep(
    call: Call[Settings],
    file: Annotated[Path, argument("TOML file of tasks, seeds and variants.")],
    engine: Annotated[
        str, option(f"What runs the jobs: {' or '.join(ENGINES)}.", default=ENGINES[0], values=lambda: ENGINES)
    ] = ENGINES[0],
    processes: Annotated[
        int | None,
        option("Jobs at once.", "--workers", default="cores / OMP_NUM_THREADS; of a Ray cluster what it has", min=1),
    ] = None,
    address: Annotated[
        str | None,
        option("Address of a Ray cluster, which shares this folder.", panel=RAY, default="one that is started here"),
    ] = None,
    gpus: Annotated[
        float, option("GPUs of a job, or its share of one.", default="0, any number of jobs on each GPU", min=0)
    ] = 0.0,
) -> None:
    """Prepare, train, fine-tune and evaluate every task, variant and seed of a file; jobs that have finished are kept.

    Example: omp sweep examples/sweeps/toy.toml

    Example: omp sweep examples/sweeps/metaworld6.toml --dry-run
    """
    if call.globals.seed is not None:
        raise UsageError("--seed: the seeds of a sweep are in its file", "seeds = [0, 1, 2]")
    choice = EngineChoice(engine, processes, address, gpus, call.globals.device_name)
    config = read_sweep(file)
    folder = call.globals.out or RUNS / "sweep" / file.stem
    if str(folder).startswith("-"):
        raise UsageError(f"--out {folder}: a line would take the folder for an option", "choose another name")
    if engine == "local":
        core.pick_device(call.globals.device_name)
    jobs = plan_jobs(config, folder, resolve, _handed_on(call))
    for said in filter(None, (made_with_other_code(jobs), of_no_job(folder, jobs))):
        call.console.note(said)
    if call.globals.dry_run:
        same_settings(jobs)
        listed = planned(jobs)
        finished = sum(job["state"] == "finished" for job in listed)
        document = {"command": "sweep", "dry_run": True, "run_dir": str(folder), "jobs": listed}
        lines = [f"{len(jobs)} jobs, {finished} finished"]
        call.console.result(document, [plan_table(folder, listed)], lines)
        return
    chosen = choice.start()
    with hold(writable_folder(folder)):
        same_settings(jobs)
        sources = {"file": {"value": str(file), "source": "argument"}, "engine": {"value": engine, "source": "flag"}}
        sources |= {k: {"value": v, "source": f"file {file}"} for k, v in config.model_dump(mode="json").items()}
        failure = None
        with call.console.progress() as progress:
            try:
                with Run(folder, "sweep", sources, {}) as run:
                    execute(run, jobs, chosen, progress)
            except RunFailed as error:
                failure = error
    if failure is None or not call.globals.json_:  # one document, and that is the error's
        _show(call, run)
    if failure is not None:
        failure.document = call.document(run.folder, run.manifest.metrics)
        raise failure


def _handed_on(call: Call[Settings]) -> tuple[str, ...]:
    """The words of the global options that the line of every job gets."""
    device = () if call.globals.device is None else ("--device", call.globals.device)
    return (*device, *call.globals.plugin_options)


def _show(call: Call[Settings], run: Run) -> None:
    metrics = run.manifest.metrics
    finished = f"{metrics['states']['finished']} of {len(metrics['jobs'])} jobs finished"
    lines = [f"sweep: {run.folder}, {finished}", f"next: omp report {quoted(run.folder)}"]
    call.result(run.folder, metrics, job_tables(metrics["jobs"]), lines)
