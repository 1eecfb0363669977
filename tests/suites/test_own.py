"""Data of one's own: from any file to a data set that says what it is, and no simulator that is assumed."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from omp_cli.core.base.config import validated
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.progress import Silent
from omp_cli.core.checkpoint import open_checkpoint
from omp_cli.core.clouds.fps import farthest_points
from omp_cli.core.data.store import STORE, read_store, write_store
from omp_cli.core.deploy.deciders import open_decider
from omp_cli.core.prepare import files
from omp_cli.core.suites.own import clouds, source
from omp_cli.core.suites.own.camera import CameraConfig
from omp_cli.core.suites.own.clouds import with_clouds
from tests.cli.test_bad_input import refused
from tests.conftest import TINY, Omp
from tests.data import formats
from tests.data.arrays import recorded, write_aloha, write_npy, write_npz, write_zarr
from tests.data.lerobot import write_lerobot

POSE = np.array([[0.0, 0.0, 1.0, 0.5], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.3], [0.0, 0.0, 0.0, 1.0]])


def test_from_a_dp3_store_to_an_export_that_says_what_its_numbers_are(omp: Omp, tmp_path: Path) -> None:
    write_zarr(tmp_path / "pour.zarr", recorded())
    line = ("prepare", "own", tmp_path / "pour.zarr", "--task", "pour", "--hz", 30, "--points", 16)
    line += ("--set", 'state_names=["a", "b", "c", "d"]', "--set", "action_unit=deg")
    done = omp(*line, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    refused(
        omp(*line, "--set", 'action_names=["x","y"]', "--out", tmp_path / "n"), 2, "2 different names for 3 numbers"
    )
    for words in ("clouds from point_cloud (40x3)", "colour, are cut", "16 points are kept", "actions stay in deg"):
        assert words in " ".join(done.out.split())
    data = read_store(tmp_path / "d")
    spec, actions = data.spec, data.arrays["action"]
    assert (spec.suite, spec.task, spec.control_hz, spec.points, spec.max_steps) == ("own", "pour", 30.0, 16, 9)
    np.testing.assert_array_equal(actions, recorded()["action"], err_msg="in their own units, not clipped")
    cloud = recorded()["point_cloud"][5, :, :3]
    np.testing.assert_array_equal(data.arrays["point_cloud"][5], cloud[farthest_points(cloud, 16)])
    assert spec.action_channels is not None
    np.testing.assert_allclose(spec.action_channels.high, actions.max(axis=0))
    assert spec.cameras == ("img",)
    assert spec.state_channels is not None
    assert spec.state_channels.names == ("a", "b", "c", "d")
    assert (tmp_path / "d" / "contact_sheet.png").stat().st_size > 5_000
    parts = ("--steps", 2, "--batch-size", 4, "--set", "encoder.origin=world", "--set", "encoder.points=none")
    trained = omp("pretrain", tmp_path / "d", "--out", tmp_path / "run", *TINY, *parts)
    assert trained.code == 0, trained.err
    assert f"next: omp eval --offline {tmp_path / 'run'}" in trained.out, "it is not below runs, where eval would look"
    next_line = trained.out.split("next: omp ")[1].split()
    assert omp(*next_line, "--out", tmp_path / "errors").code == 0, "nothing was held out: --on train"
    assert f"next: omp pretrain {tmp_path / 'd'} --set encoder.origin=world --hold-out 0.1" in " ".join(
        done.out.split()
    )
    refused(omp("eval", tmp_path / "run"), 4, "no simulator", "omp eval RUN --offline")
    refused(omp("finetune", tmp_path / "run", "--out", tmp_path / "tuned"), 4, "no simulator", "--plugin FILE prepare")
    exported = omp("export", tmp_path / "run", "--format", "pt2", "--out", tmp_path / "files")
    assert exported.code == 0, exported.err
    document = json.loads((tmp_path / "files" / "policy.json").read_text())
    assert document["output"]["unit"].startswith("deg, not limited to -1 to 1")
    assert document["output"]["names"] == ["action[0]", "action[1]", "action[2]"]
    assert document["output"]["high"] == list(spec.action_channels.high)
    assert document["control_hz"] == 30.0
    for path in (tmp_path / "run", tmp_path / "files" / "policy.pt2"):  # the checkpoint and the export say the same
        signature = open_decider(path, "cpu").signature
        assert (signature.action_names, signature.action_unit) == (("action[0]", "action[1]", "action[2]"), "deg")
    assert "metres" not in json.dumps(document)


def test_clouds_that_nobody_sampled_are_trained_on_by_the_line_that_is_printed(omp: Omp, tmp_path: Path) -> None:
    recording = recorded()
    recording["point_cloud"] = np.tile(recording["point_cloud"], (1, 8, 1))  # more points than the preset takes
    write_zarr(tmp_path / "pour.zarr", recording)
    done = omp("prepare", "own", tmp_path / "pour.zarr", "--task", "pour", "--hz", 30, "--out", tmp_path / "d")
    line = " ".join(done.out.split()).split("next: omp ")[1].split()
    assert line[2:6] == ["--set", "encoder.origin=world", "--set", "encoder.points=none"]
    trained = omp(*line[:2], *TINY, *line[2:], "--out", tmp_path / "run", "--steps", 2, "--batch-size", 4)
    assert trained.code == 0, trained.err
    without = omp(*line[:4], *line[6:], "--out", tmp_path / "r")
    refused(without, 2, "clouds that are in no order are no sample", "encoder.points=none")


def test_names_and_rate_come_from_a_lerobot_folder(omp: Omp, tmp_path: Path) -> None:
    write_lerobot(tmp_path / "so100")
    info = tmp_path / "so100" / "meta" / "info.json"
    document = json.loads(info.read_text())
    width = document["features"]["action"]["shape"][0]
    document["features"]["action"]["names"] = {"motors": [f"joint_{i}" for i in range(width)]}
    info.write_text(json.dumps(document))
    done = omp("prepare", "own", tmp_path / "so100", "--set", "format.cameras=[]", "--out", tmp_path / "d", "--json")
    assert done.code == 0, done.err
    assert "task so100: by the file's name" in done.err
    result = done.json["result"]
    assert result["hz"] == document["fps"]
    assert result["action_channels"]["names"] == [f"joint_{i}" for i in range(width)]
    line = ("prepare", "own", tmp_path / "so100", "--set", "format.cameras=[]", "--hz", 7)
    other = omp(*line, "--out", tmp_path / "seven hertz")
    assert f"the file says {document['fps']:g} Hz, and --hz 7 counts" in " ".join(other.out.split())
    assert f"next: omp pretrain '{tmp_path / 'seven hertz'}' --preset" in other.out, "as a shell takes it"


def test_every_other_format_is_told_by_its_content(omp: Omp, tmp_path: Path) -> None:
    formats.write_d4rl(tmp_path / "a.hdf5")
    formats.write_minari(tmp_path / "b")
    formats.write_npz(tmp_path / "c")
    write_npz(tmp_path / "e.npz", recorded(channels=3))
    write_npy(tmp_path / "f", recorded(channels=3))
    for name, format_ in (("a.hdf5", "d4rl"), ("b", "minari"), ("c", "npz"), ("e.npz", "arrays"), ("f", "arrays")):
        done = omp(
            "prepare", "own", tmp_path / name, "--task", "t", "--hz", 20, "--out", tmp_path / f"d{name}", "--json"
        )
        assert done.code == 0, done.err
        assert done.json["result"]["format"] == format_
        assert read_store(tmp_path / f"d{name}").provenance["rollout_suite"] == {"name": "own"}


def test_a_folder_with_a_file_for_each_episode_is_one_data_set(omp: Omp, tmp_path: Path) -> None:
    write_aloha(tmp_path / "cup")
    (tmp_path / "cup" / "episode_2.hdf5").write_bytes(b"of a third episode, which nobody asks for")
    line = ("prepare", "own", tmp_path / "cup", "--hz", 50, "--demos", 2)
    done = omp(*line, "--out", tmp_path / "d", "--json")
    assert done.code == 0, done.err
    result, data = done.json["result"], read_store(tmp_path / "d")
    assert (result["task"], result["format"], result["demos"]) == ("cup", "episodes", 2)
    assert [file["name"] for file in data.provenance["files"]] == ["episode_0.hdf5", "episode_1.hdf5"]
    assert data.spec.cameras == ("top", "wrist")
    assert omp(*line, "--out", tmp_path / "d", "--json").json["result"]["reused"] is True
    refused(omp("prepare", "own", tmp_path / "cup", "--demos", 2), 2, "frames a second", "--hz 30")
    for number in range(2):
        (tmp_path / "each" / str(number)).mkdir(parents=True)
        (tmp_path / "cup" / f"episode_{number}.hdf5").rename(tmp_path / "each" / str(number) / "trajectory.h5")
    one = omp("prepare", "own", tmp_path / "each", "--hz", 50, "--demos", 1, "--out", tmp_path / "e")
    assert one.code == 0, one.err
    assert "2 files are an episode each" in " ".join(one.out.split())
    with h5py.File(tmp_path / "each" / "0" / "trajectory.h5", "a") as file:
        file["action"][0] = np.nan
    broken = omp("prepare", "own", tmp_path / "each", "--hz", 50, "--demos", 1, "--out", tmp_path / "f")
    refused(broken, 3, f"{tmp_path / 'each'}: ", "episode 0")


def test_the_times_of_frames_say_the_rate(omp: Omp, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "d.npz", {**recorded(channels=3), "timestamp": np.arange(23) / 15})
    assert omp("prepare", "own", path, "--out", tmp_path / "d").code == 0
    assert read_store(tmp_path / "d").spec.control_hz == 15.0
    other = omp("prepare", "own", path, "--hz", 30, "--out", tmp_path / "e")
    assert "the file says 15 Hz, and --hz 30 counts" in " ".join(other.out.split())
    assert read_store(tmp_path / "e").spec.control_hz == 30.0


def test_settings_of_pictures_that_are_not_taken_or_rendered_are_refused(omp: Omp, tmp_path: Path) -> None:
    formats.write_robomimic(tmp_path / "c.hdf5", (4, 3))
    line = ("prepare", "own", tmp_path / "c.hdf5", "--set", "format.image_size=64", "--out", tmp_path / "d")
    refused(omp(*line), 2, "format.image_size is that of a replay", "format.replay=true")
    write_lerobot(tmp_path / "so100")
    line = ("prepare", "own", tmp_path / "so100", "--set", "format.cameras=[]", "--set", "format.size=32")
    refused(omp(*line, "--out", tmp_path / "e"), 2, "format.size does not count: no camera is taken")


def test_large_pictures_are_spoken_of(omp: Omp, tmp_path: Path) -> None:
    """Where the longer side is above 128 pixels; the printed setting makes them small."""
    arrays = recorded(channels=3)
    write_npz(tmp_path / "d.npz", {**arrays, "img": np.zeros((23, 20, 130, 3), np.uint8)})
    line = ("prepare", "own", tmp_path / "d.npz", "--hz", 5)
    done = omp(*line, "--out", tmp_path / "a")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "pictures are 20x130, and what the presets' vision transformer costs grows with the fourth power" in said
    assert "--set format.size=96 makes 96x96 of them, which changes their proportions" in said
    small = omp(*line, "--set", "format.size=96", "--out", tmp_path / "b")
    assert small.code == 0, small.err
    assert "fourth power" not in small.out
    assert "pictures of 20x130 are resized to 96x96" in " ".join(small.out.split())
    assert read_store(tmp_path / "b").spec.image == (96, 96, 3)
    none = omp(*line, "--set", "format.img=[]", "--set", "format.size=96", "--out", tmp_path / "c")
    refused(none, 2, "format.size does not count: no camera is taken")


def test_masks_of_robomimic_say_what_is_held_out(omp: Omp, tmp_path: Path) -> None:
    formats.write_robomimic(tmp_path / "c.hdf5")
    done = omp("prepare", "own", tmp_path / "c.hdf5", "--task", "can", "--out", tmp_path / "d")
    assert done.code == 0, done.err
    assert "1 of 11 episodes are held out" in " ".join(done.out.split())
    data = read_store(tmp_path / "d")
    assert data.held_out == (10,)
    assert data.spec.control_hz == 20.0
    parts = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}
    state = [{"name": name, "width": width} for name, width in parts.items()]
    assert data.provenance["rollout_suite"] == {"name": "own", "state": state}
    filtered = omp("prepare", "own", tmp_path / "c.hdf5", "--set", "format.filter=train", "--out", tmp_path / "e")
    assert filtered.code == 0, filtered.err
    assert (len(read_store(tmp_path / "e").episode_ends), read_store(tmp_path / "e").held_out) == (10, ())
    with h5py.File(tmp_path / "c.hdf5", "a") as file:
        del file["mask/valid"]
    assert omp("prepare", "own", tmp_path / "c.hdf5", "--task", "can", "--out", tmp_path / "f").code == 0
    assert read_store(tmp_path / "f").held_out == (10,), "what is not in mask/train"
    with h5py.File(tmp_path / "c.hdf5", "a") as file:
        file["mask/valid"] = np.array([b"demo_0"])
    refused(omp("prepare", "own", tmp_path / "c.hdf5", "--out", tmp_path / "g"), 3, "demo_0 is in mask/train and in")


def test_the_sign_of_a_quaternion_is_no_state_to_a_policy(omp: Omp, tmp_path: Path) -> None:
    formats.write_robomimic(tmp_path / "c.hdf5")
    random = np.random.default_rng(0)
    with h5py.File(tmp_path / "c.hdf5", "a") as file:
        for demo in file["data"].values():
            for key, first in (("robot0_eef_quat", 0), ("object", 3), ("object", 10)):
                values = demo["obs"][key][:, first : first + 4]
                values *= random.choice([-1, 1], (len(values), 1)) / np.linalg.norm(values, axis=1, keepdims=True)
                demo["obs"][key][:, first : first + 4] = values
    line = ("--task", "can", "--set", "format.object_state=true", "--out", tmp_path / "d")
    done = omp("prepare", "own", tmp_path / "c.hdf5", *line)
    assert done.code == 0, done.err
    for name in ("robot0_eef_quat", "Can_quat", "Can_to_robot0_eef_quat"):
        assert f"state: {name}: q and -q are one rotation, and" in " ".join(done.out.split())
    data = read_store(tmp_path / "d")
    assert [q.first for q in data.spec.quaternions] == [3, 12, 19]
    assert data.spec.state_channels is not None
    assert data.spec.state_channels.names[9:12] == ("Can_pos[0]", "Can_pos[1]", "Can_pos[2]")
    assert omp("prepare", "own", tmp_path / "d", "--task", "can", "--out", tmp_path / "again").code == 0
    assert read_store(tmp_path / "again").spec.quaternions == data.spec.quaternions, "by its names"
    parts = ("--preset", "dmpo-state", "--steps", 2, "--batch-size", 4, "--set", "train.warmup_steps=0")
    assert omp("pretrain", tmp_path / "d", *parts, "--out", tmp_path / "run").code == 0
    policy = open_checkpoint(tmp_path / "run" / "checkpoints" / "step-00000002").load("ema")
    state = torch.from_numpy(data.arrays["state"][:1])[None]
    other = state.clone()
    other[..., 12:16] *= -1
    noise = torch.randn(1, policy.chunk.horizon, 7)
    assert torch.equal(policy.act({"state": state}, noise), policy.act({"state": other}, noise))
    other[..., 9] += 0.1
    assert not torch.equal(policy.act({"state": state}, noise), policy.act({"state": other}, noise))


def test_a_robots_recording_under_a_benchmarks_name_is_not_rolled_out_there(omp: Omp, tmp_path: Path) -> None:
    write_lerobot(tmp_path / "so100")
    line = ("prepare", "robomimic", "--task", "lift", "--file", tmp_path / "so100", "--set", "format.cameras=[]")
    assert omp(*line, "--out", tmp_path / "d").code == 0
    parts = ("--preset", "dmpo-state", "--steps", 2, "--batch-size", 4, "--set", "train.warmup_steps=0")
    trained = omp("pretrain", tmp_path / "d", *parts, "--out", tmp_path / "run")
    assert "next: omp eval --offline" in trained.out
    refused(omp("eval", tmp_path / "run"), 4, "no simulator", "--offline")


def test_what_is_missing_or_does_not_fit_is_one_line(omp: Omp, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "d.npz", recorded(channels=3))
    own = ("prepare", "own", path, "--out", tmp_path / "d")
    refused(omp("prepare", "own"), 2, "which file or folder", "omp prepare own PATH --task NAME --hz 30")
    refused(omp(*own), 2, "frames a second", "--hz 30")
    refused(omp(*own, "--file", path), 2, "two files")
    refused(omp(*own, "--hz", 5, "--task", "a", "--task", "b"), 2, "several --task")
    refused(omp(*own, "--hz", 5, "--crop", "1,2"), 2, "crop")
    refused(omp(*own, "--hz", 5, "--crop", "5,5,5,6,6,6"), 3, "episode 0, frame 0: 0 points are left", "--crop")
    refused(omp(*own, "--hz", 5, "--crop", "1,0,0,0,1,1"), 2, "crop", "each above its lowest")
    refused(
        omp(*own, "--hz", 5, "--set", "format.cloud=[]", "--points", 8), 2, "the data have no clouds", "format.cloud"
    )
    refused(omp("prepare", "own", tmp_path / "none.npz"), 3, "no such file")
    refused(omp("prepare", "assembly"), 2, "assembly is a task of metaworld", "omp prepare metaworld --task assembly")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--hz", 5, "--set", "end_effector=[0,1,4]"), ("the state has 4 numbers", "state[0], state[1]")),
        (("--hz", 5, "--set", "end_effector=[0,1,1]"), ("the state has 4 numbers",)),
        (("--hz", 5, "--set", 'action_names=["x"]'), ("1 different names for 3 numbers",)),
        (("--hz", 5, "--set", 'state_names=["a","a","b","c"]'), ("3 different names for 4 numbers",)),
        (("--hz", 5, "--set", "state_names=a,b,c"), ("3 different names for 4 numbers",)),
        (("--hz", 5, "--set", "end_effector=0,1,4"), ("the state has 4 numbers",)),
        (("--hz", 5, "--set", "format.state=state,jonts"), ("no array 'jonts'",)),
        (("--hz", 5, "--set", "format.state=[state,action]"), ("format.state: expected a list",)),
        (("--hz", 5, "--set", "environment=other"), ("environment",)),
        (("--hz", 5, "--set", "format.depth=depth"), ("camera.intrinsics",)),
        (("--hz", 5, "--set", "format.state=state,state"), ("format.state: state is named twice",)),
        (("--hz", 5, "--set", "camera.farthest=2"), ("camera: the data have no depth pictures", "format.depth")),
        (("--hz", 5, "--set", "format.cloud=[]", "--set", "end_effector=0,1,2"), ("the data have no clouds",)),
        ((), ("frames a second",)),
    ],
    ids=[
        "end-effector",
        "twice",
        "too few names",
        "a name twice",
        "too few by commas",
        "by commas",
        "an array by commas",
        "one number",
        "environment",
        "no camera",
        "an array twice",
        "no depth",
        "no clouds",
        "no rate",
    ],
)
def test_what_a_setting_names_is_looked_for_before_anything_is_done(
    words: tuple[Any, ...], message: tuple[str, ...], omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is hashed and no cloud is made for a line that cannot succeed."""
    arrays = recorded(channels=3)
    path = write_npz(tmp_path / "d.npz", {**arrays, "depth": np.ones((23, 8, 10), np.float32)})
    monkeypatch.setattr(files, "sha256_of", None)
    monkeypatch.setattr(source, "with_clouds", None)
    refused(omp("prepare", "own", path, "--points", 8, *words, "--out", tmp_path / "d"), 2, *message)


