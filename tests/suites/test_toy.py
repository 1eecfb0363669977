"""The toy suite: solvable, and multimodal where it says so."""

from __future__ import annotations

import numpy as np
import pytest

from omp_cli.core.suites.base import SUITES
from omp_cli.core.suites.toy import suite as toy


def env(task: str, points: int = 128) -> toy.ToyEnv:
    built = SUITES.build(SUITES.parse({"name": "toy", "cloud": {"points": points}})).make(task)
    assert isinstance(built, toy.ToyEnv)
    return built


@pytest.mark.parametrize("task", ["reach", "detour", "fork"])
def test_the_expert_always_succeeds_with_room_to_spare(task: str) -> None:
    arena = env(task)
    for seed in range(100):
        arena.reset(seed)
        steps = next(i for i in range(toy.MAX_STEPS) if arena.step(arena.expert()).success)
        assert 5 <= steps <= toy.MAX_STEPS // 2


@pytest.mark.parametrize(("task", "left"), [("detour", 0.5), ("fork", 0.4)])
def test_both_sides_of_the_pillar_are_shown_in_their_proportion(task: str, left: float) -> None:
    arena, modes = env(task), []
    for seed in range(300):
        arena.reset(seed)
        outcomes = [arena.step(arena.expert()) for _ in range(20)]
        modes.append(outcomes[-1].mode)
        known = [outcome.mode for outcome in outcomes if outcome.mode is not None]
        assert outcomes[0].mode is None
        assert set(known) == {modes[-1]}, "once it is passed the side is decided"
        assert arena.start_state()[-1] == (1.0 if modes[-1] == "left" else -1.0)
    assert abs(modes.count("left") / 300 - left) < 0.08


def test_the_mean_of_both_sides_leads_nowhere() -> None:
    arena = env("detour")
    for seed in range(20):
        arena.reset(seed)
        outcomes = [arena.step(np.array([1.0, 0.0])) for _ in range(toy.MAX_STEPS)]
        assert not any(outcome.success or outcome.mode for outcome in outcomes)


@pytest.mark.parametrize(("task", "points"), [("reach", 16), ("detour", 16), ("reach", 128), ("detour", 129)])
def test_any_prefix_of_the_cloud_shows_point_goal_and_pillar(task: str, points: int) -> None:
    arena = env(task, points)
    arena.reset(1)
    seen = arena.observe(["state", "point_cloud"])
    cloud, state = seen["point_cloud"], seen["state"]
    assert cloud.shape == (points, 3)
    radii = {(0, 1): 0.03, (3, 4): toy.GOAL_RADIUS, (5, 6): toy.PILLAR_RADIUS}
    things = [(state[list(place)], radius) for place, radius in radii.items() if max(place) < len(state)]
    nearest = np.stack([np.linalg.norm(cloud[:, :2] - centre, axis=1) - radius for centre, radius in things])
    owner = nearest.argmin(axis=0)
    assert (nearest.min(axis=0) < 1e-6).all()
    assert set(owner[: max(12, points // 2)]) == set(range(len(things)))


def test_the_picture_shows_the_point_where_it_is() -> None:
    arena = env("detour")
    arena.reset(0)
    picture = arena.picture(200).astype(int)
    red = (picture[..., 0] - picture[..., 1]) > 100
    rows, columns = np.nonzero(red)
    x, y = arena.observe(["state"])["state"][:2]
    assert columns.mean() == pytest.approx((x / (1.1 * toy.ARENA) + 1.0) * 100.0, abs=1.0)
    assert rows.mean() == pytest.approx((1.0 - y / (1.1 * toy.ARENA)) * 100.0, abs=1.0)
