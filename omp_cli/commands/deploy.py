"""``omp deploy``: a policy in a control loop at a fixed rate."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from omp_cli import core
from omp_cli.commands.acting import opened
from omp_cli.commands.call import Call
from omp_cli.commands.frame import command
from omp_cli.commands.inputs import PolicyArgument
from omp_cli.commands.options import option
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import quoted
from omp_cli.core.data.store import read_store
from omp_cli.core.deploy.config import DeployConfig, RosConfig
from omp_cli.core.deploy.tables import loop_tables
from omp_cli.keyboard import typed_keys

PANEL = "Robot"


@command("deploy", DeployConfig, earlier="logged")
def deploy(
    call: Call[DeployConfig],
    policy: PolicyArgument = None,
    env: Annotated[
        str | None, option("Function that makes the robot: module:function or file.py:function.", panel=PANEL)
    ] = None,
    ros: Annotated[
        bool, option("Move the robot on ROS whose bags the policy learned from.", "--ros", panel=PANEL)
    ] = False,
    replay: Annotated[
        Path | None, option("Data set whose frames the policy is shown in the place of a robot's.", panel=PANEL)
    ] = None,
) -> None:
    """Run a policy at a fixed rate, on a robot or on recorded data; successes and missed deadlines are counted.

    Example: omp deploy runs/pretrain/RUN --replay data/metaworld/assembly-p512-d10-s0

    Example: omp deploy runs/pretrain/RUN --env examples/my_robot.py:make --ensemble 0.01 --seconds 60

    Example: omp deploy runs/pretrain/RUN --env my_robot.py:make --episodes 20 --judge --record all

    Example: omp deploy runs/pretrain/RUN --ros --seconds 60
    """
    if (env is not None) + (replay is not None) + ros != 1:
        raise UsageError(
            "omp deploy: nothing to act on, or two things", "name --env module:function, --ros or --replay DATASET"
        )
    chosen, player = opened(call, policy)
    settings, signature = chosen.settings, player.signature
    if ros:
        core.topics_of_policy(player.decider)
    elif settings.ros != RosConfig():
        raise UsageError("omp deploy: settings of ros go with --ros", "leave them out, or name --ros")
    if settings.record != "nothing":
        core.spec_of_recording(player.decider)
    _check_outcomes(settings, replay is not None, call.console.quiet)
    chosen.add("env" if replay is None else "dataset", "ROS" if ros else env or str(replay), "flag")
    if call.dry_run(chosen, task=signature.task, hz=settings.hz or signature.control_hz, nfe=signature.nfe):
        return
    data = None if replay is None else read_store(replay)
    with (
        typed_keys("--judge") if settings.judge else nullcontext() as keys,
        call.run(chosen, signature.task, player.decider.device) as (run, progress),
    ):
        run.input(player.decider.kind, player.decider.path, player.decider.sha256())
        run.metrics(**core.acting_facts(player.decider))
        if data is not None:
            run.input("dataset", data.path, data.sha256)
        robot: core.Robot | core.Replay
        if data is not None:
            robot = core.Replay(data, signature, progress.note)
        elif ros:
            robot = core.make_ros_robot(player.decider, settings.ros, run.folder / "ros.log", progress.note)
        else:
            robot = core.make_robot(str(env), signature, progress.note)
        figures = core.deploy_run(run, player, robot, settings, progress, keys)
    lines = [f"ticks: {run.folder / 'ticks.jsonl'}"]
    if "recorded" in figures:
        lines.append(f"data set: {run.folder}   look at it: omp view {quoted(run.folder)}")
    call.result(run.folder, figures, loop_tables(figures), lines)


def _check_outcomes(settings: DeployConfig, of_recording: bool, quiet: bool) -> None:
    """UsageError where there is nothing to judge or to record, or nobody could be asked."""
    named = "--judge" if settings.judge else "--record"
    if of_recording and (settings.judge or settings.record != "nothing"):
        raise UsageError(f"{named}: of a recording there is nothing to judge or to record", "leave it out")
    if settings.judge and settings.ros.shadow:
        raise UsageError("--judge: with ros.shadow the policy moves nothing", "leave one of them out")
    if settings.judge and quiet:
        raise UsageError("--judge: asks at the terminal, which --quiet hides", "leave one of them out")
