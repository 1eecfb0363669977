"""The arithmetic of latency on samples made by hand."""

import json
import math

import numpy as np
import pytest

from omp_cli.core.measure.latency.samples import composed, statistics


def test_percentiles_rate_and_jitter_of_known_samples() -> None:
    times = [float(ms) for ms in range(1, 102)]  # 1 .. 101 ms
    figures = statistics([times])
    assert (figures.n, figures.min, figures.p50, figures.mean) == (101, 1.0, 51.0, 51.0)
    assert figures.p95 == pytest.approx(96.0)
    assert figures.p99 == pytest.approx(100.0)
    assert figures.jitter == pytest.approx(49.0)
    assert figures.hz == pytest.approx(1000 / 51)
    assert figures.std == pytest.approx(np.std(times))


def test_one_slow_call_moves_the_tail_and_not_the_median() -> None:
    figures = statistics([[2.0] * 199 + [50.0]])
    assert (figures.p50, figures.p95, figures.hz) == (2.0, 2.0, 500.0)
    assert figures.mean == pytest.approx(2.24)
    assert figures.jitter is not None
    assert figures.jitter < 1  # one in 200 is beyond the 99th percentile
    assert statistics([[2.0] * 197 + [50.0] * 3]).jitter == pytest.approx(48.0)


def test_drift_is_the_spread_of_the_block_medians() -> None:
    figures = statistics([[10.0, 10.0, 90.0], [11.0, 11.0, 11.0], [12.0, 12.0, 12.0]])
    assert figures.block_p50 == (10.0, 11.0, 12.0)
    assert figures.drift_percent == pytest.approx(100 * 2 / 11)
    assert statistics([[3.0, 3.0], [3.0, 3.0]]).drift_percent == 0
    assert statistics([[1.0, 2.0]]).drift_percent is None


@pytest.mark.parametrize(("calls", "p95", "p99"), [(19, False, False), (20, True, False), (99, True, False)])
def test_a_tail_that_was_not_sampled_is_not_invented(calls: int, p95: bool, p99: bool) -> None:
    figures = statistics([[1.0] * calls])
    assert (figures.p95 is not None, figures.p99 is not None, figures.jitter is not None) == (p95, p99, p99)


def test_composed_times_add_up_and_claim_no_tail() -> None:
    encode, step = statistics([[1.0, 2.0, 3.0]]), statistics([[10.0, 20.0, 30.0, 30.0]])
    once, every = composed(encode, step, 4, reencode=False), composed(encode, step, 4, reencode=True)
    assert (once.p50, once.min) == (2 + 4 * 25, 1 + 4 * 10)
    assert (every.p50, every.min) == (4 * (2 + 25), 4 * (1 + 10))
    assert (once.n, once.p95, once.p99, once.jitter, once.drift_percent) == (3, None, None, None, None)
    assert math.isnan(once.std)
    assert json.loads(json.dumps(once.as_json(), allow_nan=False))["std"] is None
