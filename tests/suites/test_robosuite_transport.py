"""The operator of transport: both arms at work from the first step, in the plan's order, to the end of the task."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from omp_cli.core.suites.ends import Ends, after_step
from omp_cli.core.suites.robomimic import transport
from omp_cli.core.suites.robomimic.experts import OPERATORS, make_expert
from omp_cli.core.suites.robomimic.phases import Hand
from omp_cli.core.suites.robomimic.suite import Robomimic, RobomimicEnv, RobomimicSuiteConfig

pytestmark = pytest.mark.skipif(find_spec("robosuite") is None, reason="robosuite is not installed")

GRASP = ["hover", "descend", "close"]
OPENS = [*GRASP, "lift", "carry", "lower", "release", "retreat"]
GIVER = [*OPENS, *GRASP, "lift", "offer", "release", "retreat"]
TAKER = [*OPENS, "wait", *GRASP, "take", "lift", "carry", "lower", "release", "retreat"]


@pytest.fixture(scope="module")
def env() -> Iterator[RobomimicEnv]:
    made = Robomimic(RobomimicSuiteConfig(cameras=())).make("transport")
    yield made
    made.close()


def move(env: RobomimicEnv, joint: str, position: tuple[float, float, float]) -> None:
    """Put a thing somewhere, as it lies."""
    data = env.sim.sim.data
    pose = data.get_joint_qpos(joint).copy()
    pose[:3] = position
    data.set_joint_qpos(joint, pose)
    env.sim.sim.forward()


def test_an_episode_from_the_lid_to_the_hammer_in_the_target_bin(env: RobomimicEnv) -> None:
    env.reset(0)
    expert = make_expert("transport", env.sim, OPERATORS["clean"], 0)
    seen: tuple[list[str], list[str]] = ([], [])
    ends: Ends = {}
    for _ in range(env.spec.max_steps):
        action = expert.action()
        for phases, phase in zip(seen, expert.phases, strict=True):
            if phases[-1:] != [phase]:
                phases.append(phase)
        outcome = env.step(action)
        ends = after_step(ends, outcome.ends)
        if outcome.success:
            break
    assert env.judge() == (1.0, True)
    assert ends["grasped"] is ends["trash_in_bin"] is True
    assert ends["to_goal"] < 0.1
    assert seen == (GIVER, TAKER[: len(seen[1])])
    assert seen[1][-1] in ("release", "retreat"), "the hammer has been put down, not pressed to the bottom"
    assert transport._lid_off(Hand(env.sim, 0))


def test_both_arms_begin_at_once_and_the_same_seed_repeats(env: RobomimicEnv) -> None:
    actions: list[list[NDArray[np.float32]]] = []
    for _ in range(2):
        env.reset(3)
        expert = make_expert("transport", env.sim, OPERATORS["clean"], 3)
        actions.append([])
        for _ in range(3):
            actions[-1].append(expert.action())
            env.step(actions[-1][-1])
        assert expert.phases == ("hover", "hover")
    first = np.array(actions[0])
    assert first.shape == (3, 14)
    assert first.dtype == np.float32
    assert np.array_equal(first, actions[1])
    assert np.all(first[:, [6, 13]] == -1.0)
    assert np.all(np.linalg.norm(first[:, 0:3], axis=1) > 0.5)
    assert np.all(np.linalg.norm(first[:, 7:10], axis=1) > 0.5)


def test_each_hand_takes_the_end_on_its_own_side(env: RobomimicEnv) -> None:
    for seed in range(8):  # the hammer's head points to either robot
        env.reset(seed)
        given, taken = transport._GIVEN_BY(Hand(env.sim, 0)), transport._TAKEN_BY(Hand(env.sim, 1))
        middle = transport._HAMMER(Hand(env.sim, 0)).position
        assert given.position[1] < middle[1] < taken.position[1]
        assert np.linalg.norm(given.position - taken.position) == pytest.approx(0.125)


def test_the_conditions_tell_where_things_are(env: RobomimicEnv) -> None:
    env.reset(0)
    giver, taker = Hand(env.sim, 0), Hand(env.sim, 1)
    assert not any(check(giver) for check in (transport._lid_off, transport._trash_away, transport._taken))
    assert not transport._offered(taker)
    assert transport._let_go(taker)
    move(env, "transport_start_bin_lid_joint0", (-0.16, -0.45, 0.82))
    assert transport._lid_off(giver)
    meeting = transport._MEETING(taker).position
    move(env, "payload_joint0", tuple(meeting))
    assert transport._offered(taker)
    move(env, "payload_joint0", tuple(giver.position))
    assert not transport._let_go(taker)
    move(env, "payload_joint0", (-0.2, 0.45, 0.83))
    assert transport._offered(taker), "a hammer that fell over in the target bin is taken up again"
    move(env, "payload_joint0", (0.0, 0.0, 0.02))
    assert not transport._offered(taker)


def test_a_lid_that_hangs_on_to_the_hand_is_put_down_again(env: RobomimicEnv) -> None:
    env.reset(0)
    expert = make_expert("transport", env.sim, OPERATORS["clean"], 0)
    arm: Any = expert._arms[0]
    arm._enter(len(arm._picks[0].phases) - 1)
    assert expert.phases[0] == "retreat"
    for _ in range(30):  # the lid is still on the bin, and the hand as high as it is to go
        expert.action()
    assert expert.phases[0] == "hover"
    assert arm._pick == 0
