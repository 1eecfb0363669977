"""A control loop at a fixed rate: observe, decide if it is time to, act; and what its clock says of it.

A tick that is still busy when the next one is due has missed its deadline. The ticks that passed meanwhile are dropped,
never made up for, and the chunk goes on with its next action.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import OmpError
from omp_cli.core.base.files import to_json
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.base.signals import StopRequest, stop_requests
from omp_cli.core.deploy.config import DeployConfig
from omp_cli.core.deploy.player import Player
from omp_cli.core.deploy.robots import ANOTHER_RATE, Replay, Robot, of_one_robot

TICKS = "ticks.jsonl"
WARM_UP = 5
"""Decisions on the first frame that do not count: the first ones allocate memory and choose kernels."""
_POLL = 0.02
"""Seconds between two questions whether a robot is ready."""
NAP = 0.1
"""Longest sleep without a look at whether somebody asked to stop, seconds."""


class Moved(Protocol):
    """What the loop asks of a robot (``robots``)."""

    def reset(self) -> None:
        """Begin an episode."""

    def observe(self) -> Any:
        """The newest frame."""

    def act(self, action: NDArray[np.float32]) -> NDArray[Any]:
        """Command an action (A,); what was sent, which is ``action`` itself unless something has changed it."""

    def done(self) -> bool:
        """Whether the episode is over."""


@dataclass
class TickTimes:
    """What the ticks took, in seconds.

    Attributes:
        decisions: time from the frame to the action, of the ticks that decided.
        late: how late each tick began.
        missed: ticks that were still busy when the next one was due.
        dropped: ticks that passed meanwhile.
    """

    decisions: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    missed: int = 0
    dropped: int = 0

    def figures(self) -> dict[str, Any]:
        """Milliseconds and counts; JSON types. Empty before the first tick."""
        if not self.late:
            return {"ticks": 0}
        ms = 1e3 * np.array(self.decisions)
        late = 1e3 * np.array(self.late)
        return {
            "ticks": len(late),
            "decisions": len(ms),
            **{f"decision_p{p}_ms": round(float(np.percentile(ms, p)), 4) for p in (50, 95, 99)},
            "decision_max_ms": round(float(ms.max()), 4),
            "late_start_p50_ms": round(float(np.percentile(late, 50)), 4),
            "late_start_p99_ms": round(float(np.percentile(late, 99)), 4),
            "jitter_ms": round(float(late.std()), 4),
            "missed_deadlines": self.missed,
            "dropped_ticks": self.dropped,
        }


def deploy_run(
    run: Run, player: Player, robot: Robot | Replay, config: DeployConfig, progress: Progress
) -> dict[str, Any]:
    """Move a robot, or replay a recording, until its episodes, the time or somebody's patience are over.

    Writes ``ticks.jsonl``: of each tick its number, episode, how late it began, what the robot and the policy took,
    the ticks that were dropped after it, and the action that was sent; where the bounds of an environment have changed
    it, what the policy wanted as well; ``failed`` where the robot raised. Each line is written out at once, for a
    robot's driver may take the process with it.

    The first missed deadline is said. A robot that was kept waiting for as many ticks as a chunk has actions gets a
    new decision next: what was left of the chunk was meant for moments that have passed.

    Args:
        run: the run whose folder and manifest receive the ticks and the figures, also where the loop is stopped.
        player: the policy.
        robot: what is moved; it is closed at the end, whatever happened.
        config: rate, time, episodes.
        progress: advances with every episode.

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
    if isinstance(robot, Robot):
        _before_it_moves(robot, 1 / period, player.signature.control_hz, config, progress)

    def figures() -> dict[str, Any]:
        return {**head, **clock.figures(), **(robot.figures() if replay is None else {"replay": replay.figures()})}

    ticks_file = run.folder / TICKS
    try:
        with (
            stop_requests() as stop,
            _closing(robot, stop, progress),
            ticks_file.open("w", 1, encoding="utf-8") as log,
        ):
            ends = None
            progress.start("control loop" if replay is None else "replay", episodes)
            for episode in range(episodes):
                robot.reset()
                if not _wait(robot, stop, ends):
                    break
                player.reset(None if episode else config.seed)
                if episode == 0:
                    _warm_up(player, robot, config.seed)
                    if not _wait(robot, stop, ends):  # it may not be ready any more
                        break
                    # The way to the start is no part of the loop: a robot may take longer for it than the loop has.
                    ends = None if config.seconds is None else time.monotonic() + config.seconds
                before = len(clock.late)
                for row in ticks(player, robot, period, clock, stop, ends):
                    log.write(to_json({"episode": episode, **row}) + "\n")
                    if row["dropped"]:
                        _overran(row, period, clock, player, replay is None, progress)
                progress.advance(1, missed_deadlines=clock.missed)
                if stop.error or (ends is not None and time.monotonic() >= ends):
                    break
                if len(clock.late) == before:
                    progress.note(f"episode {episode} has no tick: done() was true right after reset()")
    except OmpError:
        if ticks_file.is_file() and ticks_file.stat().st_size:
            progress.note(f"ticks until then: {ticks_file}")
        raise
    finally:
        run.metrics(**figures())
        if ticks_file.is_file():
            run.artifact(ticks_file)
    if stop.error:
        raise stop.error(
            f"stopped after {len(clock.late)} ticks, {clock.missed} missed deadlines",
            f"the figures are in {run.folder}",
        )
    return figures()


