"""Rotations in three and in six numbers, and what the actions of a robomimic file are taken for."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from omp_cli.core.base.errors import DataError, OmpError, UsageError
from omp_cli.core.base.progress import Silent
from omp_cli.core.data.catalogue import TaskFacts
from omp_cli.core.data.poses import NOTE, with_axis_angle, with_six_numbers
from omp_cli.core.data.readers import FORMATS, Subject
from omp_cli.core.data.readers.robomimic_actions import STORED
from tests.data.formats import ENV, write_robomimic
from tests.data.test_readers import read

TURNS = np.array([[0.0, 0.0, 0.0], [np.pi / 2, 0.0, 0.0], [0.0, -1.0, 0.5], [3.0, 0.3, -0.2]])


def about_x(angles: np.ndarray) -> np.ndarray:
    """Actions of an arm that turns about x, (n, 7)."""
    zeros = np.zeros_like(angles)
    return np.stack([zeros + 0.1, zeros - 0.2, zeros + 1.5, angles, zeros, zeros, zeros - 1], axis=1)


def test_six_numbers_are_the_first_two_rows_of_the_matrix() -> None:
    angles = np.array([0.0, 0.3, np.pi / 2])
    found = with_six_numbers(about_x(angles))
    rows = [[1, 0, 0, 0, np.cos(a), -np.sin(a)] for a in angles]
    expected = np.array([[0.1, -0.2, 1.5, *six, -1] for six in rows])
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert found.dtype == np.float32


def test_both_ways_for_two_arms() -> None:
    random = np.random.default_rng(0)
    arms = [np.column_stack([random.normal(size=(4, 3)), TURNS, random.choice([-1, 1], 4)]) for _ in range(2)]
    actions = np.concatenate(arms, axis=1)
    there = with_six_numbers(actions)
    assert there.shape == (4, 20)
    np.testing.assert_allclose(with_axis_angle(there), actions, atol=1e-6)
    np.testing.assert_allclose(with_axis_angle(there[2]), actions[2], atol=1e-6)


def test_where_the_angle_passes_pi_only_the_three_numbers_jump() -> None:
    """A hand that points down, turned on: the axis flips, the two rows hardly move."""
    beyond = with_axis_angle(with_six_numbers(about_x(np.array([np.pi - 0.01, np.pi + 0.01]))))
    np.testing.assert_allclose(beyond[:, 3], [np.pi - 0.01, -np.pi + 0.01], atol=1e-5)
    assert np.abs(np.diff(with_six_numbers(about_x(np.linspace(3.0, 3.3, 31))), axis=0)).max() < 0.011


def test_bent_rows_are_gram_and_schmidts() -> None:
    random = np.random.default_rng(1)
    bent = np.concatenate([np.zeros((50, 3)), random.normal(size=(50, 6)), np.ones((50, 1))], axis=1)
    straight = with_six_numbers(with_axis_angle(bent)).astype(np.float64)
    first = bent[:, 3:6] / np.linalg.norm(bent[:, 3:6], axis=1, keepdims=True)
    second = bent[:, 6:9] - (bent[:, 6:9] * first).sum(1, keepdims=True) * first
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    np.testing.assert_allclose(straight[:, 3:9], np.concatenate([first, second], axis=1), atol=1e-5)


@pytest.mark.parametrize("rows", [[0, 0, 0, 0, 0, 0], [1, 0, 0, 2, 0, 0], [0, 0, 0, 0, 1, 0]])
def test_rows_that_leave_the_rotation_open_give_one(rows: list[float]) -> None:
    found = with_axis_angle(np.array([0, 0, 0, *rows, 1.0]))
    assert np.isfinite(found).all()
    assert np.linalg.norm(found[3:6]) <= np.pi + 1e-9


def test_what_is_not_finite_stays_so() -> None:
    """An evaluation says which action it was; one arm's says nothing of the other's."""
    two = np.tile([0.1, 0.2, 0.3, 1, 0, 0, 0, 1, 0, 1.0], 2)
    two[14] = np.nan
    found = with_axis_angle(two)
    assert np.isfinite(found[:7]).all()
    assert np.isnan(found[7:]).all()
    assert with_axis_angle(np.zeros((0, 20))).shape == (0, 14)
    assert with_six_numbers(np.zeros((0, 14))).shape == (0, 20)


def changed(path: Path, change: Any, **controller: Any) -> np.ndarray:
    """A file of two demonstrations, ``change`` done to each; the actions that they had, one after the other."""
    kwargs = {"controller_configs": {"type": "OSC_POSE", **controller}}
    demos = write_robomimic(path, (5, 6), env={**ENV, "env_kwargs": kwargs})
    with h5py.File(path, "r+") as file:
        for name, demo in zip(("demo_0", "demo_1"), demos, strict=True):
            change(file[f"data/{name}"], demo["actions"])
    return np.concatenate([demo["actions"] for demo in demos]).astype(np.float32)


def poses(actions: np.ndarray) -> np.ndarray:
    """Poses of a hand that points down."""
    found = actions.copy()
    found[:, 3:6] = found[:, 3:6] * 0.1 + [3.0, 0.0, 0.0]
    return found


def in_place(demo: h5py.Group, actions: np.ndarray) -> None:
    demo["actions"][...] = poses(actions)


def beside(demo: h5py.Group, actions: np.ndarray) -> None:
    demo["actions_abs"] = poses(actions)


def nothing(demo: h5py.Group, actions: np.ndarray) -> None:
    """As written: displacements."""


def one_wild_row(demo: h5py.Group, actions: np.ndarray) -> None:
    demo["actions"][0, 0] = 1.5


@pytest.mark.parametrize(
    ("change", "controller", "options", "known"),
    [
        (in_place, {}, {}, "11 of 11 leave [-1, 1], which displacements do not"),
        (in_place, {}, {"absolute": True}, "11 of 11 leave [-1, 1], which displacements do not"),
        (nothing, {"control_delta": False}, {}, "by the controller in its metadata"),
        (nothing, {"body_parts": {"right": {"input_type": "absolute"}}}, {}, "by the controller in its metadata"),
        (beside, {}, {"absolute": True}, "the file has actions_abs"),
        (nothing, {"control_delta": 0}, {}, "by the controller in its metadata"),
        (nothing, {"body_parts": {"right": {}, "torso": {"input_type": "absolute"}}}, {}, None),
        (nothing, {"body_parts": 3}, {}, None),
        (beside, {}, {}, None),
        (beside, {}, {"absolute": False}, None),
        (in_place, {}, {"absolute": False}, None),
        (one_wild_row, {}, {}, None),
        (nothing, {}, {}, None),
    ],
)
def test_what_the_actions_of_a_file_are(
    change: Any, controller: dict[str, Any], options: dict[str, Any], known: str | None, tmp_path: Path
) -> None:
    actions = changed(tmp_path / "can.hdf5", change, **controller)
    found = read(tmp_path / "can.hdf5", "robomimic", "can", **options)
    got = np.concatenate([episode["action"] for episode in found.episodes])
    told = [sentence for sentence in found.said if "poses of the end-effectors" in sentence]
    assert found.notes.get(NOTE) == (None if known is None else STORED)
    assert found.spec.action_dim == got.shape[1] == (7 if known is None else 10)
    if known is None:
        assert told == []
        assert (change is in_place) == (np.abs(got[:, 3:6]).max() > 2)
    else:
        assert told == [f"actions are poses of the end-effectors, their rotations in six numbers ({known})"]
        expected = with_six_numbers(actions if change is nothing else poses(actions))
        np.testing.assert_allclose(got, expected, atol=1e-6)
        assert found.names["action"][3:4] + found.names["action"][-1:] == ("robot0_goal_rotation[0]", "robot0_gripper")
        assert not any("left out" in sentence and "actions_abs" in sentence for sentence in found.said)


def test_data_of_ones_own_keep_their_actions(tmp_path: Path) -> None:
    """Nobody knows what another robot's numbers mean; they are poses where it is said."""
    changed(tmp_path / "own.hdf5", in_place)
    subject = Subject("own", "pick", TaskFacts(env=None, max_steps=100, control_hz=20.0))
    for asked, width in ((None, 7), (True, 10)):
        reader = FORMATS.build(FORMATS.parse({"name": "robomimic", "absolute": asked}))
        assert reader.read(tmp_path / "own.hdf5", subject, None, Silent()).spec.action_dim == width


