"""Files that are to be one data set are alike, and what they do not have alike is one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.core.data.store import read_store
from tests.cli.test_bad_input import refused
from tests.conftest import Omp
from tests.data.arrays import recorded, write_npz, write_zarr
from tests.data.lerobot import write_lerobot
from tests.prepare.test_joined import days, said, session

UNLIKE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "shape": ({"action": np.zeros((23, 2), np.float32)}, ("its action is (2,) float32, that one's is (3,) float32",)),
    "picture": ({"img": np.zeros((23, 16, 16, 3), np.uint8)}, ("its img is (16, 16, 3) uint8",)),
    "rate": ({"timestamp": np.arange(23) / 15}, ("its rate is 15 Hz, that one has none", "--hz 30")),
    "points": ({"point_cloud": np.zeros((23, 20, 3), np.float32)}, ("its point_cloud is (20, 3)", "--points 512")),
}


@pytest.mark.parametrize("what", UNLIKE)
def test_what_files_do_not_have_alike_is_one_line_before_anything_is_hashed(
    what: str, omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays, words = UNLIKE[what]
    (monday,) = days(tmp_path, "monday")
    tuesday = write_zarr(tmp_path / "tuesday.zarr", session(1, **arrays))
    monkeypatch.setattr("omp_cli.core.prepare.files.sha256_of", None)
    rate = () if what == "rate" else ("--hz", 30)
    ran = omp("prepare", "own", monday, tuesday, *rate, "--out", tmp_path / "d")
    refused(ran, 3, f"{tuesday}: not as {monday}: ", *words)


def test_what_the_line_says_need_not_be_alike(omp: Omp, tmp_path: Path) -> None:
    (monday,) = days(tmp_path, "monday")
    more = {"timestamp": np.arange(23) / 15, "point_cloud": recorded(points=50, channels=3)["point_cloud"]}
    tuesday = write_zarr(tmp_path / "tuesday.zarr", session(1, **more))
    line = ("prepare", "own", monday, tuesday, "--hz", 30, "--points", 8)
    done = omp(*line, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    told = "the files say other rates, and --hz counts for all: monday.zarr none, tuesday.zarr 15 Hz"
    assert told in said(done.out)
    assert "tuesday.zarr: timestamp: 15 Hz" in said(done.out), "it is said of one file alone"
    assert read_store(tmp_path / "d").spec.points == 8


def test_names_of_motors_have_to_be_alike_unless_the_line_says_them(omp: Omp, tmp_path: Path) -> None:
    for name, seed in (("so1", 0), ("so2", 1)):
        write_lerobot(tmp_path / name)
        info = tmp_path / name / "meta" / "info.json"
        document = json.loads(info.read_text())
        document["features"]["action"]["names"] = [f"joint_{place + seed}" for place in range(7)]
        info.write_text(json.dumps(document))
    line = ("prepare", "own", tmp_path / "so1", tmp_path / "so2", "--set", "format.cameras=[]", "--out", tmp_path / "d")
    refused(omp(*line), 3, "so2", "its name of action[0] is joint_1, that one's is joint_0", "action_names=")
    assert omp(*line, "--set", "action_names=a,b,c,d,e,f,g").code == 0


def test_files_of_several_formats_are_refused(omp: Omp, tmp_path: Path) -> None:
    (monday,) = days(tmp_path, "monday")
    other = write_npz(tmp_path / "d.npz", recorded(channels=3))
    refused(omp("prepare", "own", monday, other, "--hz", 30), 3, f"{other}: of format arrays, {monday} of zarr")
    refused(omp("prepare", "own", monday, "--file", other, "--hz", 30), 2, "two files")
