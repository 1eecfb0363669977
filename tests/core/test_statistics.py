"""Wilson's and Newcombe's intervals against published values; the bootstrap against what can be computed by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from omp_cli.core.base.statistics import COVERAGE, bootstrap, newcombe, newcombe_paired, spread, task_mean, wilson


@pytest.mark.parametrize(
    ("n", "total", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_newcombes_table(n: int, total: int, low: float, high: float) -> None:
    rate = wilson(n, total)
    assert (rate.low, rate.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert rate.rate == n / total
    assert str(rate).startswith(f"{n}/{total} = ")


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_is_scipys(confidence: float) -> None:
    from scipy.stats import binomtest  # takes a second, which the collection of tests need not wait for

    for total in (1, 2, 30, 2550):
        for n in {0, 1, total // 3, total - 1, total}:
            theirs = binomtest(n, total).proportion_ci(confidence, method="wilson")
            found = wilson(n, total, confidence)
            assert (found.low, found.high) == (
                pytest.approx(theirs.low, abs=1e-14),
                pytest.approx(theirs.high, abs=1e-14),
            )


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:2635, method 10; Altman et al. 2000, Statistics with Confidence, p. 52
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((14, 5, 0, 22), 0.0115, 0.2265),
    ],
)
def test_newcombe_for_pairs_against_published_values(counts: tuple[int, ...], low: float, high: float) -> None:
    both, ours, other, neither = counts
    found = newcombe_paired(both, ours, other, neither)
    assert found.value == pytest.approx((ours - other) / sum(counts))
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    mirrored = newcombe_paired(both, other, ours, neither)
    assert (mirrored.low, mirrored.high) == (pytest.approx(-found.high), pytest.approx(-found.low))  # type: ignore[operator]


@pytest.mark.parametrize("chances", [(0.4, 0.3, 0.1, 0.2), (0.7, 0.15, 0.05, 0.1), (0.25, 0.25, 0.25, 0.25)])
def test_an_interval_for_pairs_holds_the_truth(chances: tuple[float, ...]) -> None:
    """In 95 of 100 sessions of 20 starts or more often: all possible outcomes are weighed."""
    from math import comb, prod

    starts, held = 20, 0.0
    for both in range(starts + 1):
        for ours in range(starts + 1 - both):
            for other in range(starts + 1 - both - ours):
                counts = (both, ours, other, starts - both - ours - other)
                found = newcombe_paired(*counts)
                ways = comb(starts, both) * comb(starts - both, ours) * comb(starts - both - ours, other)
                if found.low <= chances[1] - chances[2] <= found.high:  # type: ignore[operator]
                    held += ways * prod(p**n for p, n in zip(chances, counts, strict=True))
    assert 0.95 <= held <= 0.98


def test_more_successes_than_episodes_are_no_rate() -> None:
    for n in (-1, 4):
        with pytest.raises(ValueError, match=f"{n} successes of 3 episodes"):
            wilson(n, 3)


def test_complement_mirrors_the_interval() -> None:
    a, b = wilson(7, 30), wilson(23, 30)
    assert a.low == pytest.approx(1 - b.high)
    assert a.high == pytest.approx(1 - b.low)


def test_spread_by_hand() -> None:
    found = spread([2.0, 4.0, 4.0, 10.0])
    assert (found.episodes, found.mean, found.min, found.max) == (4, 5.0, 2.0, 10.0)
    assert found.std == pytest.approx(12.0**0.5)
    assert found.sem == pytest.approx(3.0**0.5)
    assert spread([3.0]).as_dict() == {"episodes": 1, "mean": 3.0, "std": None, "sem": None, "min": 3.0, "max": 3.0}


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


@pytest.mark.parametrize("classes", [[[[0.7]], [[0.1]]], [[[0.7, 0.9]]], [[[0.1, 0.2], [0.3, 0.4]]]])
def test_fewer_than_three_tasks_have_no_interval(classes: list[list[list[float]]]) -> None:
    found = bootstrap(classes)
    assert (found.value, found.low, found.high) == (pytest.approx(task_mean(classes)), None, None)
    assert bootstrap(classes, classes).low is None


def test_classes_are_strata() -> None:
    """Resampling across classes would mix their levels; within them nothing varies here."""
    found = bootstrap([[[0.9]] * 3, [[0.1]] * 3])
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_classes_too_small_for_strata_are_one() -> None:
    """A class of one task never varies by itself, so its error would go unseen."""
    found = bootstrap([[[0.9]] * 3, [[0.1]]])
    assert found == bootstrap([[[0.9], [0.9], [0.9], [0.1]]])
    assert found.low is not None
    assert found.low < 0.5


def test_a_difference_is_paired_by_task() -> None:
    """Tasks far apart, each method always 0.1 apart: unpaired, the interval would be as wide as the tasks' spread."""
    found = bootstrap([[[0.1], [0.5], [0.9]]], [[[0.0], [0.4], [0.8]]])
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


def test_three_tasks_have_the_distribution_that_can_be_counted() -> None:
    """Two draws from 0.4, 0.5, 0.6: the 2.5 % ends are 0.4 and 0.6 (weight 1/9 each), widened by t(2) = 4.303 / 1.960
    0.2195 from the mean. Student's interval is wider, 4.303 * 0.1 / sqrt(3). Seeds of unequal number keep their task's
    mean."""
    found = bootstrap([[[0.3, 0.4, 0.5], [0.5], [0.6]]])
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5 - 0.2484, 0.5 + 0.2484), abs=1e-4)
    skewed = bootstrap([[[0.9], [0.88], [0.6]]])
    assert skewed.low == pytest.approx(0.7933 - 2.1955 * (0.7933 - 0.6), abs=1e-3), "the percentile where it is farther"
    assert skewed.high == 1.0
    assert bootstrap([[[0.0], [1.0], [1.0]]]).low == 0.0, "a rate is no less than 0"


def test_many_tasks_have_the_normal_interval() -> None:
    rng = np.random.default_rng(3)
    found = bootstrap([[[float(x)] for x in rng.integers(2, size=400)]])
    assert found.high is not None
    assert found.low is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.08)


@pytest.mark.parametrize("sizes", [(20,), (1, 1, 2, 2), (3,), (3, 3)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(sizes: tuple[int, ...]) -> None:
    """Tasks drawn around a difference of -0.05, three seeds each: of 300 intervals 95 % +- sampling error hold it."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        tasks = [rng.normal(-0.05, 0.05, (n, 1)) + rng.normal(0, 0.05, (n, 3)) for n in sizes]
        found = bootstrap([0.5 + x for x in tasks], [np.full((n, 1), 0.5) for n in sizes], resamples=400)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= -0.05 <= found.high
    assert 0.90 <= hits / 300 <= 0.99


def skewed(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Rates of 150 episodes of tasks most of which are easy, Beta(2, 1); their mean."""
    return rng.binomial(150, rng.beta(2, 1, shape)) / 150, 2 / 3


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    return rng.normal(0.5, 0.05, shape), 0.5


@pytest.mark.parametrize("law", [normal, skewed])
@pytest.mark.parametrize("tasks", COVERAGE)
def test_coverage_is_what_the_report_says(tasks: int, law: Callable[..., tuple[np.ndarray, float]]) -> None:
    """1500 intervals: the standard error of the coverage is 0.6 %."""
    rates, truth = law(np.random.default_rng(1), (1500, tasks))
    held = 0
    for index, row in enumerate(rates):
        found = bootstrap([[[float(rate)] for rate in row]], resamples=600, seed=index)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert 100 * held / len(rates) == pytest.approx(COVERAGE[tasks][law is skewed], abs=1.5)
