"""Newcombe's interval against published values; the bootstrap against what can be computed by hand."""

import numpy as np
import pytest

from omp_cli.core.measure.statistics import bootstrap, newcombe, task_mean, wilson


@pytest.mark.parametrize(
    ("ours", "other", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:873, table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_against_its_table(ours: tuple[int, int], other: tuple[int, int], low: float, high: float) -> None:
    found = newcombe(wilson(*ours), wilson(*other))
    assert found.value == pytest.approx(ours[0] / ours[1] - other[0] / other[1])
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    mirrored = newcombe(wilson(*other), wilson(*ours))
    assert (mirrored.low, mirrored.high) == (pytest.approx(-found.high), pytest.approx(-found.low))


def test_the_mean_counts_tasks_alike_whatever_their_seeds_and_classes() -> None:
    assert task_mean([[[1.0, 0.0], [0.0]], [[1.0]]]) == pytest.approx((0.5 + 0 + 1) / 3)


def test_a_single_seed_of_a_single_task_has_no_interval() -> None:
    found = bootstrap([[[0.7]], [[0.1]]])
    assert (found.value, found.low, found.high) == (pytest.approx(0.4), None, None)
    assert bootstrap([[[0.7]]], [[[0.5]]]).low is None
    assert bootstrap([[[0.7, 0.9]]]).low == pytest.approx(0.7)


def test_classes_are_strata() -> None:
    """Resampling across classes would mix their levels; within them nothing varies here."""
    found = bootstrap([[[0.9], [0.9]], [[0.1], [0.1]]])
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_difference_is_paired_by_task() -> None:
    """Tasks far apart, each method always 0.1 apart: unpaired, the interval would be as wide as the tasks' spread."""
    found = bootstrap([[[0.1], [0.5], [0.9]]], [[[0.0], [0.4], [0.8]]])
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


def test_two_tasks_have_the_distribution_that_can_be_counted() -> None:
    """Means 0, 1/2, 1 with weights 1/4, 1/2, 1/4; seeds of unequal number keep their task's mean."""
    found = bootstrap([[[0.0, 0.0, 0.0], [1.0]]])
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    rng = np.random.default_rng(3)
    four = bootstrap([[[float(x)] for x in rng.integers(2, size=400)]])
    assert four.high is not None
    assert four.low is not None
    assert four.high - four.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.08)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """20 tasks drawn around 0.6, three seeds each: of 200 intervals 95 % +- sampling error hold 0.6."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        tasks = np.clip(rng.normal(0.6, 0.1, (20, 1)) + rng.normal(0, 0.05, (20, 3)), 0, 1)
        found = bootstrap([tasks.tolist()], resamples=400)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.6 <= found.high
    assert 0.89 <= hits / 200 <= 0.99