def test_a_file_without_ends_of_episodes_says_what_it_holds_and_what_to_add(omp: Omp, tmp_path: Path) -> None:
    arrays = recorded(channels=3)
    np.savez(tmp_path / "d.npz", **arrays)  # type: ignore[arg-type]
    write_npy(tmp_path / "d", arrays)
    (tmp_path / "d" / "episode_ends.npy").unlink()
    store = write_zarr(tmp_path / "d.zarr", arrays)
    shutil.rmtree(store / "meta" / "episode_ends")
    with h5py.File(tmp_path / "d.hdf5", "w") as file:
        file["observations/qpos"], file["action"] = arrays["state"], arrays["action"]
    np.save(tmp_path / "d.npy", arrays["state"])
    ends = "the frame after the last one of each episode"
    for name, words in (
        ("d.npz", ("state, action, img, point_cloud", "as arrays it lacks episode_ends", ends)),
        ("d", ("action.npy", "as arrays it lacks episode_ends", ends)),
        ("d.zarr", ("no meta/episode_ends", "data/state", ends)),
        ("d.hdf5", ("action, observations/ (qpos)", "as d4rl it lacks actions, terminals", "episode_<number>")),
        ("d.npy", ("one array alone",)),
    ):
        refused(omp("prepare", "own", tmp_path / name, "--hz", 5, "--out", tmp_path / "out"), 3, *words)
    forced = omp("prepare", "own", tmp_path / "d.npz", "--format", "arrays", "--hz", 5, "--out", tmp_path / "out")
    refused(forced, 3, "no episode_ends in it", "state, action", ends)