def cut(demo: h5py.Group, actions: np.ndarray) -> None:
    del demo["actions"]
    demo["actions"] = 2 * actions[:, :6]


def only_the_second(demo: h5py.Group, actions: np.ndarray) -> None:
    if demo.name.endswith("1"):
        beside(demo, actions)


def one_row_short(demo: h5py.Group, actions: np.ndarray) -> None:
    demo["actions_abs"] = poses(actions)[:-1]


@pytest.mark.parametrize(
    ("change", "controller", "absolute", "error", "words"),
    [
        (nothing, {}, True, UsageError, "it holds displacements, of which only a replay makes poses"),
        (nothing, {"control_delta": False}, False, UsageError, "by its metadata the actions are poses"),
        (cut, {}, None, DataError, "demo_0/actions has 6 numbers a row"),
        (only_the_second, {}, True, DataError, "demo_0/actions_abs is missing"),
        (one_row_short, {}, True, DataError, "demo_0/actions_abs has 4 frames, expected 5"),
    ],
)
def test_what_cannot_be_taken_so_is_refused(
    change: Any, controller: dict[str, Any], absolute: bool | None, error: type[OmpError], words: str, tmp_path: Path
) -> None:
    changed(tmp_path / "can.hdf5", change, **controller)
    with pytest.raises(error, match=words) as refused:
        read(tmp_path / "can.hdf5", "robomimic", "can", absolute=absolute)
    assert refused.value.hint or "expected" in refused.value.message
