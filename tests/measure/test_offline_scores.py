"""The figures of an evaluation without an environment, against closed forms and by hand."""

import math

import numpy as np
import pytest

from omp_cli.core.base.statistics import bootstrap_of_ratios
from omp_cli.core.measure.offline.scores import DATA, LAST, MEAN, SAMPLE, SAMPLES, Sums, chunk_distance, energy_score

ALL = np.ones((1, 1), bool)


def test_energy_score_of_a_normal_distribution_is_its_crps() -> None:
    """In one dimension it is the CRPS, of N(0, 1): y (2 F(y) - 1) + 2 f(y) - 1 / sqrt(pi) (Gneiting et al. 2005)."""
    samples = np.random.default_rng(0).standard_normal((1, 2000, 1, 1))
    for y in (0.0, 0.7, -2.0):
        density, below = math.exp(-(y**2) / 2) / math.sqrt(2 * math.pi), (1 + math.erf(y / math.sqrt(2))) / 2
        expected = y * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi)
        assert energy_score(samples, np.full((1, 1, 1), y), ALL)[0] == pytest.approx(expected, abs=0.03)


def test_energy_score_is_unbiased_in_the_number_of_samples() -> None:
    random = np.random.default_rng(1)
    truth = np.zeros((20_000, 1, 1))
    few, many = (
        energy_score(random.standard_normal((20_000, m, 1, 1)), truth, ALL.repeat(20_000, 0)).mean() for m in (2, 8)
    )
    exact = 2 / math.sqrt(2 * math.pi) - 1 / math.sqrt(math.pi)
    assert few == pytest.approx(exact, abs=0.02)
    assert many == pytest.approx(exact, abs=0.02)


def test_energy_score_by_hand() -> None:
    """Samples 0, 1, 5 at y = 2: (2 + 1 + 3) / 3 - (1 + 5 + 4) / 3 / 2 = 1 / 3."""
    samples = np.array([0.0, 1.0, 5.0]).reshape(1, 3, 1, 1)
    assert energy_score(samples, np.full((1, 1, 1), 2.0), ALL)[0] == pytest.approx(1 / 3)


def test_both_ways_score_better_than_their_mean() -> None:
    """Demonstrations go to -1 or 1: the distribution that does so is better than its mean, whose error is smaller."""
    samples, truth = np.array([-1.0, 1.0] * 50).reshape(1, 100, 1, 1), np.ones((1, 1, 1))
    assert chunk_distance(np.zeros((1, 1, 1)), truth, ALL)[0] == 1
    assert energy_score(samples, truth, ALL)[0] == pytest.approx(1 - 50 / 99)
    one, mean = (np.sqrt(((x - 1) ** 2).mean()) for x in (samples, samples.mean()))
    assert one == pytest.approx(math.sqrt(2))
    assert mean == 1


def test_steps_that_were_not_recorded_do_not_count() -> None:
    a, b = np.zeros((1, 3, 2)), np.array([[[3.0, 4.0], [0.0, 0.0], [9.0, 9.0]]])
    assert chunk_distance(a, b, np.array([[True, True, False]]))[0] == pytest.approx(math.sqrt(12.5 / 2))


def test_sums_by_hand() -> None:
    """Two dimensions of spread 2 and 0 (which does not vary), two steps, one episode of two windows."""
    sums = Sums(2, np.array([2.0, 0.0]), np.array([True, False]))
    sums.begin()
    truth = np.array([[[1.0, 5.0], [3.0, 5.0]], [[3.0, 5.0], [3.0, 5.0]]])
    valid = np.array([[True, True], [True, False]])
    away = np.array([2.0, 1.0])
    samples = np.stack([truth + away, truth - away], 1)
    last = np.broadcast_to(np.array([[[[1.0, 5.0]]], [[[1.0, 5.0]]]]), (2, 1, 2, 2))
    predicted = {SAMPLE: samples, MEAN: samples.mean(1, keepdims=True), LAST: last, DATA: np.zeros((2, 1, 2, 2))}
    sums.add(predicted, truth, valid)
    found = {name: sums.figures(name, 0) for name in (*predicted, SAMPLES)}
    assert found[SAMPLE]["relative"]["value"] == 1
    assert [x["value"] for x in found[SAMPLE]["by_dimension"]] == [2, 1]
    assert found[SAMPLE]["by_dimension_relative"][1] is None
    assert found[MEAN]["relative"]["value"] == 0
    assert [x["value"] for x in found[LAST]["by_step"]] == [pytest.approx(math.sqrt(0.5), rel=1e-5), 1]
    assert found[LAST]["relative"]["value"] == pytest.approx(math.sqrt(2 / 3), rel=1e-5)
    assert found[DATA]["by_step_and_dimension"] == [[pytest.approx(math.sqrt(5), rel=1e-5), 5], [3, 5]]
    assert found[SAMPLES] == {"energy_score": {"value": 0.0, "low": None, "high": None}}, "1 - 2 / 2"
    assert found[SAMPLE]["energy_score"]["value"] == 1
    assert found[LAST]["energy_score"]["value"] == pytest.approx((math.sqrt(0.5) + 1) / 2, rel=1e-5)


def test_data_without_any_movement_have_no_relative_error() -> None:
    sums = Sums(1, np.zeros(1), np.array([False]))
    sums.begin()
    sums.add({SAMPLE: np.ones((1, 2, 1, 1))}, np.zeros((1, 1, 1)), ALL)
    assert sums.relative(SAMPLE) == [None]
    assert set(sums.figures(SAMPLE, 0)) == {"by_dimension", "by_dimension_relative", "by_step_and_dimension"}


def test_the_bootstrap_is_over_units() -> None:
    same = bootstrap_of_ratios(np.full((5, 1), 8.0), np.full((5, 1), 2.0), np.sqrt)[0]
    assert (same.value, same.low, same.high) == (2, 2, 2)
    few = bootstrap_of_ratios(np.array([[1.0], [3.0]]), np.ones((2, 1)))[0]
    assert (few.value, few.low, few.high) == (2, None, None)
    missing = bootstrap_of_ratios(np.array([[1.0, 0.0]] * 4), np.array([[1.0, 0.0]] * 4))
    assert missing[0].low == 1
    assert math.isnan(missing[1].value)
    assert missing[1].low is None


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Ten episodes with a normal mean each: 95 % of 300 intervals, give or take three standard errors."""
    random, held = np.random.default_rng(0), 0
    for trial in range(300):
        interval = bootstrap_of_ratios(random.normal(1, 1, (10, 1)), np.ones((10, 1)), resamples=400, seed=trial)[0]
        assert interval.low is not None
        assert interval.high is not None
        held += interval.low <= 1 <= interval.high
    assert 0.91 <= held / 300 <= 0.99