def test_depth_pictures_become_clouds_of_the_world(omp: Omp, tmp_path: Path) -> None:
    arrays = recorded(channels=3)
    del arrays["point_cloud"]
    arrays["depth"] = np.full((23, 8, 10), 500, np.uint16)
    arrays["depth"][:, 0] = 0
    write_npz(tmp_path / "d.npz", arrays)
    line = ("prepare", "own", tmp_path / "d.npz", "--hz", 5, "--points", 32, "--set", "format.depth=depth")
    refused(omp(*line, "--out", tmp_path / "a"), 2, "only with the camera's intrinsics", "camera.intrinsics")
    camera = ("--set", "camera.intrinsics=[10, 10, 4.5, 3.5]", "--set", f"camera.pose={POSE.tolist()}")
    refused(
        omp(*line, *camera, "--out", tmp_path / "b"), 3, "d.npz: episode 0, frame 0: of 70 pixels", "median is 500 m"
    )
    done = omp(*line, *camera, "--set", "camera.depth_scale=0.001", "--out", tmp_path / "b")
    assert done.code == 0, done.err
    data = read_store(tmp_path / "b")
    assert "depth" not in data.arrays
    cloud = data.arrays["point_cloud"][3]
    assert cloud.shape == (32, 3)
    np.testing.assert_allclose(cloud[:, 0], 1.0, atol=1e-6)  # z of the camera, 0.5 m, is x of the world, from 0.5 m on
    assert np.ptp(cloud[:, 1]) == pytest.approx(0.45, abs=1e-6)
    assert data.spec.cloud_in_fps_order


