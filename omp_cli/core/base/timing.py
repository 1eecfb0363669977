"""Where the time of a job goes, in seconds by part, for the manifest and for ``--verbose``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter


class Stopwatch:
    """Charges the time between two laps to a part, so that the parts add up to the whole.

    Work on an accelerator is only queued when a call returns; without ``synchronise`` its time is charged to the part
    that next waits for the device.

    Args:
        synchronise: called before the clock is read; given only where slowing the job down is acceptable.
    """

    def __init__(self, synchronise: Callable[[], object] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._synchronise = synchronise
        self._last = perf_counter()

    def start(self) -> None:
        """Begin anew: the time since the last lap is charged to no part."""
        if self._synchronise is not None:
            self._synchronise()
        self._last = perf_counter()

    def lap(self, part: str) -> None:
        """Charge the time since the last lap or start to ``part``."""
        before = self._last
        self.start()
        self.add(part, self._last - before)

    def add(self, part: str, seconds: float) -> None:
        """Charge seconds that were measured elsewhere."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    def rounded(self) -> dict[str, float]:
        """Seconds by part, the largest first; plain numbers for a manifest."""
        return rounded(self.seconds)


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    """Seconds by part, the largest first, in milliseconds' precision."""
    return {part: round(value, 3) for part, value in sorted(seconds.items(), key=lambda item: -item[1])}


def summed(all_seconds: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The seconds by part of several workers, added up."""
    watch = Stopwatch()
    for seconds in all_seconds:
        for part, value in seconds.items():
            watch.add(part, value)
    return watch.seconds
