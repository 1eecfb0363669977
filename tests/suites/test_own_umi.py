"""Recordings without commands, as UMI's are: the pose that follows is the action, and pictures are JPEG XL."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numcodecs.registry import codec_registry

from omp_cli.core.data.store import read_store
from omp_cli.core.spec import Rotation
from tests.cli.test_bad_input import refused
from tests.conftest import Omp
from tests.data.arrays import LENGTHS, packed, recorded, write_npz, write_umi

pytest.importorskip("imagecodecs", reason="needs the extra umi")
POSE = '["robot0_eef_pos", "robot0_eef_rot_axis_angle", "robot0_gripper_width"]'
LINE = ("--task", "cup", "--hz", 60, "--set", f"format.state={POSE}", "--set", f"format.action={POSE}")
LINE += ("--set", "format.img=camera0_rgb", "--set", "state_rotations=3:axis-angle")
LINE += ("--set", "action_rotations=3:axis-angle", "--set", "action_ahead=1")


def test_from_umis_store_to_a_policy(omp: Omp, tmp_path: Path) -> None:
    arrays = write_umi(tmp_path / "dataset.zarr")
    file = packed(tmp_path / "dataset.zarr", tmp_path / "dataset.zarr.zip")
    done = omp("prepare", "own", file, *LINE, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "actions: what is there in the next frame; left out: the last 1 of each episode" in said
    assert "half a turn" not in said
    data = read_store(tmp_path / "d")
    last = np.cumsum(LENGTHS) - 1
    kept = np.delete(np.arange(sum(LENGTHS)), last)
    pose = np.concatenate([arrays[f"robot0_{part}"] for part in ("eef_pos", "eef_rot_axis_angle", "gripper_width")], 1)
    np.testing.assert_array_equal(data.arrays["state"], pose[kept])
    np.testing.assert_array_equal(data.arrays["action"], pose[kept + 1])
    np.testing.assert_array_equal(data.arrays["img"], arrays["camera0_rgb"][kept])
    assert data.episode_ends.tolist() == (np.cumsum(LENGTHS) - np.arange(1, len(LENGTHS) + 1)).tolist()
    assert data.spec.action_rotations == data.spec.state_rotations == (Rotation(first=3, kind="axis-angle"),)
    parts = ("--preset", "dmpo-state", "--steps", 2, "--batch-size", 4, "--set", "train.warmup_steps=0")
    parts += ("--set", "chunk.relative=0:pose", "--set", "chunk.relative_state=robot0_eef_pos[0]:pose")
    assert omp("pretrain", tmp_path / "d", *parts, "--out", tmp_path / "run").code == 0


def test_without_imagecodecs_the_line_that_installs_it_is_named(
    omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_umi(tmp_path / "dataset.zarr")
    monkeypatch.delitem(codec_registry, "imagecodecs_jpegxl", raising=False)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    line = ("prepare", "own", tmp_path / "dataset.zarr", *LINE, "--out", tmp_path / "d")
    refused(omp(*line), 4, "data/camera0_rgb is packed with 'imagecodecs_jpegxl'", "pip install 'omp-cli[umi]'")


def test_what_ended_in_a_frame_that_is_left_out_ended_before_it(omp: Omp, tmp_path: Path) -> None:
    success = np.zeros(sum(LENGTHS), bool)
    success[[LENGTHS[0] - 1, LENGTHS[0] + 1]] = True
    write_npz(tmp_path / "d.npz", {key: recorded()[key] for key in ("state", "action")} | {"success": success})
    line = ("prepare", "own", tmp_path / "d.npz", "--task", "t", "--hz", 9)
    assert omp(*line, "--set", "action_ahead=3", "--out", tmp_path / "d").code == 0
    data = read_store(tmp_path / "d")
    assert data.episode_ends.tolist() == [6, 9, 14]
    assert np.flatnonzero(data.arrays["success"]).tolist() == [5, 7]
    np.testing.assert_array_equal(data.arrays["action"][:6], recorded()["action"][3:9])
    refused(
        omp(*line, "--set", "action_ahead=6", "--out", tmp_path / "e"),
        3,
        "episode 1 has 6 frames, and action_ahead is 6",
        "--set leave_out=1",
    )
