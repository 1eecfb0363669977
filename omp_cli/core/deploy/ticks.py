"""The ticks of an episode at a fixed rate: observe, decide if it is time to, act; and what the clock says of it.

A tick that is still busy when the next one is due has missed its deadline. The ticks that passed meanwhile are dropped,
never made up for, and the chunk goes on with its next action. Where nothing moves between two actions (``waits``) none
pass: the next tick begins at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.signals import StopRequest
from omp_cli.core.deploy.player import Player
from omp_cli.core.deploy.robots import of_one_robot

NAP = 0.1
"""Longest sleep without a look at whether somebody asked to stop, seconds."""


class Moved(Protocol):
    """What a tick asks of a robot (``robots``)."""

    def observe(self) -> Any:
        """The newest frame."""

    def act(self, action: NDArray[np.float32]) -> NDArray[Any] | None:
        """Command an action (A,); what was sent, which is ``action`` itself unless something has changed it, or None
        where nothing was.
        """

    @property
    def corrected(self) -> bool:
        """Whether somebody has sent another action in the place of the last one."""

    @property
    def waits(self) -> bool:
        """Whether nothing moves until the next action, however late that is."""

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


def ticks(
    player: Player,
    robot: Moved,
    period: float,
    clock: TickTimes,
    stop: StopRequest,
    ends: float | None,
    over: Callable[[], bool],
) -> Iterator[dict[str, Any]]:
    """The ticks of one episode, each after it was done: a row of ticks.jsonl, but for the number of the episode.

    ``action`` is what was sent; ``wanted``, where that differs, what the policy said; ``corrected`` is true where
    somebody sent it in the policy's place, which then decides anew; ``sent`` is false where nothing was, and ``failed``
    true where the robot raised.

    Args:
        player: the policy.
        robot: what is moved.
        period: seconds between the starts of two ticks.
        clock: receives the times.
        stop: looked at before every tick.
        ends: moment (``time.monotonic``) at which the episode is over; None for never.
        over: whether somebody has ended it; asked before every tick.
    """
    due = time.monotonic()
    tick = 0
    while not robot.done():
        while (left := due - time.monotonic()) > 0 and not stop.error:
            time.sleep(min(left, NAP))
        if stop.error or over() or (ends is not None and time.monotonic() >= ends):
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
            sent, corrected = robot.act(action), robot.corrected
        except BaseException:  # whoever looks for the reason looks for this action first
            yield {**row, "dropped": 0, "action": _numbers(action), "failed": True}
            raise
        clock.late.append(late)
        if decided:
            clock.decisions.append(decision - shown)
        ended = time.monotonic()
        behind = ended - (due + period)
        skip = int(behind / period) + 1 if behind > 0 and not robot.waits else 0
        clock.missed += behind > 0
        clock.dropped += skip
        if corrected:
            player.forget_chunk()  # it was meant for where the policy itself would have led
        yield {
            **row,
            "send_ms": round(1e3 * (ended - decision), 3),
            "dropped": skip,
            "action": _numbers(action if sent is None else sent),
            **({"sent": False} if sent is None else {} if sent is action else {"wanted": _numbers(action)}),
            **({"corrected": True} if corrected else {}),
        }
        tick, due = tick + 1 + skip, due + (1 + skip) * period + (max(behind, 0.0) if robot.waits else 0.0)


def _numbers(action: NDArray[Any]) -> list[float]:
    return [float(x) for x in action]
