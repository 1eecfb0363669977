"""``omp deploy``: a policy in a control loop at a fixed rate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli import core
from omp_cli.commands.acting import opened
from omp_cli.commands.frame import Call, command
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.table import Table
from omp_cli.core.data.store import read_store
from omp_cli.core.deploy.config import DeployConfig


@command("deploy", DeployConfig)
def deploy(
    call: Call[DeployConfig],
    policy: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN_OR_EXPORT]", help="Or a checkpoint. (default: the newest of omp pretrain and finetune)"
        ),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(help="module:function or file.py:function that makes the robot.", rich_help_panel="Robot"),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(help="Data set whose frames are shown instead: a dry run.", rich_help_panel="Robot"),
    ] = None,
) -> None:
    """Run a policy at a fixed rate, on a robot or on recorded data; missed deadlines are counted.

    Example: omp deploy runs/pretrain/RUN --replay data/metaworld/assembly-p512-d10-s0

    Example: omp deploy runs/pretrain/RUN --env examples/my_robot.py:make --ensemble 0.01 --seconds 60
    """
    if (env is None) == (replay is None):
        raise UsageError(
            "omp deploy: nothing to act on, or two things", "name --env module:function or --replay DATASET"
        )
    chosen, player = opened(call, policy)
    chosen.add("env" if replay is None else "dataset", env or str(replay), "flag")
    settings, signature = chosen.settings, player.signature
    if call.dry_run(chosen, task=signature.task, hz=settings.hz or signature.control_hz):
        return
    data = None if replay is None else read_store(replay)
    with call.run(chosen, signature.task, call.globals.device_name) as (run, progress):
        run.input(player.decider.kind, player.decider.path, player.decider.sha256())
        if data is not None:
            run.input("dataset", data.path, data.sha256)
        robot = core.make_robot(str(env), signature) if data is None else core.Recording(data, signature)
        figures = core.deploy_run(run, player, robot, settings, progress)
    call.result(run.folder, figures, _tables(figures), [f"ticks: {run.folder / 'ticks.jsonl'}"])


def _tables(figures: dict[str, Any]) -> list[Table]:
    rows = [(name.replace("_", " "), value) for name, value in figures.items() if name != "replay"]
    tables = [Table("Control loop", ("figure", "value"), rows)]
    if replay := figures.get("replay"):
        dims = [(i, e, s) for i, (e, s) in enumerate(zip(replay["error"], replay["spread"], strict=True))]
        note = f"relative error {replay['relative']} over {replay['frames']} frames"
        tables.append(Table("Against the recorded actions", ("dimension", "mean abs error", "spread"), dims, note=note))
    return tables
