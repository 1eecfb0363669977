"""A control loop on a robot or a recording: its episodes one after the other, who judges them, what becomes of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from omp_cli.core.base.errors import OmpError
from omp_cli.core.base.files import to_json
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import EPISODES, Run
from omp_cli.core.base.signals import StopRequest, stop_requests
from omp_cli.core.base.statistics import Rate
from omp_cli.core.data.store import STORE
from omp_cli.core.deploy.config import DeployConfig
from omp_cli.core.deploy.judging import Judge, Keys, Outcomes, PersonJudge, Verdict
from omp_cli.core.deploy.player import Player
from omp_cli.core.deploy.recording import Recorder
from omp_cli.core.deploy.robots import ANOTHER_RATE, Replay, Robot
from omp_cli.core.deploy.ticks import TickTimes, ticks

TICKS = "ticks.jsonl"
WARM_UP = 5
"""Decisions on the first frame that do not count: the first ones allocate memory and choose kernels."""
_POLL = 0.02
"""Seconds between two questions whether a robot is ready, or a person has spoken."""


def deploy_run(
    run: Run,
    player: Player,
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

    The first missed deadline is said. A robot that was kept waiting for as many ticks as a chunk has actions gets a
    new decision next: what was left of the chunk was meant for moments that have passed.

    Args:
        run: the run whose folder and manifest receive the ticks and the figures, also where the loop is stopped.
        player: the policy.
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
    clock = TickTimes()
    period = 1 / (config.hz or player.signature.control_hz)
    head = {"task": player.signature.task, "nfe": player.signature.nfe, "hz": round(1 / period, 6)}
    head |= player.decider.figures()
    replay = robot if isinstance(robot, Replay) else None
    episodes = config.episodes if replay is None else min(config.episodes, replay.episodes)
    if episodes < config.episodes:
        progress.note(f"--episodes: the recording has {episodes} of the {config.episodes} that were asked for")
    judge = Judge(robot) if keys is None else PersonJudge(robot, keys, progress.note)
    outcomes = Outcomes(run.folder / EPISODES if replay is None else None, judge.by)
    recorder = None
    if config.record != "nothing":
        recorder = Recorder(run, player.decider, 1 / period, config.record, progress.note)

    def figures() -> dict[str, Any]:
        of_robot = robot.figures() if replay is None else {"replay": replay.figures()}
        recorded = {} if recorder is None else recorder.figures()
        return {**head, **clock.figures(), **outcomes.figures(), **recorded, **of_robot}

    ticks_file = run.folder / TICKS
    try:
        with ExitStack() as stack:
            stop = stack.enter_context(stop_requests())
            if recorder is not None:
                stack.enter_context(recorder)
            stack.enter_context(_closing(robot, stop, progress))
            if isinstance(robot, Robot):
                _before_it_moves(robot, 1 / period, player.signature.control_hz, config, progress)
            log = stack.enter_context(ticks_file.open("w", 1, encoding="utf-8"))
            progress.start("control loop" if replay is None else "replay", episodes)
            _Loop(player, robot, period, config, progress, clock, judge, outcomes, recorder, stop, log).run(episodes)
    except OmpError:
        if ticks_file.is_file() and ticks_file.stat().st_size:
            progress.note(f"ticks until then: {ticks_file}")
        raise
    finally:
        run.metrics(**figures())
        for path in (ticks_file, run.folder / EPISODES, run.folder / STORE):
            if path.exists():
                run.artifact(path)
    if stop.error:
        rate = outcomes.figures().get("success")
        said = "" if rate is None else f", success {Rate(**rate)}"
        raise stop.error(
            f"stopped after {len(clock.late)} ticks, {clock.missed} missed deadlines{said}",
            f"the figures are in {run.folder}",
        )
    return figures()


@dataclass
class _Loop:
    """The episodes of a control loop; see ``deploy_run``."""

    player: Player
    robot: Robot | Replay
    period: float
    config: DeployConfig
    progress: Progress
    clock: TickTimes
    judge: Judge
    outcomes: Outcomes
    recorder: Recorder | None
    stop: StopRequest
    log: TextIO
    ends: float | None = None
    """Moment (``time.monotonic``) at which all of it is over; None for never, and before the first tick."""

    def run(self, episodes: int) -> None:
        """So many episodes that count, unless the time is over or somebody asks to stop before."""
        for number in itertools.count():
            self.robot.reset()
            self.judge.announce(self.outcomes.counted + 1, episodes)
            if not self._waited():
                return
            self.player.reset(None if number else self.config.seed)
            if number == 0:
                self._warm_up()
                if not self._waited():  # it may not be ready any more
                    return
                # The way to the start is no part of the loop: a robot may take longer for it than the loop has.
                self.ends = _later(self.config.seconds)
            counted = self.outcomes.counted
            self._episode(number)
            if self.outcomes.counted > counted:
                self.progress.advance(1, missed_deadlines=self.clock.missed)
            if self._is_over() or self.outcomes.counted >= episodes:
                return

    def _episode(self, number: int) -> None:
        """The ticks of one episode, and what is said of it."""
        outcome: dict[str, Any] = {"episode": number, "ticks": 0, "sent": 0, "seconds": 0.0, "corrected": 0}
        began, verdict = time.monotonic(), Verdict()
        try:
            self._ticks(number, outcome)
            cut = self._is_over() and not self.judge.ends()
            outcome["seconds"] = round(time.monotonic() - began, 3)
            self.robot.pause()
            if outcome["sent"] and not cut:
                verdict = self._verdict()
        finally:  # whatever was raised, it has happened
            self.outcomes.add(outcome, verdict)
        if self.recorder is not None:
            self.recorder.end(verdict)

    def _ticks(self, number: int, outcome: dict[str, Any]) -> None:
        """The ticks of one episode, which are counted in ``outcome``."""
        limits = [limit for limit in (self.ends, _later(self.config.episode_seconds)) if limit is not None]
        until, over = min(limits, default=None), self.judge.ends
        for row in ticks(self.player, self.robot, self.period, self.clock, self.stop, until, over):
            row = {"episode": number, **row}
            self.log.write(to_json(row) + "\n")
            if self.recorder is not None:
                self.recorder.take(self.player.seen, row)
            outcome["ticks"] += not row.get("failed", False)
            outcome["sent"] += not row.get("failed", False) and row.get("sent", True)
            outcome["corrected"] += row.get("corrected", False)
            if row["dropped"]:
                self._overran(row)
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

    def _warm_up(self) -> None:
        frame = self.robot.observe()
        for _ in range(WARM_UP):
            self.player.act_chunk(frame)
        self.player.decisions = 0
        self.player.reset(self.config.seed)

    def _overran(self, row: dict[str, Any]) -> None:
        """Say where the time of the first missed deadline went, and let go of a chunk that is out of date."""
        if self.clock.missed == 1:
            self.progress.note(
                f"tick {row['tick']} missed its deadline of {1e3 * self.period:.4g} ms at {1 / self.period:g} Hz: "
                f"begun {row['late_ms']:.3g} ms late, observe() {row['observe_ms']:.3g} ms, the policy "
                f"{row['act_ms']:.3g} ms, act() {row['send_ms']:.3g} ms; the figures count all such ticks"
            )
        if isinstance(self.robot, Robot) and row["dropped"] >= self.player.signature.execute:
            self.player.forget_chunk()


def _later(seconds: float | None) -> float | None:
    """The moment (``time.monotonic``) in so many seconds; None for never."""
    return None if seconds is None else time.monotonic() + seconds


def _before_it_moves(robot: Robot, hz: float, trained_hz: float, config: DeployConfig, progress: Progress) -> None:
    """Say what the line asks for and the robot or the policy does not have."""
    if abs(hz / trained_hz - 1) > ANOTHER_RATE:
        faster = f"moved {hz / trained_hz:.3g} times as fast as it was shown"
        progress.note(f"--hz {hz:g}: the policy's data are at {trained_hz:g} Hz, so the robot is {faster}")
    if config.judge and not robot.has("pause"):
        progress.note("the robot has no pause(), so its last action stands while a person judges and prepares the next")
    ended = config.judge or config.episode_seconds is not None or robot.has("done")
    if not ended and (config.episodes > 1 or config.seconds is None):
        which = "the episode" if config.episodes == 1 else f"the first of {config.episodes} episodes"
        until = "Ctrl-C" if config.seconds is None else f"--seconds {config.seconds:g}"
        progress.note(f"the robot has no done(), so {which} goes on until {until}")


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
