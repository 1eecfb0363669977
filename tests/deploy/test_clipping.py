"""What the bounds of an environment do to a policy's actions."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from omp_cli.core.base.errors import UsageError
from omp_cli.core.deploy.clipping import Clipping
from omp_cli.core.deploy.frames import Signature
from omp_cli.core.deploy.robots import GymRobot

NAMES = ("shoulder", "elbow")
INF = np.inf


def signature(low: tuple[float, float], high: tuple[float, float]) -> Signature:
    """A policy of data in degrees; of data of a suite where the range is empty."""
    of_suite = not low < high
    names, unit = ((), "") if of_suite else (NAMES, "deg")
    reach = ((-1.0, -1.0), (1.0, 1.0)) if of_suite else (low, high)
    return Signature("own", "t", {}, 1, 1, 1, 2, 1.0, None, 1, None, names, unit, reach)


def space(low: Any, high: Any, kind: Any = np.float32) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(np.array(low, kind), np.array(high, kind), dtype=kind)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_numbers_beyond_a_bound_are_counted_and_what_arithmetic_misses_it_by_is_not(kind: Any) -> None:
    notes: list[str] = []
    clipping = Clipping(space([-0.1, 0.0], [0.1, INF], kind), signature((-0.1, 0.0), (0.1, 9.0)), notes.append)
    assert clipping.figures() == {}
    for action, sent, clipped in (
        ([0.1, 1e9], [0.1, 1e9], False),
        ([0.10000001, -1e-8], [0.1, 0.0], False),
        ([0.05, -0.5], [0.05, 0.0], True),
        ([0.2, -0.5], [0.1, 0.0], True),
    ):
        found, changed = clipping(np.array(action, np.float32))
        np.testing.assert_allclose(found, sent, rtol=1e-7)
        assert (found.dtype, changed) == (kind, clipped)
        assert clipping._space.contains(found)
    assert clipping.figures() == {"clipped_numbers": 3, "clipped_share": 0.375}
    assert len(notes) == 1
    assert "elbow = -0.5 deg of the policy is clipped to the bound 0;" in notes[0]


@pytest.mark.parametrize(
    ("low", "high", "bounds", "told"),
    [
        ((-90.0, -9.0), (90.0, 9.0), 10.0, "shoulder are -10 to 10, the policy's actions go from -90 to 90 deg: what"),
        ((-9.0, 0.0), (9.0, 90.0), 10.0, "elbow are -10 to 10, the policy's actions go from 0 to 90 deg: what"),
        ((-10.5, -10.5), (10.5, 10.5), 10.0, ""),
        ((-90.0, -90.0), (90.0, 90.0), INF, ""),
        ((0.0, 0.0), (0.0, 0.0), 0.1, "action[0] are -0.1 to 0.1, the policy's actions go from -1 to 1 (and 1 more)"),
    ],
    ids=["both sides", "one side", "near", "unbounded", "of a suite"],
)
def test_a_range_far_beyond_the_bounds_is_said_before_anything_moves(
    low: tuple[float, float], high: tuple[float, float], bounds: float, told: str
) -> None:
    notes: list[str] = []
    Clipping(space([-bounds] * 2, [bounds] * 2), signature(low, high), notes.append)
    assert len(notes) == bool(told)
    assert not told or told in notes[0]


def test_an_environment_of_whole_numbers_is_refused_for_they_would_be_cut() -> None:
    env = gymnasium.Env[Any, Any]()
    env.action_space = space([0, 0], [255, 255], np.uint8)
    with pytest.raises(UsageError, match=r"its action is .*uint8.*, the policy's are real numbers"):
        GymRobot(env, signature((0.0, 0.0), (255.0, 255.0)), print)