def test_workers_make_the_same_clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame after frame by two processes, and whole episodes by this one."""
    random, camera = np.random.default_rng(0), CameraConfig(intrinsics=(10.0, 10.0, 4.5, 3.5))
    episodes = [{"action": np.zeros((t, 1), np.float32), "depth": random.uniform(1, 2, (t, 8, 10))} for t in (2, 3)]
    alone = with_clouds(episodes, 16, None, camera, Silent())
    monkeypatch.setattr(clouds, "_AT_ONCE", 1)
    made = with_clouds(episodes, 16, None, camera, Silent(), workers=2)
    assert made[1:] == alone[1:]
    for one, other in zip(alone[0], made[0], strict=True):
        np.testing.assert_array_equal(one["point_cloud"], other["point_cloud"])


def write_with_depth(path: Path, **arrays: np.ndarray) -> None:
    """Two robomimic demonstrations of 4 and 3 frames with pictures of depth and whatever else, frame-major."""
    formats.write_robomimic(path, (4, 3))
    with h5py.File(path, "r+") as file:
        for demo, part in (("demo_0", slice(0, 4)), ("demo_1", slice(4, 7))):
            for name, values in arrays.items():
                file[f"data/{demo}/obs/{name}"] = values[part]


def poses_of(frames: int) -> np.ndarray:
    """A camera that looks along x and goes along it, 0.1 m a frame."""
    poses = np.repeat(POSE[None], frames, axis=0)
    poses[:, 0, 3] += 0.1 * np.arange(frames)
    return poses


INTRINSICS = ("--set", "camera.intrinsics=[10, 10, 4.5, 3.5]")


def test_depth_and_poses_of_robomimic_become_clouds(omp: Omp, tmp_path: Path) -> None:
    depth = np.full((7, 8, 10, 1), 0.5, np.float32)
    write_with_depth(tmp_path / "d.hdf5", hand_depth=depth, hand_pose=poses_of(7))
    line = ("prepare", "own", tmp_path / "d.hdf5", "--points", 32, "--set", "format.depth=hand_depth", *INTRINSICS)
    done = omp(*line, "--set", "format.pose=hand_pose", "--out", tmp_path / "a")
    assert done.code == 0, done.err
    assert "depth from hand_depth (8x10), the camera's poses from hand_pose (4x4)" in " ".join(done.out.split())
    data = read_store(tmp_path / "a")
    assert set(data.arrays) & {"depth", "camera_pose"} == set()
    x = data.arrays["point_cloud"][:, :, 0]  # 0.5 m ahead of the camera, which begins at 0.5 m
    np.testing.assert_allclose(x, np.repeat(1.0 + 0.1 * np.arange(7)[:, None], 32, axis=1), atol=1e-6)
    fixed = omp(*line, "--set", f"camera.pose={POSE.tolist()}", "--out", tmp_path / "b")
    assert fixed.code == 0, fixed.err
    np.testing.assert_allclose(read_store(tmp_path / "b").arrays["point_cloud"][..., 0], 1.0, atol=1e-6)
    refused(omp(*line, "--set", "format.pose=hand_poze"), 2, "no observation 'hand_poze'", "hand_pose")
    other = ("prepare", "robomimic", "--task", "can", "--file", tmp_path / "d.hdf5")
    refused(omp(*other, "--set", "format.depth=hand_depth"), 2, "format.depth", "omp prepare own")


def test_clouds_of_robomimic_are_read(omp: Omp, tmp_path: Path) -> None:
    clouds = np.random.default_rng(0).normal(size=(7, 20, 6))
    write_with_depth(tmp_path / "d.hdf5", scan=clouds)
    done = omp("prepare", "own", tmp_path / "d.hdf5", "--set", "format.cloud=scan", "--out", tmp_path / "a")
    assert done.code == 0, done.err
    assert done.out.count("its colour, are cut") == 1
    np.testing.assert_allclose(read_store(tmp_path / "a").arrays["point_cloud"], clouds[..., :3], rtol=1e-6)
    with h5py.File(tmp_path / "d.hdf5", "r+") as file:
        del file["data/demo_1/obs/scan"]
        file["data/demo_1/obs/scan"] = clouds[4:, :18]
    line = ("prepare", "own", tmp_path / "d.hdf5", "--set", "format.cloud=scan")
    refused(omp(*line, "--out", tmp_path / "b"), 2, "18 to 20 points", "--points 18")
    assert omp(*line, "--points", 18, "--out", tmp_path / "b").code == 0
    both = ("--set", "format.depth=scan")
    refused(omp(*line, *both, "--out", tmp_path / "c"), 2, "format.cloud or from format.depth")
    other = ("prepare", "robomimic", "--task", "can", "--file", tmp_path / "d.hdf5")
    refused(omp(*other, "--set", "format.cloud=scan"), 2, "format.cloud", "omp prepare own")


def test_a_hand_carries_its_camera(omp: Omp, tmp_path: Path) -> None:
    """The file has the hand's poses, camera.pose is where the camera sits on it: 0.2 m ahead of the hand, turned."""
    arrays = recorded(channels=3)
    del arrays["point_cloud"]
    arrays["depth"], hand = np.full((23, 8, 10), 0.5), np.tile(np.eye(4), (23, 1, 1))
    hand[:, 0, 3] = np.arange(23)
    arrays["hand"] = hand.reshape(23, 16)
    write_npz(tmp_path / "d.npz", arrays)
    mount = POSE.copy()
    mount[:3, 3] = (0.2, 0, 0)
    line = ("prepare", "own", tmp_path / "d.npz", "--hz", 5, "--points", 32, *INTRINSICS)
    line += ("--set", "format.depth=depth", "--set", "format.pose=hand")
    done = omp(*line, "--set", f"camera.pose={mount.tolist()}", "--out", tmp_path / "a")
    assert done.code == 0, done.err
    x = read_store(tmp_path / "a").arrays["point_cloud"][:, :, 0]
    np.testing.assert_allclose(x, np.repeat(0.7 + np.arange(23)[:, None], 32, axis=1), atol=1e-5)
    refused(omp(*line, "--set", "format.depth=[]", "--points", 8), 2, "format.pose", "format.depth")
    for wrong, words in ((2.0, "no rotation"), (np.nan, "not finite")):
        write_npz(tmp_path / "d.npz", {**arrays, "hand": arrays["hand"] * [wrong, *[1] * 15]})
        refused(omp(*line), 3, "d.npz: episode 0, frame 0: the pose", words)
    write_npz(tmp_path / "d.npz", {**arrays, "hand": arrays["hand"][:, :7]})
    refused(omp(*line), 3, "hand is (23, 7)", "expected poses (T, 4, 4)")


