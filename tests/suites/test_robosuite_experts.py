"""The scripted experts of robosuite's tasks: the clean one succeeds, the same seed repeats, operators differ."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from omp_cli.core.base.errors import UsageError
from omp_cli.core.suites.robomimic.controller import Control
from omp_cli.core.suites.robomimic.experts import OPERATORS, Demonstrator, Operator, Tremble, make_expert
from omp_cli.core.suites.robomimic.model import make_robosuite, numpy_seeded
from omp_cli.core.suites.robomimic.phases import Hand, Phase, Pick, Pose, above, at, here, wrap

pytestmark = pytest.mark.skipif(find_spec("robosuite") is None, reason="robosuite is not installed")

STEPS = 50


@pytest.fixture(scope="module")
def lift() -> Any:
    env = make_robosuite("Lift", 1, Control())
    yield env
    env.close()


def reset(env: Any, seed: int) -> None:
    with numpy_seeded(seed):
        env.reset()


def episode(env: Any, operator: Operator, seed: int, steps: int = STEPS) -> tuple[NDArray[np.float32], list[bool]]:
    """Actions (steps, 7), and success after each."""
    reset(env, seed)
    expert, actions, successes = make_expert("lift", env, operator, seed), [], []
    for _ in range(steps):
        actions.append(expert.action())
        env.step(actions[-1])
        successes.append(bool(env._check_success()))
    return np.array(actions), successes


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_clean_operator_lifts_the_cube_and_keeps_it(lift: Any, seed: int) -> None:
    actions, successes = episode(lift, OPERATORS["clean"], seed)
    first = successes.index(True)
    assert all(successes[first:])
    assert actions.dtype == np.float32
    assert actions.shape == (STEPS, 7)
    assert np.all(np.abs(actions) <= 1.0)
    assert set(actions[:, 6]) == {-1.0, 1.0}
    assert list(actions[:, 6]) == sorted(actions[:, 6])  # opens first, closes once, does not let go


def test_actions_are_a_function_of_the_state_and_the_seed(lift: Any) -> None:
    first, _ = episode(lift, OPERATORS["noisy"], 3, 12)
    second, _ = episode(lift, OPERATORS["noisy"], 3, 12)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, episode(lift, OPERATORS["clean"], 3, 12)[0])
    reset(lift, 3)
    other = make_expert("lift", lift, OPERATORS["noisy"], 4).action()
    assert not np.array_equal(first[0], other)


def test_the_speed_bounds_the_displacement(lift: Any) -> None:
    slow, _ = episode(lift, Operator(speed=0.3), 0, 15)
    length = np.linalg.norm(slow[:, :3], axis=1)
    assert length.max() <= 0.3 + 1e-6
    assert length.max() > 0.29
    assert np.linalg.norm(slow[:, 3:6], axis=1).max() <= 0.3 + 1e-6


def test_a_lost_cube_is_grasped_again(lift: Any) -> None:
    reset(lift, 0)
    expert, phases = make_expert("lift", lift, OPERATORS["clean"], 0), []
    for _ in range(100):
        lift.step(expert.action())
        if phases[-1:] != [expert.phases[0]]:
            phases.append(expert.phases[0])
            if phases.count("lift") == 1 and phases[-1] == "lift":
                joint = lift.cube.joints[0]
                pose = lift.sim.data.get_joint_qpos(joint).copy()
                pose[:3] = [0.05, 0.05, 0.83]
                lift.sim.data.set_joint_qpos(joint, pose)
                lift.sim.forward()
    assert phases == ["hover", "descend", "close", "lift"] * 2
    assert lift._check_success()


def test_hands_that_are_pushed_come_back(lift: Any) -> None:
    """What is wanted is the clean operator's; what is done lies beside it, by the share that is set."""
    reset(lift, 0)
    pushed, clean = (make_expert("lift", lift, OPERATORS[name], 0) for name in ("disturbed", "clean"))
    gaps = []
    for step in range(STEPS):
        wanted = pushed.action()
        if step == 0:
            np.testing.assert_array_equal(wanted, clean.action())
        done = pushed.executed(wanted)
        gaps.append(done - wanted)
        assert done[6] == wanted[6]
        assert np.abs(done).max() <= 1.0
        lift.step(done)
    assert lift._check_success()
    free = np.array(gaps)[10:]
    assert 0.05 < np.abs(free[:, :3]).mean() < 0.15
    assert 0.005 < np.abs(free[:, 3:6]).mean() < 0.04
    np.testing.assert_array_equal(clean.executed(wanted), wanted)


