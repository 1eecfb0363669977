"""One HDF5 with a group per episode, as ManiSkill records: told by its content, read by the names of its arrays."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.readers.base import sniff
from tests.data.arrays import write_aloha
from tests.data.formats import write_groups, write_minari, write_robomimic
from tests.data.test_arrays import read
from tests.data.test_episodes import joined

LENGTHS = (4, 3, 6, 2, 2, 2, 2, 2, 2, 2, 5)
Episodes = list[dict[str, np.ndarray]]


def write(path: Path, lengths: tuple[int, ...] = LENGTHS, prefix: str = "traj_", **more: Any) -> Episodes:
    """ManiSkill's ``trajectory.h5``: one observation more than actions; ``more`` replaces arrays of each episode."""
    written = []
    with h5py.File(path, "w") as file:
        for number, frames in enumerate(lengths):
            random = np.random.default_rng(number)
            arrays: dict[str, np.ndarray] = {
                "actions": random.uniform(-1, 1, (frames, 7)).astype(np.float32),
                "success": np.arange(frames) == frames - 1,
                "rewards": random.random(frames).astype(np.float32),
                "obs/agent/qpos": random.normal(size=(frames + 1, 9)).astype(np.float32),
                "obs/extra/is_grasped": random.random(frames + 1) > 0.5,
                "obs/sensor_data/base_camera/rgb": random.integers(0, 256, (frames + 1, 16, 16, 3), dtype=np.uint8),
                "obs/sensor_data/hand_camera/rgb": random.integers(0, 256, (frames + 1, 16, 16, 3), dtype=np.uint8),
                "env_states/actors/cube": random.normal(size=(frames + 1, 13)).astype(np.float32),
            } | more
            for name, values in arrays.items():
                file[f"{prefix}{number}/{name}"] = values
            written.append(arrays)
    return written


QPOS: dict[str, Any] = {"state": ["obs/agent/qpos", "obs/extra/is_grasped"]}
CAMERAS = [f"obs/sensor_data/{name}_camera/rgb" for name in ("hand", "base")]


def test_a_group_is_an_episode(tmp_path: Path) -> None:
    path = tmp_path / "trajectory.h5"
    written = write(path)
    assert sniff(path) == "groups"
    found = read(path, **QPOS, img=CAMERAS)
    assert [len(e["action"]) for e in found.episodes] == list(LENGTHS), "traj_10 comes after traj_9"
    np.testing.assert_array_equal(joined(found, "action"), np.concatenate([e["actions"] for e in written]))
    np.testing.assert_array_equal(joined(found, "success"), np.concatenate([e["success"] for e in written]))
    np.testing.assert_array_equal(joined(found, "reward"), np.concatenate([e["rewards"] for e in written]))
    state = [np.column_stack([e["obs/agent/qpos"], e["obs/extra/is_grasped"]])[:-1] for e in written]
    np.testing.assert_array_equal(joined(found, "state"), np.concatenate(state).astype(np.float32))
    for place, camera in enumerate(CAMERAS):
        pictures = np.concatenate([e[camera][:-1] for e in written])
        np.testing.assert_array_equal(joined(found, "img")[..., 3 * place : 3 * place + 3], pictures)
    assert found.cameras == ("hand_camera", "base_camera")
    said = " ".join(found.said)
    assert "11 groups are an episode each, by their numbers: traj_0 to traj_10" in said
    assert "the last frame of every episode is left out" in said
    assert "left out: env_states/actors/cube" in said


def test_the_first_episodes_alone(tmp_path: Path) -> None:
    path = tmp_path / "trajectory.h5"
    written = write(path)
    with h5py.File(path, "r+") as file:
        del file["traj_2"]["actions"]
    found = read(path, 2, **QPOS)
    np.testing.assert_array_equal(joined(found, "action"), np.concatenate([e["actions"] for e in written[:2]]))
    assert found.notes["episodes_in_file"] == 11
    with pytest.raises(DataError, match="traj_2"):
        read(path, **QPOS)


def test_flat_observations_are_the_state(tmp_path: Path) -> None:
    path = tmp_path / "trajectory.state.h5"
    written = write_groups(path)
    with h5py.File(path, "r+") as file:
        file["info/seed"] = 3
    found = read(path)
    state = np.concatenate([e["obs"][:-1] for e in written]).astype(np.float32)
    np.testing.assert_array_equal(joined(found, "state"), state)
    assert (found.spec.action_dim, len(found.episodes)) == (2, 3)
    assert "left out: info" in found.said