def test_an_episode_that_is_not_finite_can_be_left_out(omp: Omp, tmp_path: Path) -> None:
    """Episodes keep the numbers that they have in the file, whatever is left out before them."""
    arrays = recorded(channels=3)
    arrays["state"][10, 1] = arrays["action"][3, 0] = np.nan
    path = write_npz(tmp_path / "d.npz", arrays)
    line = ("prepare", "own", path, "--hz", 5, "--out", tmp_path / "d")
    refused(omp(*line), 3, "episode 0 has values of action", "--set leave_out=0")
    refused(omp(*line, "--set", "leave_out=0"), 3, "episode 1 has values of state", "--set leave_out=0,1")
    done = omp(*line, "--set", "leave_out=0,1", "--json")
    assert done.code == 0, done.err
    assert "left out of 3 episodes, as leave_out says: 0, 1" in done.json["result"]["said"]
    np.testing.assert_array_equal(read_store(tmp_path / "d").arrays["state"], arrays["state"][15:])
    for out, words in (("0,1,2", "no episode is left of 3"), ("3", "there is no episode 3"), ("1,1", "named twice")):
        refused(omp(*line[:-1], tmp_path / "e", "--set", f"leave_out={out}"), 2, "leave_out", words)
    crop = ("--points", 8, "--crop", "5,5,5,6,6,6", "--set", "leave_out=0")
    refused(omp(*line[:-1], tmp_path / "e", *crop), 3, "episode 1, frame 0: 0 points are left")


