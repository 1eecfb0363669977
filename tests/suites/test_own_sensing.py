"""What a robot shows by the names of its recording becomes what a policy reads, as it became the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.store import Dataset, read_store
from omp_cli.core.deploy.config import ServeConfig
from omp_cli.core.deploy.deciders import open_decider
from omp_cli.core.deploy.player import Player
from omp_cli.core.deploy.server import Session
from omp_cli.core.families import SUITES
from tests.cli.test_bad_input import refused
from tests.conftest import TINY, Omp
from tests.data.arrays import LENGTHS, write_aloha, write_npz

READS = ("state", "img", "point_cloud")
SUITE = {
    "name": "own",
    "state": [{"name": "joints", "width": 3}, {"name": "gripper", "width": 1}],
    "cameras": ["top", "wrist"],
    "cloud": {
        "array": "front_depth",
        "points": 64,
        "crop": [-1.0, -1.0, 0.3, 1.0, 1.0, 0.95],
        "camera": {"intrinsics": [30.0, 30.0, 15.5, 11.5], "depth_scale": 0.001, "stride": 2},
        "pose": "hand",
    },
}
"""What the data of these arrays, and each policy that learned from them, say of how they were read."""
CAMERA = ("--set", "camera.intrinsics=30,30,15.5,11.5", "--set", "camera.depth_scale=0.001", "--set", "camera.stride=2")
ROLES = ("--set", "format.state=joints,gripper", "--set", "format.img=top,wrist", "--set", "format.depth=front_depth")
POSE = ("--set", "format.pose=hand")


def robots_arrays() -> dict[str, NDArray[Any]]:
    """As a robot's logger writes them: parts of the state, two cameras, depth in millimetres, a hand's pose."""
    random, frames = np.random.default_rng(0), sum(LENGTHS)
    pose = np.tile(np.eye(4), (frames, 1, 1))
    pose[:, :3, 3] = random.uniform(-0.1, 0.1, (frames, 3))
    return {
        "joints": random.normal(size=(frames, 3)),
        "gripper": random.random(frames) < 0.5,
        "action": random.uniform(-5, 5, (frames, 3)).astype(np.float32),
        "top": random.integers(0, 256, (frames, 12, 16, 3), dtype=np.uint8),
        "wrist": random.integers(0, 256, (frames, 12, 16, 3), dtype=np.uint8),
        "front_depth": random.integers(300, 900, (frames, 24, 32), dtype=np.uint16),
        "hand": pose,
    }


@pytest.fixture
def prepared(tmp_path: Path, omp: Omp) -> Dataset:
    """The data that ``omp prepare own`` makes of it."""
    path = write_npz(tmp_path / "rig.npz", robots_arrays())
    line = ("prepare", "own", path, "--task", "rig", "--hz", 30, "--crop=-1,-1,0.3,1,1,0.95", "--points", 64)
    done = omp(*line, *ROLES, *CAMERA, *POSE, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    return read_store(tmp_path / "d")


def shown(arrays: dict[str, NDArray[Any]], at: Any) -> dict[str, NDArray[Any]]:
    return {name: array[at] for name, array in arrays.items() if name != "action"}


def test_a_frame_of_the_robot_becomes_the_frame_of_the_data_to_the_bit(prepared: Dataset) -> None:
    assert prepared.suite == SUITE
    suite = SUITES.build(SUITES.parse(SUITE))
    assert suite.made_of() == {
        "state": ("joints", "gripper"),
        "img": ("top", "wrist"),
        "point_cloud": ("front_depth", "hand"),
    }
    for at in (0, 7, slice(3, 6)):  # frames, and several in one go
        found = suite.as_read(shown(robots_arrays(), at), READS)
        for name in READS:
            np.testing.assert_array_equal(
                np.asarray(found[name], prepared.arrays[name].dtype), prepared.arrays[name][at]
            )


def test_what_is_there_as_the_policy_reads_it_stays_as_it_is(prepared: Dataset) -> None:
    suite = SUITES.build(SUITES.parse(SUITE))
    frame = {name: prepared.arrays[name][2] for name in READS}
    for more in ({}, {"joints": np.zeros(3)}, {"top": np.zeros((12, 16, 3), np.uint8)}):
        found = suite.as_read({**frame, **more}, READS)
        assert all(found[name] is frame[name] for name in READS)
    larger = np.concatenate([frame["point_cloud"], np.full((9, 3), 5.0, np.float32), np.full((1, 3), np.nan)])
    found = suite.as_read({**frame, "point_cloud": larger}, READS)["point_cloud"]
    np.testing.assert_array_equal(found, frame["point_cloud"], err_msg="points beyond the crop do not count")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gripper": None}, "'gripper' is missing, which the policy reads"),
        ({"wrist": None}, "'wrist' is missing"),
        ({"hand": None}, "'hand' is missing"),
        (
            {"wrist": np.zeros((6, 8, 3), np.uint8)},
            "do not fit beside each other: 'top' \\(12, 16, 3\\) uint8",
        ),
        ({"wrist": np.zeros((12, 16, 3), np.float32)}, "'wrist' is \\(1, 12, 16, 3\\) float32, expected .* uint8"),
        ({"joints": np.zeros(2)}, "'joints' has shape \\(2,\\)"),
        ({"front_depth": np.zeros((24, 32), np.uint16)}, "'front_depth': 0 points are left where 64 are wanted"),
        ({"front_depth": np.zeros(32, np.uint16)}, "'front_depth' has shape \\(32,\\)"),
        ({"front_depth": np.full((24, 32), "x")}, "'front_depth' is <U1, expected numbers"),
        ({"front_depth": [[1], [2, 3]]}, "'front_depth' is no array"),
        ({"front_depth": np.zeros((0, 24, 32), np.uint16)}, "'front_depth' has shape \\(0, 24, 32\\)"),
        ({"point_cloud": [[1], [2, 3]]}, "'point_cloud' is no array"),
        ({"hand": np.zeros((4, 4))}, "the pose of format.pose does not end"),
    ],
)
def test_what_cannot_be_made_is_named(change: dict[str, Any], words: str) -> None:
    suite = SUITES.build(SUITES.parse(SUITE))
    frame = {**shown(robots_arrays(), 0), **change}
    with pytest.raises(DataError, match=words):
        suite.as_read({name: x for name, x in frame.items() if x is not None}, READS)


def test_a_policy_acts_on_what_its_robot_shows(prepared: Dataset, omp: Omp, tmp_path: Path) -> None:
    data, parts = tmp_path / "d", ("--steps", 2, "--batch-size", 4, "--set", "encoder.origin=world")
    trained = omp("pretrain", data, "--out", tmp_path / "run", *TINY, *parts)
    assert trained.code == 0, trained.err
    exported = omp("export", tmp_path / "run", "--format", "pt2", "--out", tmp_path / "files")
    assert exported.code == 0, exported.err
    raw, frame = shown(robots_arrays(), 4), {name: prepared.arrays[name][4] for name in READS}
    actions = []
    for path in (tmp_path / "run", tmp_path / "files" / "policy.pt2"):
        for obs in (raw, frame):
            player = Player(open_decider(path, "cpu"))
            actions.append(player.act(obs))
    for other in actions[1:]:
        np.testing.assert_allclose(actions[0], other, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(actions[0], actions[1])
    player = Player(open_decider(tmp_path / "run", "cpu"))
    assert "point_cloud (64, 3) float32 of front_depth, hand" in str(player.signature)
    session = Session(player, ServeConfig())
    assert session.metadata["observation"]["state"]["made_of"] == ["joints", "gripper"]
    newest = shown(robots_arrays(), slice(3, 3 + player.signature.n_obs))
    assert session._actions(newest).shape == (player.signature.execute, 3)
    replayed = omp(
        "deploy", tmp_path / "run", "--replay", prepared.path.parent, "--seconds", 0.2, "--out", tmp_path / "r"
    )
    assert replayed.code == 0, replayed.err


def test_pictures_of_a_robot_are_resized_as_those_of_the_data(tmp_path: Path, omp: Omp) -> None:
    arrays = robots_arrays()
    random = np.random.default_rng(1)
    arrays["wrist"] = random.integers(0, 256, (len(arrays["top"]), 20, 30, 4), dtype=np.uint8)  # larger, with alpha
    arrays["img"] = arrays["top"]
    path = write_npz(tmp_path / "rig.npz", arrays)
    for name, cameras in (("two", "top,wrist"), ("one", "img")):
        line = (
            "prepare",
            "own",
            path,
            "--task",
            "rig",
            "--hz",
            30,
            "--set",
            "format.state=joints",
            "--set",
            f"format.img={cameras}",
        )
        done = omp(*line, "--set", "format.size=8", "--out", tmp_path / name)
        assert done.code == 0, done.err
        data = read_store(tmp_path / name)
        suite = SUITES.build(SUITES.parse(data.suite))
        frame = {camera: arrays[camera][5] for camera in cameras.split(",")}
        np.testing.assert_array_equal(suite.as_read(frame, ("img",))["img"], data.arrays["img"][5])
        ready = {"img": data.arrays["img"][5]}
        assert suite.as_read(ready, ("img",))["img"] is ready["img"]


@pytest.mark.parametrize(("cameras", "white"), [("top,wrist", 1), ("img", 1), ("img", 255)])
def test_pictures_of_floats_are_shown_as_they_were_recorded(cameras: str, white: int, tmp_path: Path, omp: Omp) -> None:
    """The data say what white is: a dark picture alone does not."""
    arrays, names = robots_arrays(), cameras.split(",")
    arrays["img"] = arrays["top"]
    path, floats = tmp_path / "rig.npz", {name: arrays[name] * np.float32(white / 255) for name in names[:1]}
    line = ("prepare", "own", write_npz(path, {**arrays, **floats}), "--task", "rig", "--hz", 30)
    done = omp(*line, "--set", "format.state=joints", "--set", f"format.img={cameras}", "--out", tmp_path / "d")
    assert done.code == 0, done.err
    data = read_store(tmp_path / "d")
    assert data.suite is not None
    assert data.suite["white"] == {names[0]: white}
    again = omp("prepare", "own", tmp_path / "d", "--task", "again", "--out", tmp_path / "again")
    assert again.code == 0, again.err
    assert read_store(tmp_path / "again").suite == data.suite, "a data set of omp's hands it on"
    suite = SUITES.build(SUITES.parse(data.suite))
    for at in (5, slice(3, 6)):
        frame = {name: {**arrays, **floats}[name][at] for name in names}
        frame[names[0]] = frame[names[0]] * np.float32(0.01)  # hardly any light
        expected = np.rint(arrays[names[0]][at] * np.float32(0.01))
        found = suite.as_read(frame, ("img",))["img"]
        assert found.dtype == np.uint8
        np.testing.assert_allclose(found[..., :3], expected, atol=1)
        assert found.any()
        bytes_ = {name: arrays[name][at] for name in names}
        np.testing.assert_array_equal(suite.as_read(bytes_, ("img",))["img"], data.arrays["img"][at])
    for value in (-0.1, 1.1 * white, np.nan):
        frame = {name: arrays[name][0] for name in names} | {names[0]: np.full((12, 16, 3), value, np.float32)}
        with pytest.raises(
            DataError, match=f"'{names[0]}' has values from .*, expected 0 to {white}, as they were rec"
        ):
            suite.as_read(frame, ("img",))
    if "wrist" in names:
        frame["top"], frame["wrist"] = arrays["top"][0], np.zeros((12, 16, 3), np.float32)
        with pytest.raises(
            DataError, match=r"'wrist' is \(1, 12, 16, 3\) float32, expected pictures of uint8"
        ) as refused:
            suite.as_read(frame, ("img",))
        assert "recorded so" in refused.value.hint


def test_arrays_of_a_path_are_shown_by_its_last_part(tmp_path: Path, omp: Omp) -> None:
    write_aloha(tmp_path / "aloha")
    line = ("prepare", "own", tmp_path / "aloha", "--task", "fold", "--hz", 50, "--out", tmp_path / "d")
    assert omp(*line).code == 0
    made_of = SUITES.build(SUITES.parse(read_store(tmp_path / "d").suite)).made_of()
    assert made_of["state"] == ("qpos",)
    assert made_of["img"] == ("top", "wrist")


def test_a_stride_takes_every_second_row_and_column_of_the_same_scene(tmp_path: Path, omp: Omp) -> None:
    arrays = robots_arrays()
    path = write_npz(tmp_path / "rig.npz", arrays)
    line = ("prepare", "own", path, "--task", "rig", "--hz", 30, "--points", 192, *ROLES, *CAMERA)
    assert omp(*line, "--out", tmp_path / "d").code == 0
    cloud = read_store(tmp_path / "d").arrays["point_cloud"][0]
    depth = arrays["front_depth"][0][::2, ::2] * 0.001
    rows, columns = np.mgrid[0:24:2, 0:32:2]
    points = np.stack([(columns - 15.5) / 30 * depth, (rows - 11.5) / 30 * depth, depth], -1).reshape(-1, 3)
    in_order = [x[np.lexsort(np.round(x, 4).T)] for x in (cloud, points)]
    np.testing.assert_allclose(*in_order, atol=1e-5)
    refused(omp(*line, "--set", "camera.stride=0", "--out", tmp_path / "e"), 2, "camera.stride")
