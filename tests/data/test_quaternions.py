"""Which numbers of a state are found to be quaternions."""

import numpy as np
import pytest
from numpy.typing import NDArray

from omp_cli.core.data.quaternions import marked, quaternions_of
from omp_cli.core.data.readers.recording import Recording
from omp_cli.core.spec import Spec

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
def test_four_numbers_that_are_called_so_and_have_the_length_one(names: list[str]) -> None:
    episodes = [episode(OTHER, turning(6)), episode(OTHER, turning(6))]
    assert quaternions_of([*XYZ, *names], episodes) == (3,)
    assert quaternions_of([*names, *XYZ], [episode(turning(6), OTHER)]) == (0,)
    assert quaternions_of([*XYZ, *names], [episode(OTHER, turning(6)), episode(OTHER, 0.9 * turning(6))]) == ()


def test_two_that_follow_each_other() -> None:
    names = [f"a_quat[{place}]" for place in range(4)] + [f"b_quat[{place}]" for place in range(4)]
    assert quaternions_of(names, [episode(turning(6), turning(6))]) == (0, 4)
    one = [f"quats[{place}]" for place in range(8)]
    assert quaternions_of(one, [episode(turning(6), turning(6))]) == (0, 4)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["joint[0]", "joint[1]", "joint[2]", "joint[3]"],
        ["qx", "qy", "qz", "x"],
        ["a_quat[2]", "a_quat[3]", "b_quat[0]", "b_quat[1]"],
        ["aqx", "aqy", "aqz", "aqw"],
    ],
)
def test_what_has_another_name_is_none(names: list[str]) -> None:
    assert quaternions_of(names, [episode(turning(6))]) == ()


def recording(names: dict[str, tuple[str, ...]], jumps: bool = True) -> Recording:
    moving = episode(OTHER, turning(6, jumps))
    episodes = [{"state": moving, "action": moving}, {"state": episode(OTHER, turning(6)), "action": moving}]
    known = {"suite": "own", "task": "pour", "max_steps": 6, "control_hz": 10.0}
    return Recording(episodes, Spec(**known, action_dim=7, state_dim=7), {}, [], said=("before",), names=names)


def test_it_is_told_how_often_the_sign_changes() -> None:
    names = (*XYZ, *(f"hand_quat[{place}]" for place in range(4)))
    found = marked(recording({"state": names}))
    assert found.spec.quaternions == (3,)
    assert found.said[0] == "before"
    assert found.said[1].startswith(
        "state: hand_quat (5 of 10 steps change its sign) is a quaternion, of which q and -q"
    )
    found = marked(recording({"action": names}))
    assert found.spec.quaternions == ()
    assert found.said[1].startswith("action: hand_quat (10 of 10 steps change its sign): q and -q are one rotation")
    for nothing in ({}, {"state": XYZ * 2}):
        assert marked(recording(nothing)).said == ("before",)
    assert marked(recording({"action": names}, jumps=False)).said == ("before",)