def test_a_file_that_is_damaged_can_be_left_out(omp: Omp, tmp_path: Path) -> None:
    written = write_aloha(tmp_path / "cup")
    for number in (0, 2):
        (tmp_path / "cup" / f"episode_{number}.hdf5").write_bytes(b"nothing")
    line = ("prepare", "own", tmp_path / "cup", "--task", "fold", "--hz", 50, "--out", tmp_path / "d")
    refused(omp(*line), 3, "episode_0.hdf5", "--set leave_out=0")
    done = omp(*line, "--set", "leave_out=0,2")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(read_store(tmp_path / "d").arrays["action"], written[1]["action"])


def test_what_is_held_out_stays_so_where_episodes_are_left_out(omp: Omp, tmp_path: Path) -> None:
    formats.write_robomimic(tmp_path / "c.hdf5", (4, 3, 5))
    line = ("prepare", "own", tmp_path / "c.hdf5", "--out", tmp_path / "d", "--set")
    assert omp(*line, "leave_out=0").code == 0
    data = read_store(tmp_path / "d")
    assert (data.held_out, data.episode_ends.tolist()) == ((1,), [3, 8])
    refused(omp(*line[:4], tmp_path / "e", "--set", "leave_out=0,1"), 2, "no episode that is not held out is left of 3")


