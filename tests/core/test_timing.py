"""The stopwatch: parts add up to the whole."""

import pytest

from omp_cli.core.base import timing
from omp_cli.core.base.timing import Stopwatch, rounded


def test_laps_are_charged_to_their_parts_and_pauses_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([10.0, 11.0, 11.25, 13.0, 13.25, 20.0, 20.5])
    monkeypatch.setattr(timing, "perf_counter", lambda: next(readings))
    watch = Stopwatch()
    for _ in range(2):
        watch.lap("long")
        watch.lap("short")
    assert watch.seconds == {"long": 2.75, "short": 0.5}
    watch.start()
    watch.lap("short")
    assert watch.seconds == {"long": 2.75, "short": 1.0}
    watch.add("elsewhere", 5.0)
    assert list(watch.rounded()) == ["elsewhere", "long", "short"]
    assert rounded({"a": 0.12345, "b": 2.0}) == {"b": 2.0, "a": 0.123}


def test_the_device_is_waited_for_only_when_asked() -> None:
    calls: list[int] = []
    for watch in (Stopwatch(), Stopwatch(lambda: calls.append(1))):
        watch.start()
        watch.lap("part")
    assert len(calls) == 2
