"""Timing calls: warm-up, blocks taken in turn, device events with synchronisation, other clocks as a cross-check."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Protocol

import torch

from omp_cli.core.base.progress import Progress
from omp_cli.core.measure.latency.config import Effort
from omp_cli.core.measure.latency.samples import Statistics, statistics

WARM_UP_SHARE = 0.2
"""The largest share of a row's budget that is spent on warming up."""

Call = Callable[[], object]


@dataclass
class Samples:
    """Times of one row's calls in ms, by block.

    Attributes:
        host: the host's clock, from the call to the end of the device's work.
        device: device events around the call; None where the device has none.
        cpu: processor time of this process; less than ``host`` when another process had the core meanwhile. None where
            the host only waits for a device.
        failure: why the calls came to an end before their time; "" where they did not.
    """

    host: list[list[float]] = field(default_factory=list)
    device: list[list[float]] | None = None
    cpu: list[list[float]] | None = None
    failure: str = ""

    def add(self, readings: Sequence[Reading]) -> None:
        """Take in a block."""
        self.host.append([reading.host for reading in readings])
        if self.device is not None:
            self.device.append([reading.device for reading in readings if reading.device is not None])
        if self.cpu is not None:
            self.cpu.append([reading.cpu for reading in readings if reading.cpu is not None])

    @property
    def clock(self) -> str:
        """The clock that is quoted."""
        return "host" if self.device is None else "device events"

    def quoted(self) -> Statistics:
        """Figures by the device's clock where it has one."""
        return statistics(self.host if self.device is None else self.device)

    def cross_check(self) -> tuple[str, Statistics] | None:
        """The other clock and its figures: "host" beside device events, "cpu" (processor time) beside the host's."""
        if self.device is not None:
            return "host", statistics(self.host)
        return None if self.cpu is None else ("cpu", statistics(self.cpu))


@dataclass(frozen=True)
class Reading:
    """One call in ms, by every clock there is; see ``Samples``."""

    host: float
    device: float | None = None
    cpu: float | None = None


class Clock:
    """Times single calls to the end of the device's work.

    Args:
        device: where the calls compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.events = device.type == "cuda"
        if self.events:
            self._start = torch.cuda.Event(enable_timing=True)
            self._end = torch.cuda.Event(enable_timing=True)

    def synchronise(self) -> None:
        """Wait until the device has nothing left to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def samples(self) -> Samples:
        """An empty record for these clocks."""
        return Samples([], [] if self.events else None, [] if self.device.type == "cpu" else None)

    def time(self, call: Call) -> Reading:
        """One call; the device is idle before and after."""
        self.synchronise()
        if not self.events:
            cpu, start = process_time(), perf_counter()
            call()
            self.synchronise()
            host, cpu = perf_counter() - start, process_time() - cpu
            return Reading(1000 * host, cpu=1000 * cpu if self.device.type == "cpu" else None)
        with torch.cuda.device(self.device):
            start = perf_counter()
            self._start.record()
            call()
            self._end.record()
            self.synchronise()
            host = 1000 * (perf_counter() - start)
        return Reading(host, self._start.elapsed_time(self._end))

    def overhead(self, calls: int = 200) -> float:
        """Median time of an empty call by the host's clock, ms: what the clock itself adds."""
        return statistics([[self.time(lambda: None).host for _ in range(calls)]]).p50


class CallFailed(Exception):
    """A call, or the process in which it is made, has come to an end: one line says how."""


class Timed(Protocol):
    """Something whose calls are timed; raises ``CallFailed`` where they cannot go on."""

    def warm_up(self, effort: Effort) -> float:
        """Call until it is warm; seconds of the quickest call."""

    def block(self, count: int) -> Sequence[Reading]:
        """``count`` calls, timed one by one."""


@dataclass(frozen=True)
class Here:
    """A call that is made in this process."""

    call: Call
    clock: Clock

    def warm_up(self, effort: Effort) -> float:
        """Call until it is warm; seconds of the quickest call."""
        start = perf_counter()
        quickest, calls, spent = math.inf, 0, 0.0
        while not calls or (
            spent < WARM_UP_SHARE * effort.budget and (calls < effort.warmup or spent < effort.warmup_seconds)
        ):
            quickest = min(quickest, self.clock.time(self.call).host / 1000)
            calls, spent = calls + 1, perf_counter() - start
        return quickest

    def block(self, count: int) -> Sequence[Reading]:
        """``count`` calls, timed one by one."""
        if count > 1:
            self.call()  # the other rows' blocks have emptied the caches of this one's weights
        return [self.clock.time(self.call) for _ in range(count)]


def time_together(
    calls: Sequence[Call | Timed], clock: Clock, effort: Effort, progress: Progress, title: str
) -> list[Samples]:
    """Time several calls whose ratios matter: a block of the first, of the second ..., then the next block of each.

    A drift of the machine then meets all of them alike. Garbage is collected before each round, and as ever within.

    Args:
        calls: functions without arguments, or what times itself.
        clock: the clock of the device they compute on.
        effort: how much is measured.
        progress: advanced once per block.
        title: shown there.

    Returns:
        One ``Samples`` per call, in order; those of a call that failed say so, and the others stand.
    """
    timed: list[Timed] = [Here(call, clock) if callable(call) else call for call in calls]
    results = [clock.samples() for _ in timed]
    plans = [_plan(one, effort, result) for one, result in zip(timed, results, strict=True)]
    progress.start(title, sum(blocks for blocks, _ in plans))
    for block in range(effort.blocks):
        gc.collect()
        for one, (blocks, count), result in zip(timed, plans, results, strict=True):
            if block >= blocks:
                continue
            if not result.failure:
                try:
                    result.add(one.block(count))
                except CallFailed as failed:
                    result.failure = str(failed)
            progress.advance(1, **({} if result.failure else {"p50_ms": statistics(result.host).p50}))
    return results


def _plan(timed: Timed, effort: Effort, result: Samples) -> tuple[int, int]:
    """Blocks, and calls in each, after the warm-up."""
    try:
        return effort.plan(timed.warm_up(effort))
    except CallFailed as failed:
        result.failure = str(failed)
        return 0, 0


def seconds_of(call: Call, clock: Clock) -> float:
    """A first guess at the time of a call: the second of two."""
    return [clock.time(call).host for _ in range(2)][-1] / 1000