def test_a_camera_that_cannot_be_is_refused() -> None:
    for said, words in (
        ({"intrinsics": [0, 10, 4, 4]}, "fx and fy above 0"),
        ({"intrinsics": [10, 10, 4]}, "expected fx, fy, cx, cy"),
        ({"pose": [1, 2, 3]}, "expected 16 numbers"),
        ({"pose": np.diag([2.0, 1, 1, 1]).tolist()}, "is no rotation"),
        ({"pose": np.diag([-1.0, 1, 1, 1]).tolist()}, "is no rotation"),
    ):
        with pytest.raises(UsageError, match=words):
            validated(CameraConfig, said)


def test_points_that_are_not_finite_are_left_out_and_counted() -> None:
    clouds = np.random.default_rng(0).normal(size=(3, 20, 3)).astype(np.float32)
    clouds[1, :4] = np.nan
    episodes = [{"action": np.zeros((3, 1), np.float32), "point_cloud": clouds}]
    made, in_order, said = with_clouds(episodes, None, None, CameraConfig(), Silent())
    assert in_order
    assert np.isfinite(made[0]["point_cloud"]).all()
    assert any("4 points of the clouds are not finite" in s for s in said)
    assert any("1 of 3 frames have fewer points than that: 4 in all" in s for s in said)
    kept, in_order, said = with_clouds([{**episodes[0], "point_cloud": clouds[:1]}], 20, None, CameraConfig(), Silent())
    assert kept[0]["point_cloud"] is not None
    assert (in_order, said) == (False, []), "as they are"
    clouds[2, 5:] = np.inf
    with pytest.raises(DataError, match="episode 0, frame 2: 5 points are left"):
        with_clouds(episodes, None, None, CameraConfig(), Silent())


def test_a_store_of_single_frames_is_told_of_before_training(omp: Omp, tmp_path: Path) -> None:
    """``omp prepare`` refuses such files; a store that an earlier omp has made of one stays readable."""
    spec = {"suite": "own", "task": "t", "action_dim": 1, "state_dim": 2, "max_steps": 1, "control_hz": 1.0}
    episodes = [{"state": np.full((1, 2), i, np.float32), "action": np.zeros((1, 1), np.float32)} for i in range(6)]
    write_store(tmp_path / "d" / STORE, episodes, {"spec": spec, "recipe": {"suite": {"name": "own"}}})
    shown = omp("pretrain", tmp_path / "d", "--preset", "dmpo-state", "--dry-run")
    assert shown.code == 0, shown.err
    assert "each of its episodes has one frame" in " ".join(shown.err.split())
