"""A control loop on a robot or a recording: its episodes one after the other, whose turn it is, and who judges them."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from omp_cli.core.base.errors import OmpError
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.base.signals import StopRequest, stop_requests
from omp_cli.core.deploy.config import DeployConfig
from omp_cli.core.deploy.deployment import Deployment
from omp_cli.core.deploy.judging import Judge, Keys, PersonJudge, Verdict
from omp_cli.core.deploy.player import Player
from omp_cli.core.deploy.replay import Replay
from omp_cli.core.deploy.robots import ANOTHER_RATE, Robot
from omp_cli.core.deploy.ticks import ticks
from omp_cli.core.deploy.turns import Turn, compared, drawn_turns

_POLL = 0.02
"""Seconds between two questions whether a robot is ready, or a person has spoken."""


def deploy_run(
    run: Run,
    acting: Sequence[tuple[Run, Player]],
    robot: Robot | Replay,
    config: DeployConfig,
    progress: Progress,
    keys: Keys | None = None,
) -> dict[str, Any]:
    """Move a robot, or replay a recording, until its episodes, the time or somebody's patience are over.

    Writes ``ticks.jsonl``: of each tick its number, episode, how late it began, what the robot and the policy took,
    the ticks that were dropped after it, and the action that was sent (``ticks``). Each line is written out at once,
    for a robot's driver may take the process with it. ``episodes.jsonl`` has a line for each episode, and where
    ``config.record`` says so the folder is a data set at the end.

    Several policies take turns (``turns``): each has so many episodes, and nothing that is said before the end tells
    whose turn it is.

    The first missed deadline is said. A robot that was kept waiting for as many ticks as a chunk has actions gets a
    new decision next: what was left of the chunk was meant for moments that have passed.

    Args:
        run: the command's run, whose manifest receives all figures.
        acting: of each policy the run whose folder and manifest receive what it did; ``run`` itself of a single one.
        robot: what is moved; it is closed at the end, whatever happened.
        config: rate, time, episodes, what is recorded.
        progress: advances with every episode that counts.
        keys: what a person types who judges; None where nobody does.

    Returns:
        The figures that go into the manifest.

    Raises:
        Interrupted, Terminated: somebody asked to stop; the robot was let go and the figures were written first.
        DataError: a frame does not fit the policy.
        Diverged: an action is not finite; it was not commanded.
        RunFailed: the robot's own code raised.
    """
    replay = robot if isinstance(robot, Replay) else None
    episodes = config.episodes if replay is None else min(config.episodes, replay.episodes)
    if episodes < config.episodes:
        progress.note(f"--episodes: the recording has {episodes} of the {config.episodes} that were asked for")
    judge = Judge(robot) if keys is None else PersonJudge(robot, keys, progress.note)
    by = judge.by if replay is None else None
    deployments = [Deployment(own, player, config, by, _told_of(own, run, progress)) for own, player in acting]
    turns, repeat = drawn_turns(len(deployments), episodes), True

    def figures() -> dict[str, Any]:
        of_robot = robot.figures() if replay is None else {"replay": replay.figures()}
        of_policies = deployments[0].figures() if len(deployments) == 1 else compared(deployments, turns, repeat)
        return {**of_policies, **of_robot}

    try:
        with ExitStack() as stack:
            stop = stack.enter_context(stop_requests())
            for deployment in deployments:
                stack.enter_context(deployment)
            stack.enter_context(_closing(robot, stop, progress))
            if isinstance(robot, Robot):
                _before_it_moves(robot, deployments, config, progress)
                repeat = _starts_repeat(robot, turns[0].seed, config, progress)
            progress.start("control loop" if replay is None else "replay", len(turns))
            _Loop(deployments, robot, config, progress, judge, stop).run(turns)
    except OmpError:
        for deployment in deployments:
            if deployment.ticks_file.is_file() and deployment.ticks_file.stat().st_size:
                progress.note(f"ticks until then: {deployment.ticks_file}")
        raise
    finally:
        run.metrics(**figures())
    if stop.error:
        said = [f"after {deployment.said()}" for deployment in deployments]
        if len(said) > 1:
            said = [f"policy {number} {text}" for number, text in enumerate(said, 1)]
        raise stop.error(f"stopped {'; '.join(said)}", f"the figures are in {run.folder}")
    return figures()


@dataclass
class _Loop:
    """The episodes of a control loop; see ``deploy_run``."""

    deployments: Sequence[Deployment]
    robot: Robot | Replay
    config: DeployConfig
    progress: Progress
    judge: Judge
    stop: StopRequest
    warm: bool = False
    ends: float | None = None
    """Moment (``time.monotonic``) at which all of it is over; None for never, and before the first tick."""

    def run(self, turns: Sequence[Turn]) -> None:
        """An episode that counts for each turn, unless the time is over or somebody asks to stop before."""
        numbers = itertools.count()
        for at, turn in enumerate(turns, 1):
            deployment = self.deployments[turn.deployment]
            counted = deployment.outcomes.counted
            while deployment.outcomes.counted == counted:
                self.robot.reset(turn.start, turn.seed)
                self.judge.announce(f"episode {at} of {len(turns)}", turn.again)
                if not self._may_begin():
                    return
                deployment.begin()
                self._episode(next(numbers), turn, deployment)
                if self._is_over():
                    break
            if deployment.outcomes.counted > counted:
                self.progress.advance(1, **({"missed_deadlines": deployment.clock.missed} if self._alone else {}))
            if self._is_over():
                return

    def _may_begin(self) -> bool:
        """Whether an episode may begin, for which is waited; before the first all policies are warmed up."""
        if not self._waited():
            return False
        if self.warm:
            return True
        frame = self.robot.observe()
        for deployment in self.deployments:
            deployment.warm_up(frame)
        if not self._waited():  # it may not be ready any more
            return False
        # The way to the start is no part of the loop: a robot may take longer for it than the loop has.
        self.warm, self.ends = True, _later(self.config.seconds)
        return True

    def _episode(self, number: int, turn: Turn, deployment: Deployment) -> None:
        """The ticks of one episode, and what is said of it."""
        outcome: dict[str, Any] = {"episode": number, "start": turn.start}
        outcome |= {"ticks": 0, "sent": 0, "seconds": 0.0, "corrected": 0}
        began, verdict = time.monotonic(), Verdict()
        try:
            self._ticks(number, deployment, outcome)
            cut = self._is_over() and not self.judge.ends()
            outcome["seconds"] = round(time.monotonic() - began, 3)
            self.robot.pause()
            if outcome["sent"] and not cut:
                verdict = self._verdict()
        finally:  # whatever was raised, it has happened
            deployment.outcomes.add(outcome, verdict)
        deployment.end(verdict)

    def _ticks(self, number: int, deployment: Deployment, outcome: dict[str, Any]) -> None:
        """The ticks of one episode, which are counted in ``outcome``."""
        seconds = self.config.episode_seconds
        last = None if seconds is None else round(seconds * deployment.hz)
        by_clock = None if self.robot.waits else _later(seconds)
        until = min((limit for limit in (self.ends, by_clock) if limit is not None), default=None)

        def over() -> bool:
            """Whether somebody ends it, or the time of a robot that waits, which passes by its ticks."""
            return self.judge.ends() or (self.robot.waits and last is not None and outcome["ticks"] >= last)

        for row in ticks(deployment.player, self.robot, 1 / deployment.hz, deployment.clock, self.stop, until, over):
            row = {"episode": number, **row}
            deployment.tick(row)
            outcome["ticks"] += not row.get("failed", False)
            outcome["sent"] += not row.get("failed", False) and row.get("sent", True)
            outcome["corrected"] += row.get("corrected", False)
            if row["dropped"]:
                self._overran(row, deployment)
        if not outcome["ticks"] and not self._is_over():
            self.progress.note(f"episode {number} has no tick: done() was true right after reset()")

    def _verdict(self) -> Verdict:
        """What is said of the episode that is over."""
        self.judge.ask()
        while (verdict := self.judge.verdict()) is None:
            if self.stop.error:
                return Verdict()
            time.sleep(_POLL)
        return verdict

    def _is_over(self) -> bool:
        return bool(self.stop.error) or (self.ends is not None and time.monotonic() >= self.ends)

    def _waited(self) -> bool:
        """Whether the episode may begin, for which is waited; not where it is time to stop before."""
        while not (self.robot.ready() and self.judge.may_begin()):
            if self._is_over():
                return False
            time.sleep(_POLL)
        return True

    @property
    def _alone(self) -> bool:
        """Whether there is one policy. Of several, how long they take would tell whose turn it is."""
        return len(self.deployments) == 1

    def _overran(self, row: dict[str, Any], deployment: Deployment) -> None:
        """Say where the time of the first missed deadline went, and let go of a chunk that is out of date."""
        if self._alone and deployment.clock.missed == 1:
            self.progress.note(
                f"tick {row['tick']} missed its deadline of {1e3 / deployment.hz:.4g} ms at {deployment.hz:g} Hz: "
                f"begun {row['late_ms']:.3g} ms late, observe() {row['observe_ms']:.3g} ms, the policy "
                f"{row['act_ms']:.3g} ms, act() {row['send_ms']:.3g} ms; the figures count all such ticks"
            )
        if isinstance(self.robot, Robot) and row["dropped"] >= deployment.player.signature.execute:
            deployment.player.forget_chunk()


def _told_of(own: Run, run: Run, progress: Progress) -> Callable[[str], None]:
    """What is said of one policy, by its number where there are several."""
    return progress.note if own is run else lambda line: progress.note(f"policy {own.folder.name}: {line}")


def _later(seconds: float | None) -> float | None:
    """The moment (``time.monotonic``) in so many seconds; None for never."""
    return None if seconds is None else time.monotonic() + seconds


def _before_it_moves(robot: Robot, deployments: Sequence[Deployment], config: DeployConfig, progress: Progress) -> None:
    """Say what the line asks for and the robot or the policies do not have."""
    hz, trained_hz = deployments[0].hz, deployments[0].player.signature.control_hz
    if abs(hz / trained_hz - 1) > ANOTHER_RATE:
        faster = f"moved {hz / trained_hz:.3g} times as fast as it was shown"
        progress.note(f"--hz {hz:g}: the policy's data are at {trained_hz:g} Hz, so the robot is {faster}")
    if config.judge and not robot.has("pause"):
        progress.note("the robot has no pause(), so its last action stands while a person judges and prepares the next")
    if not (config.judge or config.episode_seconds is not None or robot.ends_by_itself()):
        _without_end(robot, deployments, config, progress)


def _starts_repeat(robot: Robot, seed: int | None, config: DeployConfig, progress: Progress) -> bool:
    """Whether policies that take turns meet one start, of which an environment is asked with the seed of the first.

    Not where a person judges, who puts everything back: there an environment is a robot, whose sensors are noisy.
    """
    if seed is None or config.judge or robot.starts_repeat(seed):
        return True
    progress.note(
        "the environment shows different starts after two resets with one seed, so the policies do not meet the same "
        "starts: they are compared as two separate sessions are"
    )
    return False


def _without_end(robot: Robot, deployments: Sequence[Deployment], config: DeployConfig, progress: Progress) -> None:
    """Say that nothing is known to end an episode, and what would."""
    hz, known = deployments[0].hz, [steps for each in deployments if (steps := each.player.signature.max_steps)]
    cure = "--episode-seconds ends it"
    if known:
        seconds = math.ceil(10 * max(known) / hz) / 10
        cure = f"--episode-seconds {seconds:g} ends it after the {max(known)} actions of the policy's longest episode"
    if robot.of_gymnasium:
        if config.seconds is None:
            what = "so an episode that it does not end otherwise goes on until Ctrl-C"
            progress.note(f"the environment has no TimeLimit, {what}; {cure}")
    elif config.episodes > 1 or config.seconds is None:
        which = "the episode" if config.episodes == 1 else f"the first of {config.episodes} episodes"
        until = "Ctrl-C" if config.seconds is None else f"--seconds {config.seconds:g}"
        progress.note(f"the robot has no done(), so {which} goes on until {until}; {cure}")


@contextmanager
def _closing(robot: Robot | Replay, stop: StopRequest, progress: Progress) -> Iterator[None]:
    """Lets go of the robot at the end; an error of that does not hide the one before it."""
    try:
        yield
    except BaseException as error:
        try:
            _close(robot, stop, progress)
        except OmpError as second:
            error.add_note(f"nor could the robot be let go: {second.message}")
        raise
    _close(robot, stop, progress)


def _close(robot: Robot | Replay, stop: StopRequest, progress: Progress) -> None:
    """Let go of the robot, which takes its time: whoever presses Ctrl-C once more does not cut it short."""
    if not isinstance(robot, Robot):
        return
    if stop.error:
        progress.note("the robot is let go by its close(); two more Ctrl-C cut that short")
    with stop_requests() as again:
        robot.close()
    stop.error = stop.error or again.error
