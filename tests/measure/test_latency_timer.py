"""The stopwatch against a function that takes a known time."""

import time

import pytest
import torch

from omp_cli.core.base.progress import Silent
from omp_cli.core.measure.latency.config import MIN_CALLS
from omp_cli.core.measure.latency.samples import statistics
from omp_cli.core.measure.latency.timer import Clock, Effort, seconds_of, time_together

CPU = torch.device("cpu")


def effort(calls: int = 10, blocks: int = 5, warmup: int = 2, seconds: float = 0.0, budget: float = 60.0) -> Effort:
    return Effort(calls, blocks, warmup, seconds, budget)


def test_a_known_sleep() -> None:
    took = time_together([lambda: time.sleep(0.004)], Clock(CPU), effort(calls=5, blocks=2), Silent(), "")[0]
    figures = took.quoted()
    assert 4.0 <= figures.min < 40.0
    assert figures.n == 10
    assert took.device is None
    assert took.clock == "host"
    clock, cpu = took.cross_check() or ("", figures)
    assert clock == "cpu"
    assert cpu.p50 < 2  # asleep, it does not compute
    assert 0.004 <= seconds_of(lambda: time.sleep(0.004), Clock(CPU)) < 1


def test_the_clock_adds_microseconds() -> None:
    assert 0 < Clock(CPU).overhead() < 0.2


def test_blocks_are_taken_in_turn_after_a_warm_up() -> None:
    order: list[str] = []
    calls = [lambda: order.append("a"), lambda: order.append("b")]
    found = time_together(calls, Clock(CPU), effort(calls=3, blocks=2, warmup=2), Silent(), "")
    assert "".join(order) == "aa" + "bb" + ("a" * 4 + "b" * 4) * 2  # an untimed call opens each block
    assert [len(block) for samples in found for block in samples.host] == [3, 3, 3, 3]


def test_warm_up_lasts_long_enough_but_not_beyond_its_share_of_the_budget() -> None:
    count = [0]

    def call() -> None:
        count[0] += 1
        time.sleep(0.005)

    time_together([call], Clock(CPU), effort(calls=1, blocks=1, warmup=1, seconds=0.5), Silent(), "")
    assert 3 <= count[0] <= 101  # at most 100 to warm up, 1 timed
    count[0] = 0
    time_together([call], Clock(CPU), effort(calls=1, blocks=1, warmup=1000, budget=0.05), Silent(), "")
    assert count[0] <= 4


@pytest.mark.parametrize(
    ("seconds", "plan"),
    [
        (0.001, (5, 10)),  # quick: everything asked for
        (2.0, (5, 6)),  # 60 s hold 30 calls
        (15.0, (4, 1)),
        (1000.0, (MIN_CALLS, 1)),  # beyond the budget: the least
    ],
)
def test_slow_calls_get_fewer_repetitions(seconds: float, plan: tuple[int, int]) -> None:
    assert effort().plan(seconds) == plan


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_events_see_the_device_work_and_agree_with_the_host() -> None:
    device = torch.device("cuda")
    x = torch.randn(4096, 4096, device=device)
    took = time_together([lambda: x @ x @ x], Clock(device), effort(), Silent(), "")[0]
    clock, host = took.cross_check() or ("", None)
    assert (took.clock, clock) == ("device events", "host")
    assert host is not None
    flops = 2 * 2 * 4096**3
    assert took.quoted().min > 1000 * flops / 2e15  # quicker than any GPU: only the launch was timed
    assert took.quoted().p50 <= host.p50 < took.quoted().p50 + 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_empty_call_costs_little_on_the_device() -> None:
    readings = [Clock(torch.device("cuda")).time(lambda: None) for _ in range(50)]
    times = [reading.device for reading in readings if reading.device is not None]
    assert len(times) == 50
    assert statistics([times]).p50 < 0.1


def test_the_least_is_also_reached_with_few_blocks_and_never_more_than_asked() -> None:
    assert effort(blocks=2).plan(1000.0) == (2, 2)
    assert effort(calls=1, blocks=1).plan(1000.0) == (1, 1)


def test_processor_time_is_the_time_of_a_call_that_computes() -> None:
    x = torch.randn(300, 300)
    took = time_together([lambda: x @ x], Clock(CPU), effort(), Silent(), "")[0]
    _, cpu = took.cross_check() or ("", took.quoted())
    assert 0.5 * took.quoted().min < cpu.min <= 1.1 * took.quoted().min
