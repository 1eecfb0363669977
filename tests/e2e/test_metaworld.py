"""The card's three lines on the real simulator, as small as they get."""

import json
from pathlib import Path

import pytest

from omp_cli.core.data.store import read_store
from tests.conftest import TINY, Omp


def test_prepare_pretrain_eval_on_meta_world(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = ("prepare", "metaworld", "--points", "512", "--task", "handle-press", "--demos", 1, "--workers", 1)
    prepared = omp(*line, "--json").json
    assert prepared["result"]["ms_per_frame"].keys() == {"rays", "crop", "fps", "physics"}
    data = read_store(Path(prepared["run_dir"]))
    assert data.arrays["point_cloud"].shape[1:] == (512, 3)
    assert data.provenance["environment"]["camera"]
    assert omp("pretrain", "--derivative", "dde", "--steps", 5, *TINY).code == 0
    tested = omp("eval", "--episodes", 2, "--workers", 2, "--max-steps", 7, "--video", "--json")
    assert tested.code == 0, tested.err
    rows = [json.loads(text) for text in Path(tested.json["run_dir"], "episodes.jsonl").read_text().splitlines()]
    assert [row["steps"] for row in rows] == [7, 7]
    assert not {row["start_state"] for row in rows} & set(data.provenance["start_states"])
    assert Path(tested.json["run_dir"], "video.mp4").stat().st_size > 2000


def test_dp3_frame_needs_the_world_origin(omp: Omp, tmp_path: Path) -> None:
    line = ("prepare", "metaworld", "--task", "handle-press", "--demos", 1, "--frame", "dp3", "--raw-actions")
    assert omp(*line, "--workers", 1, "--out", tmp_path / "d").code == 0
    train = ("pretrain", tmp_path / "d", "--steps", 2, *TINY, "--out", tmp_path / "r")
    refused = omp(*train)
    assert refused.code == 2
    assert "world frame" in refused.err
    assert omp(*train, "--set", "encoder.origin=world").code == 0
