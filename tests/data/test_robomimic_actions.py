"""What the actions of a robomimic file are taken for."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from omp_cli.core.base.errors import DataError, OmpError, UsageError
from omp_cli.core.base.progress import Silent
from omp_cli.core.data.catalogue import TaskFacts
from omp_cli.core.data.readers import FORMATS, Subject
from omp_cli.core.data.readers.robomimic_actions import NOTE, STORED
from omp_cli.core.spec import Rotation
from tests.data.formats import ENV, write_robomimic
from tests.data.test_readers import read


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
    assert found.spec.action_dim == got.shape[1] == 7
    if known is None:
        assert told == []
        assert found.spec.action_rotations == ()
        assert (change is in_place) == (np.abs(got[:, 3:6]).max() > 2)
    else:
        assert told == [
            f"actions are poses of the end-effectors, whose rotations a policy learns in six numbers ({known})"
        ]
        np.testing.assert_allclose(got, actions if change is nothing else poses(actions), atol=1e-6)
        assert found.spec.action_rotations == (Rotation(first=3, kind="axis-angle"),)
        assert found.spec.learned_action_dim == 10
        names = found.names["action"]
        assert names[3:4] + names[-1:] == ("robot0_goal_axis_angle[0]", "robot0_gripper")
        assert not any("left out" in sentence and "actions_abs" in sentence for sentence in found.said)


def test_data_of_ones_own_keep_their_actions(tmp_path: Path) -> None:
    """Nobody knows what another robot's numbers mean; they are poses where it is said."""
    changed(tmp_path / "own.hdf5", in_place)
    subject = Subject("own", "pick", TaskFacts(env=None, max_steps=100, control_hz=20.0))
    for asked, learned in ((None, 7), (True, 10)):
        reader = FORMATS.build(FORMATS.parse({"name": "robomimic", "absolute": asked}))
        assert reader.read(tmp_path / "own.hdf5", subject, None, Silent()).spec.learned_action_dim == learned


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
