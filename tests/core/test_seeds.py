"""Start states of demonstrations and evaluations cannot meet."""

from omp_cli.core.base.seeds import HELD_OUT, demo_seed, eval_seed, rollout_seed


def test_ranges_are_disjoint_and_seeds_distinct() -> None:
    demos = {demo_seed(s, "push", i) for s in range(3) for i in range(500)}
    evals = {eval_seed(s, "push", i) for s in range(3) for i in range(500)}
    assert max(demos) < HELD_OUT <= min(evals)
    assert max(evals) < 2**31
    assert len(demos) == len(evals) == 1500


def test_every_part_counts_and_the_value_is_fixed_for_ever() -> None:
    assert len({demo_seed(0, "a", 0), demo_seed(1, "a", 0), demo_seed(0, "b", 0), demo_seed(0, "a", 1)}) == 4
    assert (demo_seed(0, "assembly", 0), eval_seed(0, "assembly", 0)) == (269925881, 1439172965)


def test_no_evaluation_can_start_where_training_did() -> None:
    rollouts = {rollout_seed(s, "push", env, i) for s in range(3) for env in range(10) for i in range(50)}
    assert len(rollouts) == 1500
    assert 0 <= min(rollouts) <= max(rollouts) < HELD_OUT <= eval_seed(0, "push", 0)
    assert not rollouts & {demo_seed(s, "push", i) for s in range(3) for i in range(500)}
    one = {
        rollout_seed(*parts)
        for parts in ((0, "a", 0, 0), (1, "a", 0, 0), (0, "b", 0, 0), (0, "a", 1, 0), (0, "a", 0, 1))
    }
    assert len(one) == 5