def test_a_tremble_forgets_within_a_third_of_a_second() -> None:
    tremble = Tremble(4000, np.random.default_rng(0))
    first = tremble.value.copy()
    for _ in range(7):
        last = tremble.step()
    assert last.std() == pytest.approx(1.0, abs=0.05)
    assert np.corrcoef(first, last)[0, 1] == pytest.approx(0.85**7, abs=0.05)


def test_recordings_from_before_there_were_pushes_keep_their_names() -> None:
    assert "disturbance" not in OPERATORS["clean"].recorded()
    assert json.loads(OPERATORS["disturbed"].recorded())["disturbance"] == 0.12


def test_a_hand_turns_the_short_way_and_not_past_its_joint(lift: Any) -> None:
    reset(lift, 0)
    hand = Hand(lift, 0)
    at = np.zeros(3)
    assert abs(hand.yaw) < 0.1
    for yaw in np.linspace(-4.0, 4.0, 33):
        turn = hand.turn_to(Pose(at, yaw, 2))
        assert wrap(hand.yaw + turn - yaw, 2) == pytest.approx(0.0, abs=1e-9)
        assert abs(hand.yaw + turn) <= np.pi / 2.0 + 0.1
    assert hand.turn_to(Pose(at)) == pytest.approx(-hand.yaw)


def test_an_unknown_task_names_the_nearest(lift: Any) -> None:
    with pytest.raises(UsageError, match="no scripted expert for task 'squares'") as caught:
        make_expert("squares", lift, OPERATORS["clean"], 0)
    assert caught.value.hint == "did you mean square?"


def driven(env: Any, *phases: Phase, speed: float = 1.0) -> Demonstrator:
    """A steady operator with a plan of these phases."""
    return Demonstrator(env, ((Pick(phases),),), Operator(speed=speed), 0)


def test_a_phase_waits_for_its_condition_at_its_target(lift: Any) -> None:
    reset(lift, 0)
    allowed: list[bool] = []
    expert = driven(
        lift,
        Phase("wait", here, closed=False, steps=2, limit=None, until=lambda hand: bool(allowed)),
        Phase("go", above(here, 0.1), closed=False, fixed=True, limit=None),
    )
    for _ in range(20):
        expert.action()
    assert expert.phases == ("wait",)
    allowed.append(True)
    names = []
    for _ in range(4):
        expert.action()
        names.append(expert.phases[0])
    assert names == ["wait", "wait", "go", "go"]


def test_a_moving_hand_has_not_arrived_where_rest_is_asked_for(lift: Any) -> None:
    for rest, arrives in ((np.inf, True), (0.05, False)):
        reset(lift, 0)
        far = Phase("far", above(here, 0.3), closed=False, fixed=True, near=0.25, limit=None, rest=rest)
        expert = driven(lift, far, Phase("next", here, closed=False, limit=None))
        for _ in range(8):
            lift.step(expert.action())
        assert (expert.phases == ("next",)) == arrives


def test_a_pace_bounds_fast_operators_and_leaves_slow_ones(lift: Any) -> None:
    for speed, expected in ((1.0, 0.5), (0.3, 0.3)):
        reset(lift, 0)
        expert = driven(
            lift, Phase("up", above(here, 0.3), closed=False, fixed=True, limit=None, pace=0.5), speed=speed
        )
        assert np.linalg.norm(expert.action()[:3]) == pytest.approx(expected, abs=1e-6)


def test_a_leaning_hand_points_forward_and_keeps_its_direction(lift: Any) -> None:
    reset(lift, 0)
    expert = driven(lift, Phase("lean", at(-0.1, 0.0, 1.05, 0.0), closed=False, limit=None, near=0.0, lean=0.4))
    for _ in range(40):
        lift.step(expert.action())
    hand = Hand(lift, 0)
    assert hand.rotation[:, 2] == pytest.approx([np.sin(0.4), 0.0, -np.cos(0.4)], abs=0.03)
    assert hand.yaw == pytest.approx(0.0, abs=0.03)
