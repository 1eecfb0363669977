"""Start states of demonstrations and evaluations cannot meet."""

from omp_cli.core.seeds import HELD_OUT, demo_seed, eval_seed


def test_ranges_are_disjoint_and_seeds_distinct() -> None:
    demos = {demo_seed(s, "push", i) for s in range(3) for i in range(500)}
    evals = {eval_seed(s, "push", i) for s in range(3) for i in range(500)}
    assert max(demos) < HELD_OUT <= min(evals)
    assert max(evals) < 2**31
    assert len(demos) == len(evals) == 1500


def test_every_part_counts_and_the_value_is_fixed_for_ever() -> None:
    assert len({demo_seed(0, "a", 0), demo_seed(1, "a", 0), demo_seed(0, "b", 0), demo_seed(0, "a", 1)}) == 4
    assert (demo_seed(0, "assembly", 0), eval_seed(0, "assembly", 0)) == (269925881, 1439172965)
