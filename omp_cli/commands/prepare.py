"""``omp prepare``: make data sets of scripted demonstrations, or of files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.commands.common import DATA, Globals, base_layers, show_dry_run
from omp_cli.console import make_table

TASK, RECORD, CLOUD, FILES, CONFIG = "Task", "Recording", "Observation", "Public data and files", "Configuration"


def prepare(
    globals_: Globals,
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
    demos: Annotated[
        int | None,
        typer.Option(
            min=1, help="Successful episodes; of files the first N. (default: 10, all)", rich_help_panel=RECORD
        ),
    ] = None,
    after_success: Annotated[
        int | None,
        typer.Option(min=0, help="Steps kept after the first success. (default: 10)", rich_help_panel=RECORD),
    ] = None,
    raw_actions: Annotated[
        bool | None,
        typer.Option("--raw-actions", help="Store unclipped actions, as the public data.", rich_help_panel=RECORD),
    ] = None,
    images: Annotated[
        bool | None, typer.Option("--images", help="Also store RGB 84x84 (needs OpenGL).", rich_help_panel=RECORD)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. (default: one per core)", rich_help_panel=RECORD)
    ] = None,
    points: Annotated[
        int | None, typer.Option(min=1, help="Points per cloud. (default: 512)", rich_help_panel=CLOUD)
    ] = None,
    camera_size: Annotated[
        int | None, typer.Option(min=8, help="Depth picture's width. (default: by points)", rich_help_panel=CLOUD)
    ] = None,
    frame: Annotated[
        str | None, typer.Option(help="world, or dp3: the public pipeline's frame and crop.", rich_help_panel=CLOUD)
    ] = None,
    robot: Annotated[
        str | None, typer.Option(help="Links shown: shown (all), or gripper: hand and fingers.", rich_help_panel=CLOUD)
    ] = None,
    fovea: Annotated[
        int | None,
        typer.Option(min=1, help="Times finer the camera sees what is kept. (default: 1)", rich_help_panel=CLOUD),
    ] = None,
    fps_backend: Annotated[
        str | None, typer.Option(help="Farthest point sampling: numpy or open3d.", rich_help_panel=CLOUD)
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
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.", rich_help_panel=CONFIG)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value; repeatable.", rich_help_panel=CONFIG)
    ] = None,
) -> None:
    """Record scripted experts (successful episodes only), or convert public data; one data set per task.

    Example: omp prepare metaworld --suite hard --demos 20 --workers 8

    Example: omp prepare robomimic --task can --source ph, or --source scripted, or --file low_dim.hdf5

    Example: omp prepare --list
    """
    from omp_cli.commands.prepare_files import Asked, list_catalogue, prepare_files, refuse
    from omp_cli.commands.prepare_scripted import SOURCES, prepare_scripted
    from omp_cli.commands.prepare_trained import SOURCE, prepare_trained
    from omp_cli.core import config as c
    from omp_cli.core.errors import UsageError
    from omp_cli.core.prepare.collect import default_workers
    from omp_cli.core.prepare.make import PrepareConfig, folder_name
    from omp_cli.core.suites import SUITES

    if list_:
        list_catalogue(globals_, benchmark, task or [], source)
        return
    if benchmark is None:
        raise UsageError("name a benchmark: omp prepare metaworld, for one", "omp prepare --list shows public data")
    if source or file or format_ or offline or _only_files(benchmark):
        seen = {"--images": images, "--points": points, "--camera-size": camera_size, "--fps-backend": fps_backend}
        seen |= {"--robot": robot, "--fovea": fovea}
        asked = Asked(benchmark, task or [], source, file, format_, offline, demos, config, set_ or [], workers, seen)
        refused = {"--suite": suite, "--raw-actions": raw_actions, "--frame": frame}
        success, training = {"--after-success": after_success}, {"--quality": quality, "--train-steps": train_steps}
        if benchmark == "gym" and source == SOURCE and file is None:
            refuse(f"--source {source}", refused | seen | success)
            prepare_trained(globals_, asked, quality, train_steps)
        elif benchmark == "robomimic" and source in SOURCES and file is None:
            refuse(f"--source {source}", refused | seen | training)
            prepare_scripted(globals_, asked, after_success)
        else:
            refuse(f"data of {benchmark} from files", refused | success | training)
            prepare_files(globals_, asked)
        return
    if benchmark in SUITES.names() and not SUITES.get(benchmark).scripted:
        raise UsageError(
            f"{benchmark} has no scripted expert to record; its data come from files",
            f"name a --source (sb3 trains a policy here), or a --file of yours: omp prepare {benchmark} --list",
        )
    refuse(f"{benchmark}'s scripted expert", {"--quality": quality, "--train-steps": train_steps})
    flags = c.flag_layer(
        seed=globals_.seed,
        suite__cloud__points=points,
        suite__cloud__camera_size=camera_size,
        suite__cloud__frame=frame,
        suite__cloud__robot=robot,
        suite__cloud__fovea=fovea,
        suite__cloud__fps_backend=fps_backend,
        collect__demos=demos,
        collect__after_success=after_success,
        collect__raw_actions=raw_actions,
        collect__images=images,
    )
    named = c.Layer("argument", {"suite.name": benchmark})
    values, sources = c.merge(base_layers(PrepareConfig, named, config, set_ or [], flags))
    settings = c.validated(PrepareConfig, values)
    if settings.suite.name != benchmark:
        raise UsageError(f"suite.name: {settings.suite.name} in the settings, {benchmark} on the line", "leave it out")
    chosen = SUITES.build(settings.suite).select(task or [], suite or [])
    workers = workers or default_workers()
    root = globals_.out or DATA / settings.suite.name
    folders = {name: root / folder_name(settings, name) for name in chosen}
    if globals_.out and len(chosen) == 1:
        folders = {chosen[0]: globals_.out}
    with_sources = c.sources_of(settings, sources)
    if globals_.dry_run:
        where = {name: str(folder) for name, folder in folders.items()}
        show_dry_run(globals_, "prepare", with_sources, tasks=where, workers=workers)
        return
    results = [_prepare_one(globals_, settings, with_sources, name, f, workers) for name, f in folders.items()]
    _report(globals_, results)


def _only_files(benchmark: str) -> bool:
    """Whether a benchmark's data are public alone: there is no expert to record, and none is trained as in gym."""
    from omp_cli.core.data.catalogue import read_catalogue
    from omp_cli.core.suites import SUITES

    recorded = benchmark in SUITES.names() and SUITES.get(benchmark).scripted
    return benchmark != "gym" and not recorded and benchmark in read_catalogue().suites


def _prepare_one(
    globals_: Globals, settings: Any, sources: dict[str, Any], task: str, folder: Path, workers: int
) -> dict[str, Any]:
    from omp_cli.core.prepare.make import prepare_task
    from omp_cli.core.run import Run

    sources = {**sources, "task": {"value": task, "source": "argument"}}
    with globals_.console.progress() as progress, Run(folder, "prepare", sources, {"seed": settings.seed}) as run:
        figures = prepare_task(run, settings, task, workers, progress)
    if "seconds_by_part" in figures:  # a data set that was kept took none
        console, frames = globals_.console, figures["frames"]
        console.times(f"omp prepare, {task}", figures["seconds_by_part"], "frame", frames)
        console.times(f"recording, {workers} processes together", figures["worker_seconds_by_part"], "frame", frames)
    return {"run_dir": str(folder), "manifest": str(run.path), "result": figures}


def _report(globals_: Globals, results: list[dict[str, Any]]) -> None:
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
    globals_.console.result(document, [make_table("Data sets", columns, rows)], [*lines, "next: omp pretrain"])
