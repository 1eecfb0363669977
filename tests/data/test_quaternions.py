"""Which numbers of a state are found to be quaternions."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from omp_cli.core.data.quaternions import called_quaternions, marked
from omp_cli.core.data.readers.recording import Recording
from omp_cli.core.spec import Quaternion, Spec

XYZ = ["hand_pos[0]", "hand_pos[1]", "hand_pos[2]"]


def episode(*columns: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate(columns, axis=1)


def turning(frames: int, jumps: bool = False) -> NDArray[np.float32]:
    """Quaternions (frames, 4) that turn about z; their sign changes at every other frame, or never."""
    half = np.linspace(0.1, 0.5, frames)
    q = np.stack([np.zeros(frames), np.zeros(frames), np.sin(half), np.cos(half)], axis=1)
    return (q * (np.where(np.arange(frames) % 2, -1, 1)[:, None] if jumps else 1)).astype(np.float32)


OTHER = np.full((6, 3), 0.3, np.float32)


@pytest.mark.parametrize(
    "names",
    [
        [f"hand_quat[{place}]" for place in range(4)],
        [f"EE_Quaternion.{letter}" for letter in "wxyz"],
        ["qx", "qy", "qz", "qw"],
        ["pose.q_w", "pose.q_x", "pose.q_y", "pose.q_z"],
    ],
)
def test_four_numbers_that_are_called_so(names: list[str]) -> None:
    assert called_quaternions([*XYZ, *names]) == (3,)
    assert called_quaternions([*names, *XYZ]) == (0,)


def test_two_that_follow_each_other() -> None:
    names = [f"a_quat[{place}]" for place in range(4)] + [f"b_quat[{place}]" for place in range(4)]
    assert called_quaternions(names) == (0, 4)
    assert called_quaternions([f"quats[{place}]" for place in range(8)]) == (0, 4)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["joint[0]", "joint[1]", "joint[2]", "joint[3]"],
        ["qx", "qy", "qz", "x"],
        ["a_quat[2]", "a_quat[3]", "b_quat[0]", "b_quat[1]"],
        ["left_qx", "left_qy", "left_qz", "right_qw"],
        ["aqx", "aqy", "aqz", "aqw"],
    ],
)
def test_what_has_another_name_is_none(names: list[str]) -> None:
    assert called_quaternions(names) == ()


def test_what_is_not_of_length_one_is_told_and_stays_as_it_is() -> None:
    names = (*XYZ, *(f"hand_quat[{place}]" for place in range(4)))
    made = recording({"state": names})
    made.episodes[0]["state"][:2, 3:] = 0.0  # a driver that had none yet
    found = marked(made)
    assert found.spec.quaternions == ()
    assert found.said[1] == "state: hand_quat is not of length 1 in 2 of 12 frames: not taken for a quaternion"


def recording(names: dict[str, tuple[str, ...]], jumps: bool = True) -> Recording:
    moving = episode(OTHER, turning(6, jumps))
    episodes = [{"state": moving, "action": moving}, {"state": episode(OTHER, turning(6)), "action": moving}]
    known = {"suite": "own", "task": "pour", "max_steps": 6, "control_hz": 10.0}
    return Recording(episodes, Spec(**known, action_dim=7, state_dim=7), {}, [], said=("before",), names=names)


def test_a_jumping_sign_is_told_and_where_a_policy_sees_it() -> None:
    names = (*XYZ, *(f"hand_quat[{place}]" for place in range(4)))
    found = marked(recording({"state": names}))
    (one,) = found.spec.quaternions
    assert one.first == 3
    assert np.sign(turning(6) @ one.side).tolist() in ([1] * 6, [-1] * 6)
    before, told = found.said
    assert before == "before"
    assert told.startswith("state: hand_quat: q and -q are one rotation, and 5 of 10 steps change the sign: a policy")
    assert told.endswith("with 0 changes")
    found = marked(recording({"action": names}))
    assert found.spec.quaternions == ()
    assert found.said[1].startswith(
        "action: hand_quat: q and -q are one rotation, and 10 of 10 steps change the sign, which"
    )


@pytest.mark.parametrize("names", [{}, {"state": tuple(XYZ * 2)}])
def test_nothing_is_told_of_what_is_no_quaternion(names: dict[str, tuple[str, ...]]) -> None:
    assert marked(recording(names)).said == ("before",)


def test_what_a_suite_says_itself_stays() -> None:
    made = recording({})
    own = (Quaternion(first=3, side=(0.0, 0.0, 0.0, 1.0)),)
    made = dataclasses.replace(made, spec=made.spec.model_copy(update={"quaternions": own}))
    assert marked(made).spec.quaternions == own


def test_what_does_not_jump_stays_as_it_is() -> None:
    names = (*XYZ, *(f"hand_quat[{place}]" for place in range(4)))
    found = marked(recording({"state": names, "action": names}, jumps=False))
    assert (found.spec.quaternions, found.said) == ((), ("before",))


def test_a_sign_that_differs_from_episode_to_episode_is_told_too() -> None:
    names = tuple(f"hand_quat[{place}]" for place in range(4))
    episodes = [sign * turning(6) for sign in (1, -1, 1)]
    made = [{"state": x, "action": x} for x in episodes]
    known = {"suite": "own", "task": "turn", "max_steps": 6, "control_hz": 10.0}
    both = {"state": names, "action": names}
    found = marked(Recording(made, Spec(**known, action_dim=4, state_dim=4), {}, [], names=both))
    (one,) = found.spec.quaternions
    assert [bool((x @ one.side > 0).all()) for x in episodes] == [True, False, True]
    assert found.said == (
        "state: hand_quat: q and -q are one rotation, and 1 of 3 episodes have the other sign: a policy sees the one "
        "that lies on the side of most frames, with 0 changes",
        "action: hand_quat: q and -q are one rotation, and 1 of 3 episodes have the other sign, which to a policy are "
        "two answers: record one sign",
    )


def test_other_rotations_are_no_other_sign() -> None:
    """Yaw of up to 170 degrees either way, with w above 0 throughout: on both sides, and of one sign."""
    half = np.deg2rad(np.linspace(-85, 85, 10))
    made = [{"state": np.tile([0, 0, np.sin(x), np.cos(x)], (6, 1)).astype(np.float32)} for x in half]
    made = [{**one, "action": one["state"]} for one in made]
    known = {"suite": "own", "task": "turn", "max_steps": 6, "control_hz": 10.0}
    names = tuple(f"hand_quat[{place}]" for place in range(4))
    both = {"state": names, "action": names}
    found = marked(Recording(made, Spec(**known, action_dim=4, state_dim=4), {}, [], names=both))
    assert (found.spec.quaternions, found.said) == ((), ())


def test_a_turn_all_around_jumps_where_it_has_to_and_nowhere_else() -> None:
    """There and back again over the whole circle, with noise: on one axis q and -q have to meet somewhere."""
    random = np.random.default_rng(0)
    half = np.linspace(0, np.pi, 200)
    q = np.stack([np.sin(half), np.cos(half), *(0.005 * random.normal(size=(2, 200)))], axis=1)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    episodes = [q * random.choice([-1, 1], (200, 1)) for _ in range(4)]
    names = tuple(f"hand_quat[{place}]" for place in range(4))
    made = [{"state": x.astype(np.float32), "action": x.astype(np.float32)} for x in episodes]
    known = {"suite": "own", "task": "turn", "max_steps": 6, "control_hz": 10.0}
    (one,) = marked(
        Recording(made, Spec(**known, action_dim=4, state_dim=4), {}, [], names={"state": names})
    ).spec.quaternions
    for x in episodes:
        seen = x * np.where(x @ one.side < 0, -1, 1)[:, None]
        assert ((seen[:-1] * seen[1:]).sum(1) < 0).sum() <= 1