def test_files_of_other_formats_stay_theirs(tmp_path: Path) -> None:
    write_robomimic(tmp_path / "r.hdf5")
    write_minari(tmp_path / "m")
    write_aloha(tmp_path / "a")
    formats = [sniff(tmp_path / name) for name in ("r.hdf5", "m/main_data.hdf5", "a/episode_0.hdf5", "a")]
    assert formats == ["robomimic", "minari", "episodes", "episodes"]
    write(tmp_path / "own.hdf5", prefix="episode_")
    assert sniff(tmp_path / "own.hdf5") == "groups", "Minari's have observations"


def test_names_that_are_no_episodes_do_not_matter(tmp_path: Path) -> None:
    """Cameras, stamps of time and the like, at the top of a file of any format."""
    write_robomimic(tmp_path / "r.hdf5")
    write(tmp_path / "g.hdf5")
    for name in ("r", "g"):
        with h5py.File(tmp_path / f"{name}.hdf5", "r+") as file:
            for other in ("cam_1", "cam_01", "t20240101123045123456", "odd_²"):
                file[other] = np.zeros(3)
    assert [sniff(tmp_path / f"{name}.hdf5") for name in ("r", "g")] == ["robomimic", "groups"]
    assert len(read(tmp_path / "g.hdf5", **QPOS).episodes) == len(LENGTHS)
    with h5py.File(tmp_path / "two_numbers.hdf5", "w") as file:
        for name in ("ep_0_1", "ep_1_1", "ep_2_7"):
            file[f"{name}/actions"] = np.zeros((3, 2))
    with pytest.raises(DataError, match="of no known format"):
        sniff(tmp_path / "two_numbers.hdf5")


def test_links_within_a_file_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "trajectory.h5"
    written = write(path, (3, 4))
    with h5py.File(path, "r+") as file:
        for group in (file["traj_0"], file["traj_1"]):
            group.move("actions", "kept")
            group["actions"], group["circle"] = h5py.SoftLink(f"{group.name}/kept"), h5py.SoftLink(group.name)
    found = read(path, **QPOS, img=[])
    np.testing.assert_array_equal(joined(found, "action"), np.concatenate([e["actions"] for e in written]))


def numbers_twice(file: h5py.File) -> None:
    file.copy("traj_1", "traj_01")


def other_width(file: h5py.File) -> None:
    del file["traj_1/obs/agent/qpos"]
    file["traj_1/obs/agent/qpos"] = np.zeros((4, 8), np.float32)


def too_short(file: h5py.File) -> None:
    del file["traj_1/obs/agent/qpos"]
    file["traj_1/obs/agent/qpos"] = np.zeros((2, 9), np.float32)


def empty(file: h5py.File) -> None:
    del file["traj_1/actions"]
    file["traj_1/actions"] = np.zeros((0, 7), np.float32)


def first_empty(file: h5py.File) -> None:
    del file["traj_0"]
    file.create_group("traj_0")


def no_group(file: h5py.File) -> None:
    del file["traj_1"]
    file["traj_1"] = 3


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (numbers_twice, "both traj_1 and traj_01"),
        (other_width, "traj_1: not as traj_0, the first episode: its obs/agent/qpos is"),
        (too_short, "obs/agent/qpos has 5 frames, expected 4"),
        (empty, "traj_1: actions has 0 frames"),
        (first_empty, "trajectory.h5/traj_0: no array 'obs/agent/qpos' to be the state"),
        (no_group, "/traj_1 is no group"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, damage: Any, words: str) -> None:
    path = tmp_path / "trajectory.h5"
    write(path)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises((DataError, UsageError), match=words) as refused:
        read(path, name="groups", **QPOS)
    assert "\n" not in refused.value.message


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    write(tmp_path / "trajectory.h5")
    with pytest.raises(UsageError, match=r"no array is called state or states .* it has: actions, env_states"):
        read(tmp_path / "trajectory.h5")
    with pytest.raises(UsageError, match="no array 'obs/agent/qvel' to be the state"):
        read(tmp_path / "trajectory.h5", state="obs/agent/qvel")
