"""Readers: the numbers that are in the file, in the order and units that the store wants; damage as one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.progress import Silent
from omp_cli.core.data.catalogue import read_catalogue
from omp_cli.core.data.readers import FORMATS, Recording, Subject, d4rl, stored
from omp_cli.core.data.readers.base import sniff
from omp_cli.core.data.readers.d4rl import episode_ends
from omp_cli.core.data.readers.hdf5 import array
from omp_cli.core.data.store import STORE, read_store, write_store
from omp_cli.core.data.windows import ChunkConfig, make_windows
from tests.data.formats import ENV, write_d4rl, write_minari, write_npz, write_robomimic


def read(path: Path, suite: str, task: str, limit: int | None = None, **options: Any) -> Recording:
    facts = read_catalogue().suite(suite)
    found = facts.facts(task)
    assert found is not None
    reader = FORMATS.build(FORMATS.parse({"name": sniff(path), **options}))
    return reader.read(path, Subject(suite, task, found, facts.end_effector), limit, Silent())


def joined(recording: Recording, name: str) -> np.ndarray:
    return np.concatenate([episode[name] for episode in recording.episodes])


def test_robomimic_low_dim(tmp_path: Path) -> None:
    demos = write_robomimic(tmp_path / "can.hdf5", success=False)
    found = read(tmp_path / "can.hdf5", "robomimic", "can")
    assert [len(e["action"]) for e in found.episodes] == [len(d["actions"]) for d in demos]
    keys = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
    for demo, episode, start in zip(demos, found.episodes, found.starts, strict=True):
        state = np.concatenate([demo[f"obs/{key}"] for key in keys], axis=1)
        np.testing.assert_array_equal(episode["state"], state.astype(np.float32))
        np.testing.assert_array_equal(episode["action"], demo["actions"].astype(np.float32))
        np.testing.assert_array_equal(episode["success"], demo["rewards"] == 1)
        np.testing.assert_array_equal(episode["terminal"], demo["dones"] == 1)
        np.testing.assert_array_equal(start, demo["states"][0])
    assert [e["success"].any() for e in found.episodes] == [True] + [False] * 10
    spec = found.spec
    assert (spec.state_dim, spec.action_dim, spec.image, spec.max_steps, spec.control_hz) == (9, 7, None, 400, 20.0)
    assert spec.end_effector == (0, 1, 2)
    assert found.notes["env_version"] == "1.4.1"
    assert found.notes["filter_keys"] == ["train", "valid"]


def test_robomimic_cameras_lie_in_the_channels_and_keys_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "can.hdf5"
    demos = write_robomimic(path, cameras=("agentview", "robot0_eye_in_hand"))
    found = read(path, "robomimic", "can", filter="valid", object_state=True)
    assert found.spec.image == (16, 16, 6)
    assert found.spec.state_dim == 23
    (episode,) = found.episodes
    np.testing.assert_array_equal(episode["img"][..., :3], demos[-1]["obs/agentview_image"])
    np.testing.assert_array_equal(episode["img"][..., 3:], demos[-1]["obs/robot0_eye_in_hand_image"])
    np.testing.assert_array_equal(episode["state"][:, 9:], demos[-1]["obs/object"].astype(np.float32))
    one = read(path, "robomimic", "can", 2, cameras=["robot0_eye_in_hand"], state=["object"])
    assert len(one.episodes) == 2
    np.testing.assert_array_equal(one.episodes[0]["img"], demos[0]["obs/robot0_eye_in_hand_image"])
    assert one.spec.end_effector is None, "the state no longer begins with the end-effector"
    assert read(path, "robomimic", "can", cameras=[]).spec.image is None


def test_robomimic_two_arms(tmp_path: Path) -> None:
    env = {**ENV, "env_name": "TwoArmTransport"}
    demos = write_robomimic(tmp_path / "t.hdf5", arms=2, env=env)
    found = read(tmp_path / "t.hdf5", "robomimic", "transport")
    assert (found.spec.state_dim, found.spec.action_dim, found.spec.max_steps) == (18, 14, 700)
    np.testing.assert_array_equal(
        found.episodes[0]["state"][:, 9:12], demos[0]["obs/robot1_eef_pos"].astype(np.float32)
    )


def test_shaped_rewards_are_no_success_flag(tmp_path: Path) -> None:
    write_robomimic(tmp_path / "can.hdf5")
    with h5py.File(tmp_path / "can.hdf5", "a") as file:
        file["data/demo_3/rewards"][0] = 0.3
    found = read(tmp_path / "can.hdf5", "robomimic", "can")
    assert "success" not in found.episodes[0]
    assert "reward" in found.episodes[0]


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("lift", {}, "holds PickPlaceCan, task lift is Lift"),
        ("can", {"filter": "trian"}, "no filter key 'trian'"),
        ("can", {"cameras": ["agentveiw"]}, "no pictures of camera"),
        ("can", {"state": ["robot0_eef_poss"]}, "no observation 'robot0_eef_poss'"),
    ],
)
def test_what_a_robomimic_file_does_not_have_is_refused(
    tmp_path: Path, task: str, options: dict[str, Any], words: str
) -> None:
    write_robomimic(tmp_path / "can.hdf5", cameras=("agentview",))
    with pytest.raises(UsageError, match=words):
        read(tmp_path / "can.hdf5", "robomimic", task, **options)


def test_robomimic_pictures_of_other_names(tmp_path: Path) -> None:
    path = tmp_path / "libero.hdf5"
    demos = write_robomimic(path, (5, 6), cameras=("agentview", "wrist", "top", "side"))
    with h5py.File(path, "a") as file:
        for number in range(2):
            for old, new in (("agentview_image", "agentview_rgb"), ("wrist_image", "wrist_rgb"), ("top_image", "top")):
                file.move(f"data/demo_{number}/obs/{old}", f"data/demo_{number}/obs/{new}")
    found = read(path, "robomimic", "can")
    assert found.cameras == ("agentview", "side", "wrist")
    np.testing.assert_array_equal(found.episodes[1]["img"][..., 6:], demos[1]["obs/wrist_image"])
    for asked in ("agentview_rgb", "agentview"):
        assert read(path, "robomimic", "can", cameras=[asked, "top"]).cameras == ("agentview", "top")
    for asked, hint in (("agentvew", "agentview"), ("front", "known: agentview, agentview_rgb, side, side_image, top")):
        with pytest.raises(UsageError, match="no pictures of camera") as refused:
            read(path, "robomimic", "can", cameras=[asked])
        assert hint in refused.value.hint
    with h5py.File(path, "a") as file:
        for number, frames in enumerate((5, 6)):
            del file[f"data/demo_{number}/obs/top"]
            file[f"data/demo_{number}/obs/top"] = np.zeros((frames, 8, 12, 3), np.uint8)
    with pytest.raises(UsageError, match="obs, camera top: pictures are 8x12, those of side 16x16"):
        read(path, "robomimic", "can", cameras=["side", "top"])


def test_robomimic_pictures_are_resized_and_made_rgb(tmp_path: Path) -> None:
    """Cameras of several sizes fit together then; each sentence is said once, not once a demonstration."""
    path = tmp_path / "can.hdf5"
    demos = write_robomimic(path, (5, 6), cameras=("agentview",))
    with h5py.File(path, "a") as file:
        for number, frames in enumerate((5, 6)):
            obs = file[f"data/demo_{number}/obs"]
            obs["wrist_image"] = np.full((frames, 8, 12, 4), 7, np.uint8)
            obs["side"] = np.full((frames, 6, 6), 9, np.uint8)
            obs["hand_image"] = np.ones((frames, 6, 6, 1), np.uint16)
    cameras = ["agentview", "wrist", "side"]
    found = read(path, "robomimic", "can", cameras=cameras, size=4)
    shown = found.episodes[1]["img"]
    assert (shown.shape, found.cameras) == ((6, 4, 4, 9), tuple(cameras))
    mean = demos[1]["obs/agentview_image"].reshape(6, 4, 4, 4, 4, 3).mean((2, 4))
    np.testing.assert_allclose(shown[..., :3], mean, atol=0.51)
    assert (shown[..., 3:6] == 7).all()
    assert (shown[..., 6:] == 9).all()
    assert found.said[:5] == (
        "agentview_image: pictures of 16x16 are resized to 4x4",
        "wrist_image: pictures (8, 12, 4): the fourth channel, alpha, is cut",
        "wrist_image: pictures of 8x12 are resized to 4x4, which changes their proportions",
        "side: pictures (6, 6): grey is repeated as red, green and blue",
        "side: pictures of 6x6 are resized to 4x4",
    )
    with pytest.raises(DataError, match=r"hand_image is .* expected pictures of uint8") as refused:
        read(path, "robomimic", "can")
    assert "format.depth=hand_image" in refused.value.hint
    assert read(path, "robomimic", "can", depth="hand_image", size=4).cameras == ("agentview", "wrist")
    with pytest.raises(UsageError, match="pictures are 8x12, those of agentview 16x16") as two:
        read(path, "robomimic", "can", cameras=cameras)
    assert "format.size" in two.value.hint
    with pytest.raises(UsageError, match="a replay renders others"):
        read(path, "robomimic", "can", replay=True, size=4)


@pytest.mark.parametrize("counted", ["observations", "actions"])
def test_robomimic_with_one_observation_more_than_actions(counted: str, tmp_path: Path) -> None:
    path, lengths = tmp_path / "more.hdf5", (5, 6)
    demos = write_robomimic(path, lengths, cameras=("top",))
    with h5py.File(path, "a") as file:
        for number, frames in enumerate(lengths):
            demo = file[f"data/demo_{number}"]
            for name in ("actions", "rewards", "dones"):
                values = demo[name][:-1]
                del demo[name]
                demo[name] = values
            demo.attrs["num_samples"] = frames if counted == "observations" else frames - 1
        file["data"].attrs["total"] = sum(lengths) if counted == "observations" else sum(lengths) - 2
    found = read(path, "robomimic", "can")
    assert [len(episode["action"]) for episode in found.episodes] == [4, 5]
    assert [len(episode["img"]) for episode in found.episodes] == [4, 5]
    state = demos[1]["obs/robot0_eef_pos"][:-1].astype(np.float32)
    np.testing.assert_array_equal(found.episodes[1]["state"][:, :3], state)
    assert any("one observation more than actions" in sentence for sentence in found.said)
    with h5py.File(path, "a") as file:
        key = "data/demo_1/obs/robot0_eef_pos"
        values = file[key][:-1]
        del file[key]
        file[key] = values
    with pytest.raises(DataError, match=r"obs/robot0_eef_pos has 5 frames, expected 4") as refused:
        read(path, "robomimic", "can")
    assert "one observation more is taken where every episode has it" in refused.value.hint
    with h5py.File(path, "a") as file:
        values = file["data/demo_0/obs/robot0_eef_pos"][:-1]
        del file["data/demo_0/obs/robot0_eef_pos"]
        file["data/demo_0/obs/robot0_eef_pos"] = values
    some = read(path, "robomimic", "can")
    np.testing.assert_array_equal(some.episodes[1]["state"], found.episodes[1]["state"])


def test_robomimic_pictures_inside_of_a_group(tmp_path: Path) -> None:
    path = tmp_path / "nested.hdf5"
    demos = write_robomimic(path, (5, 6), cameras=("top", "wrist"))
    with h5py.File(path, "a") as file:
        for number in range(2):
            for camera, key in (("top", "images/top"), ("wrist", "images/wrist_rgb")):
                file.move(f"data/demo_{number}/obs/{camera}_image", f"data/demo_{number}/obs/{key}")
    found = read(path, "robomimic", "can", cameras=["images/top", "images/wrist_rgb"])
    assert found.cameras == ("images/top", "images/wrist_rgb")
    np.testing.assert_array_equal(found.episodes[1]["img"][..., :3], demos[1]["obs/top_image"])
    assert not any("images/top" in sentence for sentence in found.said)
    for asked in ("front", "", "/data/demo_0/obs/images/top"):
        with pytest.raises(UsageError, match="no pictures of camera") as refused:
            read(path, "robomimic", "can", cameras=[asked])
        assert "images/top" in refused.value.hint
    with pytest.raises(DataError, match="images is a group, expected an array"):
        read(path, "robomimic", "can", cameras=["images"])


def test_what_a_file_holds_besides_is_said(tmp_path: Path) -> None:
    write_robomimic(tmp_path / "can.hdf5", (5, 6), cameras=("agentview",))
    with h5py.File(tmp_path / "can.hdf5", "a") as file:
        file["data/demo_0/a_force"], file["data/demo_0/next_obs/object"] = np.zeros((5, 6)), np.zeros((5, 14))
    found = read(tmp_path / "can.hdf5", "robomimic", "can", cameras=[], object_state=True)
    assert found.said == ("left out: obs/agentview_image (5, 16, 16, 3), obs/robot0_joint_pos (5, 7), a_force (5, 6)",)
    write_minari(tmp_path)
    found = read(tmp_path / "main_data.hdf5", "kitchen", "mixed", state=["desired_goal/kettle"])
    assert found.said == ("left out: observations/observation (5, 59)",)
    assert found.notes["state"] == ["desired_goal/kettle"]
    write_d4rl(tmp_path / "d.hdf5", tail=0)
    found = read(tmp_path / "d.hdf5", "gym", "hopper-medium")
    assert found.said == ("left out: infos/action_log_probs (21,), metadata/algorithm ()",)
    write_npz(tmp_path)
    with np.load(tmp_path / "train.npz") as arrays:
        np.savez(tmp_path / "train.npz", **arrays, ids=np.zeros(20))
    assert read(tmp_path / "train.npz", "gym", "hopper-medium").said == ("left out: ids (20,)",)


def test_a_file_whose_name_all_share_is_called_by_its_folder(tmp_path: Path) -> None:
    for format_, file, name in (
        ("minari", "hand/data/main_data.hdf5", "hand"),
        ("minari", "hand/main_data.hdf5", "hand"),
        ("minari", "hand/data/mine.hdf5", "mine"),
        ("npz", "hopper/train.npz", "hopper"),
        ("npz", "hopper/other.npz", "other"),
    ):
        assert FORMATS.get(format_).label(tmp_path / file) == name


def test_npz_comes_back_in_physical_units(tmp_path: Path) -> None:
    raw = write_npz(tmp_path, pictures=True)
    found = read(tmp_path / "train.npz", "gym", "hopper-medium")
    assert [len(e["action"]) for e in found.episodes] == [6, 9, 5]
    np.testing.assert_allclose(joined(found, "state"), raw["state"], rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(joined(found, "action"), raw["action"], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(joined(found, "reward"), raw["reward"])
    for channel in range(6):
        np.testing.assert_array_equal(joined(found, "img")[..., channel], raw["images"][:, channel])
    assert found.spec.image == (16, 20, 6)
    assert found.spec.end_effector is None
    assert (found.spec.max_steps, found.spec.control_hz) == (1000, 125.0)


def test_d4rl_episodes_end_where_sequence_dataset_ends_them(tmp_path: Path) -> None:
    arrays = write_d4rl(tmp_path / "hopper.hdf5")
    found = read(tmp_path / "hopper.hdf5", "gym", "hopper-medium")
    assert [len(e["action"]) for e in found.episodes] == [7, 5, 9]
    np.testing.assert_array_equal(joined(found, "state"), arrays["observations"][:21])
    np.testing.assert_array_equal(joined(found, "timeout"), arrays["timeouts"][:21])
    assert found.notes["frames_after_the_last_end"] == 4
    assert found.episodes[0]["terminal"][-1]
    assert len(read(tmp_path / "hopper.hdf5", "gym", "hopper-medium", 2).episodes) == 2


def test_of_the_first_episodes_no_more_frames_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: dict[str, int] = {}

    def counted(group: h5py.Group, name: str, *rest: Any) -> np.ndarray:
        found = array(group, name, *rest)
        lengths[name] = len(found)
        return found

    monkeypatch.setattr(d4rl, "array", counted)
    write_d4rl(tmp_path / "hopper.hdf5")
    assert len(read(tmp_path / "hopper.hdf5", "gym", "hopper-medium", 2).episodes) == 2
    assert lengths == {"terminals": 25, "timeouts": 25, "observations": 12, "actions": 12, "rewards": 12}
    raw = write_npz(tmp_path, pictures=True)
    read_by = stored.Stored.__init__
    short: dict[tuple[int, ...], int] = {}

    def noted(
        self: stored.Stored, shape: tuple[int, ...], dtype: Any, stored: int, read_: Callable[[int], Any], parts: Any
    ) -> None:
        read_by(self, shape, dtype, stored, lambda frames: short.update({shape: frames}) or read_(frames), parts)

    monkeypatch.setattr(stored.Stored, "__init__", noted)
    found = read(tmp_path / "train.npz", "gym", "hopper-medium", 1)
    np.testing.assert_array_equal(found.episodes[0]["img"][..., 1], raw["images"][:6, 1])
    assert short == {(20, 11): 6, (20, 3): 6, (3,): 3, (20,): 6, (20, 6, 16, 20): 6}


def test_d4rl_without_timeouts_counts_steps() -> None:
    terminal = np.zeros(20, bool)
    terminal[3] = True
    assert episode_ends(terminal, None, 6).tolist() == [4, 10, 16]


@pytest.mark.parametrize("dictionary", [True, False])
def test_minari_leaves_the_last_observation_out(tmp_path: Path, dictionary: bool) -> None:
    episodes = write_minari(tmp_path, dictionary=dictionary)
    found = read(tmp_path / "main_data.hdf5", "kitchen", "mixed")
    for theirs, ours in zip(episodes, found.episodes, strict=True):
        np.testing.assert_array_equal(ours["state"], theirs["observations"][:-1].astype(np.float32))
        np.testing.assert_array_equal(ours["action"], theirs["actions"].astype(np.float32))
        np.testing.assert_array_equal(ours["timeout"], theirs["truncations"])
    assert found.notes["env_id"] == "FrankaKitchen-v1"
    if dictionary:
        both = read(tmp_path / "main_data.hdf5", "kitchen", "mixed", state=["observation", "desired_goal/kettle"])
        assert both.spec.state_dim == 66
        with pytest.raises(UsageError, match="no observation 'observations'"):
            read(tmp_path / "main_data.hdf5", "kitchen", "mixed", state=["observations"])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def without(name: str) -> Callable[[Path], None]:
    def delete(path: Path) -> None:
        with h5py.File(path, "a") as file:
            del file[name]

    return delete


def replaced(name: str, values: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "a") as file:
            del file[name]
            file[name] = values

    return write


DAMAGE = {
    "robomimic cut": ("robomimic", cut, "damaged or cut short"),
    "robomimic no actions": ("robomimic", without("data/demo_4/actions"), "demo_4/actions is missing"),
    "robomimic raw": ("robomimic", without("data/demo_0/obs"), "demo_0/obs is missing"),
    "robomimic lengths": (
        "robomimic",
        replaced("data/demo_2/obs/robot0_eef_quat", np.zeros((3, 4))),
        "demo_2/obs/robot0_eef_quat has 3 frames, expected 7",
    ),
    "robomimic text": ("robomimic", replaced("data/demo_0/actions", ["a"] * 12), "demo_0/actions has shape"),
    "robomimic float pictures": (
        "robomimic",
        replaced("data/demo_0/obs/agentview_image", np.zeros((12, 16, 16, 3))),
        "uint8",
    ),
    "d4rl cut": ("d4rl", cut, "damaged or cut short"),
    "d4rl lengths": ("d4rl", replaced("actions", np.zeros((5, 3))), "actions has 5 frames, expected 25"),
    "d4rl no end": ("d4rl", replaced("terminals", np.zeros(25, bool)), "no episode ends"),
    "minari cut": ("minari", cut, "damaged or cut short"),
    "minari lengths": ("minari", replaced("episode_1/rewards", np.zeros(2)), "rewards has 2 frames, expected 6"),
    "npz cut": ("npz", cut, "damaged"),
    "npz no limits": ("npz", lambda path: path.with_name("normalization.npz").unlink(), "normalization.npz: missing"),
    "npz that is not": ("npz", lambda path: np.save(path.open("wb"), np.zeros(3)), "of no known format"),
    "web page": ("d4rl", lambda path: path.write_text("\n<!DOCTYPE html><html>Sign in"), "a web page"),
    "other": ("d4rl", lambda path: path.write_bytes(b"BZh91AY"), "of no known format"),
    "missing": ("d4rl", lambda path: path.unlink(), "no such file"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_one_line_about_the_file(tmp_path: Path, how: str) -> None:
    kind, break_, words = DAMAGE[how]
    path, suite, task = tmp_path / "f.hdf5", "robomimic", "can"
    if kind == "robomimic":
        write_robomimic(path, cameras=("agentview",))
    elif kind == "d4rl":
        suite, task = "gym", "hopper-medium"
        write_d4rl(path, timeouts=how != "d4rl no end")
    elif kind == "minari":
        path, suite, task = tmp_path / "main_data.hdf5", "kitchen", "mixed"
        write_minari(tmp_path)
    else:
        path, suite, task = tmp_path / "train.npz", "gym", "hopper-medium"
        write_npz(tmp_path)
    break_(path)
    with pytest.raises(DataError) as error:
        read(path, suite, task)
    assert str(tmp_path) in error.value.message
    assert words in error.value.message
    assert "\n" not in error.value.message


def test_arrays_of_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    write_npz(tmp_path)
    np.savez(tmp_path / "train.npz", states=np.array([{}], object), actions=np.zeros(1), traj_lengths=np.ones(1, int))
    with pytest.raises(DataError, match="not an npz file of plain arrays"):
        read(tmp_path / "train.npz", "gym", "hopper-medium")


def test_values_that_are_not_scaled_are_refused(tmp_path: Path) -> None:
    write_npz(tmp_path)
    with np.load(tmp_path / "train.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "train.npz", **{**arrays, "states": 40 * arrays["states"]})
    with pytest.raises(DataError, match="states reach 40, so they are not scaled"):
        read(tmp_path / "train.npz", "gym", "hopper-medium")


def test_windows_of_the_store_are_those_of_the_file(tmp_path: Path) -> None:
    """The file read by h5py alone, frame by frame, edges repeated by hand."""
    path = tmp_path / "can.hdf5"
    write_robomimic(path, cameras=("agentview",))
    found = read(path, "robomimic", "can")
    write_store(tmp_path / STORE, found.episodes, {"spec": found.spec.model_dump(mode="json")})
    data = read_store(tmp_path)
    windows = make_windows(data.episode_ends, ChunkConfig(n_obs=2, horizon=5, execute=4))
    row = 0
    with h5py.File(path) as file:
        for number in range(11):
            demo = file[f"data/demo_{number}"]
            last = len(demo["actions"]) - 1
            for frame in range(last + 1):
                for k, at in enumerate((max(frame - 1, 0), frame)):
                    index = windows.obs[row, k]
                    np.testing.assert_array_equal(data.arrays["img"][index], demo["obs/agentview_image"][at])
                    position = demo["obs/robot0_eef_pos"][at].astype(np.float32)
                    np.testing.assert_array_equal(data.arrays["state"][index, :3], position)
                for k in range(5):
                    at = min(max(frame - 1 + k, 0), last)
                    action = demo["actions"][at].astype(np.float32)
                    np.testing.assert_array_equal(data.arrays["action"][windows.action[row, k]], action)
                row += 1
    assert row == len(windows)


def test_our_windows_are_robomimics(tmp_path: Path) -> None:
    """robomimic's own SequenceDataset over the file against our windows over our store: same windows, same values."""
    pytest.importorskip("robomimic")
    from robomimic.utils import obs_utils
    from robomimic.utils.dataset import SequenceDataset

    path = tmp_path / "can.hdf5"
    write_robomimic(path, cameras=("agentview",))
    found = read(path, "robomimic", "can", filter="train")
    write_store(tmp_path / STORE, found.episodes, {"spec": found.spec.model_dump(mode="json")})
    data = read_store(tmp_path)
    keys = ["robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "agentview_image"]
    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": keys[:3], "rgb": keys[3:]}})
    for n_obs, horizon in ((1, 4), (2, 5), (3, 8)):
        theirs = SequenceDataset(
            str(path),
            keys,
            ["actions"],
            frame_stack=n_obs,
            seq_length=horizon - n_obs + 1,
            pad_frame_stack=True,
            pad_seq_length=True,
            hdf5_use_swmr=False,
            load_next_obs=False,
            filter_by_attribute="train",
        )
        windows = make_windows(data.episode_ends, ChunkConfig(n_obs=n_obs, horizon=horizon, execute=1))
        assert len(theirs) == len(windows)
        for i in range(len(windows)):
            item = theirs[i]
            state = np.concatenate([item["obs"][key][:n_obs] for key in keys[:3]], axis=1)
            np.testing.assert_array_equal(data.arrays["state"][windows.obs[i]], state.astype(np.float32))
            np.testing.assert_array_equal(data.arrays["img"][windows.obs[i]], item["obs"]["agentview_image"][:n_obs])
            action = item["actions"].astype(np.float32)
            np.testing.assert_array_equal(data.arrays["action"][windows.action[i]], action)
