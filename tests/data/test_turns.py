"""Angles that jump by a whole turn are told, with where and how often; what does not jump is not."""

import dataclasses

import numpy as np
import pytest
import torch

from omp_cli.core.data.readers import Recording
from omp_cli.core.data.turns import jumps, told
from omp_cli.core.rotations import Continuous
from omp_cli.core.spec import Rotation, Spec


def recorded(state: np.ndarray, action: np.ndarray, names: dict[str, tuple[str, ...]] | None = None) -> Recording:
    episodes = [{"state": s, "action": a} for s, a in zip(np.split(state, 2), np.split(action, 2), strict=True)]
    spec = Spec(
        suite="own", task="pour", state_dim=state.shape[1], action_dim=action.shape[1], max_steps=9, control_hz=9
    )
    return Recording(episodes, spec, {}, [], names=names or {})


@pytest.mark.parametrize(("turn", "unit"), [(2 * np.pi, "rad"), (360.0, "degrees")])
def test_an_angle_that_turns_on(turn: float, unit: str) -> None:
    """Three turns at 25 steps each, wrapped to half a turn on either side: three jumps."""
    angle = np.linspace(0, 3 * turn, 76)
    wrapped = (angle + turn / 2) % turn - turn / 2
    values = np.stack([wrapped, angle, np.sin(angle), np.sign(wrapped)], axis=1)
    assert jumps([values]).tolist() == [3, 0, 0, 0], unit


def test_an_axis_times_its_angle_where_a_hand_points_down() -> None:
    actions = np.zeros((40, 7))
    actions[:, 3] = np.pi + 0.3 * np.sin(np.arange(40))
    continuous = Continuous([Rotation(first=3, kind="axis-angle")], 7)
    six = continuous(torch.from_numpy(actions))
    three = continuous.inverse(six).numpy()
    assert jumps([three])[3] > 10
    assert jumps([six.numpy()]).sum() == 0


def test_what_is_not_one() -> None:
    random = np.random.default_rng(0)
    gripper = np.where(random.random(99) > 0.5, 1.0, -1.0)
    position = random.normal(size=99) * 0.3
    pulse = np.where(random.random(99) > 0.5, 3.0, 0.0)  # one end of a turn and the middle
    assert jumps([np.stack([gripper, position, pulse, 100 * position], axis=1)]).sum() == 0
    noise = random.normal(size=(1000, 2)) * [3.0, 150.0]  # velocities in rad/s, forces in N
    assert jumps([noise]).sum() == 0
    assert jumps([np.clip(noise, [-3.1, -179], [3.1, 179])]).sum() == 0, "as one that saturates"
    assert jumps([np.where(noise > 0, [3.0, 170.0], [-3.0, -170.0])]).sum() == 0, "and a command with two values"
    ends = np.array([[3.1], [3.0]]), np.array([[-3.1], [-3.0]])
    assert jumps(ends).sum() == 0, "from one episode to the next nothing jumps"


def test_it_is_told_by_name() -> None:
    angle = np.array([3.0, -3.1, 3.05, 2.9, 2.7, 2.5, 2.4, 2.6, 2.8, 2.95, 3.12, -3.0])
    found = told(recorded(np.stack([angle, 0 * angle], 1), angle[:, None] * 0, {"state": ("roll", "x")}))
    assert len(found.said) == 1
    assert found.said[0].startswith(
        "state: roll (3 of 10 steps): from half a turn to minus half a turn or back at once; "
    )
    unnamed = told(recorded(angle[:, None] * 0, np.stack([0 * angle, angle], 1)))
    assert unnamed.said[0].startswith("action: action[1] (3 of 10 steps): ")
    assert told(recorded(angle[:, None] * 0, angle[:, None] * 0)).said == ()


def test_what_is_known_to_be_one_is_not_told_and_the_setting_is() -> None:
    angle = np.array([3.0, -3.1, 3.05, 2.9, 2.7, 2.5, 2.4, 2.6, 2.8, 2.95, 3.12, -3.0])
    found = recorded(angle[:, None], np.stack([angle, angle], 1))
    known = found.spec.model_copy(update={"action_rotations": (Rotation(first=1, kind="angle"),)})
    said = told(dataclasses.replace(found, spec=known), settings=True).said
    assert [sentence.split(": ")[1] for sentence in said] == ["state[0] (3 of 10 steps)", "action[0] (3 of 10 steps)"]
    assert "--set action_rotations=PLACE:KIND" in said[1]
    assert "--set" not in told(found).said[0]
