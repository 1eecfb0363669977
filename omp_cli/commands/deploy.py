"""``omp deploy``: a policy in a control loop at a fixed rate."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from omp_cli import core
from omp_cli.commands.acting import opened, opened_against
from omp_cli.commands.call import Call
from omp_cli.commands.chosen import Chosen
from omp_cli.commands.frame import command
from omp_cli.commands.inputs import PolicyArgument
from omp_cli.commands.options import option
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import quoted
from omp_cli.core.base.run import Run
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
    against: Annotated[
        list[str] | None,
        option(
            "Another policy, which takes turns with it at the same starts; who judges is not told whose. Repeatable.",
            "--against",
            panel=PANEL,
            metavar="RUN_OR_EXPORT",
        ),
    ] = None,
) -> None:
    """Run a policy at a fixed rate, on a robot or on recorded data; successes and missed deadlines are counted.

    Example: omp deploy runs/pretrain/RUN --replay data/metaworld/assembly-p512-d10-s0

    Example: omp deploy runs/pretrain/RUN --env examples/my_robot.py:make --ensemble 0.01 --seconds 60

    Example: omp deploy runs/pretrain/RUN --env my_robot.py:make --episodes 20 --judge --record all

    Example: omp deploy runs/pretrain/RUN --against runs/pretrain/OTHER --env my_robot.py:make --episodes 20 --judge

    Example: omp deploy runs/pretrain/RUN --against "runs/pretrain/RUN --ensemble 0.01" --ros --episodes 20 --judge

    Example: omp deploy runs/pretrain/RUN --ros --seconds 60
    """
    if (env is not None) + (replay is not None) + ros != 1:
        raise UsageError(
            "omp deploy: nothing to act on, or two things", "name --env module:function, --ros or --replay DATASET"
        )
    acting = [opened(call, policy), *(opened_against(call, words) for words in against or ())]
    players = [player for _, player in acting]
    (chosen, player), alone = acting[0], len(acting) == 1
    settings, signature = chosen.settings, player.signature
    _check(settings, players, ros, replay is not None, call.console.quiet)
    labels = [theirs.settings.label for theirs, _ in acting if theirs.settings.label is not None]
    if len(set(labels)) < len(labels):
        raise UsageError(f"--label: several policies are called {labels[-1]!r}", "give each a name of its own")
    for theirs, _ in acting:
        theirs.add("env" if replay is None else "dataset", "ROS" if ros else env or str(replay), "flag")
    whole = chosen if alone else _of_all(acting)
    if call.dry_run(whole, task=signature.task, hz=settings.hz or signature.control_hz, nfe=signature.nfe):
        return
    data = None if replay is None else read_store(replay)
    with ExitStack() as stack:
        keys = stack.enter_context(typed_keys("--judge")) if settings.judge else None
        run, progress = stack.enter_context(call.run(whole, signature.task, player.decider.device))
        runs = [run] if alone else [_own(stack, call, run, *each) for each in enumerate(acting, 1)]
        for own, each in zip(runs, players, strict=True):
            for reads in dict.fromkeys((run, own)):
                reads.input(each.decider.kind, each.decider.path, each.decider.sha256())
            own.metrics(**core.acting_facts(each.decider))
        if data is not None:
            run.input("dataset", data.path, data.sha256)
            robot: core.Robot | core.Replay = core.Replay(data, signature, progress.note)
        elif ros:
            robot = core.make_ros_robot(player.decider, settings.ros, run.folder / "ros.log", progress.note)
        else:
            robot = core.make_robot(str(env), signature, progress.note)
        figures = core.deploy_run(run, list(zip(runs, players, strict=True)), robot, settings, progress, keys)
    lines = [f"policy {row['run']}: {row['policy']}" for row in figures.get("policies", [])]
    lines += [f"ticks: {own.folder / 'ticks.jsonl'}" for own in runs]
    kept = [own.folder for own in runs if "recorded" in own.manifest.metrics]
    lines += [f"data set: {folder}   look at it: omp view {quoted(folder)}" for folder in kept]
    call.result(run.folder, figures, loop_tables(figures), lines)


def _of_all(acting: Sequence[tuple[Chosen[DeployConfig], core.Player]]) -> Chosen[DeployConfig]:
    """The settings of the first policy, with the others that it is compared with."""
    first = acting[0][0]
    found = Chosen(first.settings, dict(first.sources))
    found.add("against", [core.policy_words(each.decider.path, theirs.sources) for theirs, each in acting[1:]], "flag")
    return found


def _own(
    stack: ExitStack, call: Call[DeployConfig], run: Run, number: int, acting: tuple[Chosen[DeployConfig], core.Player]
) -> Run:
    """The run of one of several policies, in the folder of all; its number is its place on the line."""
    chosen, player = acting
    own, _ = stack.enter_context(call.run(chosen, run.folder / str(number), player.decider.device, bar=False))
    return own


def _check(settings: DeployConfig, players: Sequence[core.Player], ros: bool, of_recording: bool, quiet: bool) -> None:
    """UsageError where the line asks for what the policies, or what is to be acted on, cannot do."""
    if not ros and settings.ros != RosConfig():
        raise UsageError("omp deploy: settings of ros go with --ros", "leave them out, or name --ros")
    for player in players:
        if ros:
            core.topics_of_policy(player.decider)
        if settings.record != "nothing":
            core.spec_of_recording(player.decider)
    named = "--judge" if settings.judge else "--record"
    if of_recording and (settings.judge or settings.record != "nothing"):
        raise UsageError(f"{named}: of a recording there is nothing to judge or to record", "leave it out")
    if settings.judge and settings.ros.shadow:
        raise UsageError("--judge: with ros.shadow the policy moves nothing", "leave one of them out")
    if settings.judge and quiet:
        raise UsageError("--judge: asks at the terminal, which --quiet hides", "leave one of them out")
    if len(players) > 1:
        _check_turns(settings, players, ros, of_recording)


def _check_turns(settings: DeployConfig, players: Sequence[core.Player], ros: bool, of_recording: bool) -> None:
    """UsageError where policies cannot take turns."""
    if of_recording:
        raise UsageError("--against: a recording goes on as it did, whoever acts", "omp eval --offline compares errors")
    if settings.ros.shadow:
        raise UsageError("--against: with ros.shadow no policy moves anything", "leave one of them out")
    if ros and any(core.topics_of_policy(p.decider) != core.topics_of_policy(players[0].decider) for p in players):
        raise UsageError("--against: the policies learned from other topics", "compare policies of one recording")
    core.same_robot(players, settings.hz)