def ticks(
    player: Player, robot: Moved, period: float, clock: TickTimes, stop: StopRequest, ends: float | None
) -> Iterator[dict[str, Any]]:
    """The ticks of one episode, each after it was done.

    Args:
        player: the policy.
        robot: what is moved.
        period: seconds between the starts of two ticks.
        clock: receives the times.
        stop: looked at before every tick.
        ends: moment (``time.monotonic``) at which the loop is over; None for never.
    """
    due = time.monotonic()
    tick = 0
    while not robot.done():
        while (left := due - time.monotonic()) > 0 and not stop.error:
            time.sleep(min(left, NAP))
        if stop.error or (ends is not None and time.monotonic() >= ends):
            return
        late = max(0.0, time.monotonic() - due)
        began = time.monotonic()
        frame = robot.observe()
        shown, before = time.monotonic(), player.decisions
        action = of_one_robot(player.act(frame))
        decision, decided = time.monotonic(), player.decisions > before
        row = {
            "tick": tick,
            "late_ms": round(1e3 * late, 3),
            "observe_ms": round(1e3 * (shown - began), 3),
            "act_ms": round(1e3 * (decision - shown), 3),
            "decided": decided,
        }
        try:
            sent = robot.act(action)
        except BaseException:  # whoever looks for the reason looks for this action first
            yield {**row, "dropped": 0, "action": _numbers(action), "failed": True}
            raise
        clock.late.append(late)
        if decided:
            clock.decisions.append(decision - shown)
        ended = time.monotonic()
        behind = ended - (due + period)
        skip = int(behind / period) + 1 if behind > 0 else 0
        if skip:
            clock.missed += 1
            clock.dropped += skip
        yield {
            **row,
            "send_ms": round(1e3 * (ended - decision), 3),
            "dropped": skip,
            "action": _numbers(sent),
            **({} if sent is action else {"wanted": _numbers(action)}),
        }
        tick, due = tick + 1 + skip, due + (1 + skip) * period


def _wait(robot: Robot | Replay, stop: StopRequest, ends: float | None) -> bool:
    """Whether the episode may begin, after the robot was waited for; not where it is time to stop before."""
    while not robot.ready():
        if stop.error or (ends is not None and time.monotonic() >= ends):
            return False
        time.sleep(_POLL)
    return True


def _warm_up(player: Player, robot: Moved, seed: int) -> None:
    frame = robot.observe()
    for _ in range(WARM_UP):
        player.act_chunk(frame)
    player.decisions = 0
    player.reset(seed)


def _before_it_moves(robot: Robot, hz: float, trained_hz: float, config: DeployConfig, progress: Progress) -> None:
    """Say what the line asks for and the robot or the policy does not have."""
    if abs(hz / trained_hz - 1) > ANOTHER_RATE:
        faster = f"moved {hz / trained_hz:.3g} times as fast as it was shown"
        progress.note(f"--hz {hz:g}: the policy's data are at {trained_hz:g} Hz, so the robot is {faster}")
    if not robot.has("done") and (config.episodes > 1 or config.seconds is None):
        which = "the episode" if config.episodes == 1 else f"the first of {config.episodes} episodes"
        until = "Ctrl-C" if config.seconds is None else f"--seconds {config.seconds:g}"
        progress.note(f"the robot has no done(), so {which} goes on until {until}")


def _numbers(action: NDArray[Any]) -> list[float]:
    return [float(x) for x in action]


def _overran(
    row: dict[str, Any], period: float, clock: TickTimes, player: Player, moved: bool, progress: Progress
) -> None:
    """Say where the time of the first missed deadline went, and let go of a chunk that is out of date."""
    if clock.missed == 1:
        progress.note(
            f"tick {row['tick']} missed its deadline of {1e3 * period:.4g} ms at {1 / period:g} Hz: begun "
            f"{row['late_ms']:.3g} ms late, observe() {row['observe_ms']:.3g} ms, the policy {row['act_ms']:.3g} ms, "
            f"act() {row['send_ms']:.3g} ms; the figures count all such ticks"
        )
    if moved and row["dropped"] >= player.signature.execute:
        player.forget_chunk()


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
