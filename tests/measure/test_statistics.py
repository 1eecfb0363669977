"""Wilson's interval against published values, and success bookkeeping against an environment with a known outcome."""

import pytest

from omp_cli.core.measure.statistics import spread, wilson


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
