"""What the bounds of an environment do to a policy's actions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from omp_cli.core.base.errors import UsageError
from omp_cli.core.deploy.clipping import Clipping
from omp_cli.core.deploy.deciders import OfCheckpoint
from omp_cli.core.deploy.export import _reach
from omp_cli.core.deploy.frames import Signature
from omp_cli.core.deploy.robots import GymRobot
from omp_cli.core.encoders.base import Limits
from omp_cli.core.policy import Policy
from omp_cli.core.spec import Channels, Spec

NAMES = ("shoulder", "elbow")
INF = np.inf


def decider(low: tuple[float, float], high: tuple[float, float]) -> OfCheckpoint:
    """A policy of data in degrees; of data of a suite where the range is empty."""
    channels = Channels(names=NAMES, unit="deg", low=low, high=high) if low < high else None
    limits = Limits(2, hold=True)
    if channels:
        limits.fit(torch.tensor([low, high]))
    spec = Spec(suite="own", task="t", action_dim=2, state_dim=1, max_steps=1, control_hz=1.0, action_channels=channels)
    found = OfCheckpoint.__new__(OfCheckpoint)
    found.checkpoint = SimpleNamespace(meta=SimpleNamespace(spec=spec))  # type: ignore[assignment]
    found.policy = Policy.__new__(Policy)
    torch.nn.Module.__init__(found.policy)
    found.policy.spec, found.policy.action_limits = spec, limits
    names, unit = (NAMES, "deg") if channels else ((), "")
    found.signature = Signature("own", "t", {}, 1, 1, 1, 2, 1.0, None, 1, action_names=names, action_unit=unit)
    return found


def space(low: Any, high: Any, kind: Any = np.float32) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(np.array(low, kind), np.array(high, kind), dtype=kind)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_numbers_beyond_a_bound_are_counted_and_what_arithmetic_misses_it_by_is_not(kind: Any) -> None:
    notes: list[str] = []
    clipping = Clipping(space([-0.1, 0.0], [0.1, INF], kind), decider((-0.1, 0.0), (0.1, 9.0)), notes.append)
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
    Clipping(space([-bounds] * 2, [bounds] * 2), decider(low, high), notes.append)
    assert len(notes) == bool(told)
    assert not told or told in notes[0]


def test_actions_of_a_suite_beyond_one_are_told_from_the_data_and_not_taken_for_one() -> None:
    notes: list[str] = []
    of_suite = decider((0.0, 0.0), (0.0, 0.0))
    of_suite.policy.action_limits.fit(torch.tensor([[-3.0, 0.0], [5.0, 10.0]]))
    Clipping(space([-3, 0], [5, 10]), of_suite, notes.append)
    assert not notes
    assert _reach(of_suite.policy) == "-3 to 10"
    Clipping(space([-3, 0], [5, 1]), of_suite, notes.append)
    assert "action[1] are 0 to 1, the policy's actions go from 0 to 10" in notes[0]


def test_an_environment_of_whole_numbers_is_refused_for_they_would_be_cut() -> None:
    env = gymnasium.Env[Any, Any]()
    env.action_space = space([0, 0], [255, 255], np.uint8)
    with pytest.raises(UsageError, match=r"its action is .*uint8.*, the policy's are real numbers"):
        GymRobot(env, decider((0.0, 0.0), (255.0, 255.0)), print)
