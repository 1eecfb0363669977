"""The stopwatch: parts add up to the whole."""

import time

import pytest

from omp_cli.core.timing import Stopwatch, rounded


def test_laps_are_charged_to_their_parts_and_pauses_to_none() -> None:
    watch = Stopwatch()
    began = time.perf_counter()
    for _ in range(3):
        time.sleep(0.01)
        watch.lap("long")
        watch.lap("short")
    whole = time.perf_counter() - began
    assert sum(watch.seconds.values()) == pytest.approx(whole, abs=5e-3)
    assert watch.seconds["long"] >= 0.03 > watch.seconds["short"]
    time.sleep(0.02)
    watch.start()
    watch.lap("short")
    assert watch.seconds["short"] < 0.02
    watch.add("elsewhere", 5.0)
    assert list(watch.rounded()) == ["elsewhere", "long", "short"]
    assert rounded({"a": 0.12345, "b": 2.0}) == {"b": 2.0, "a": 0.123}


def test_the_device_is_waited_for_only_when_asked() -> None:
    calls: list[int] = []
    for watch in (Stopwatch(), Stopwatch(lambda: calls.append(1))):
        watch.start()
        watch.lap("part")
    assert len(calls) == 2
