"""From files to data set folders: content, figures, kept and refused ones, interruptions."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.progress import Silent
from omp_cli.core.base.run import Run
from omp_cli.core.data.catalogue import read_catalogue
from omp_cli.core.data.store import STORE, read_store, start_hash
from omp_cli.core.prepare import build as building
from omp_cli.core.prepare import files
from omp_cli.core.prepare.build import build
from omp_cli.core.prepare.choose import source_for
from omp_cli.core.prepare.files import Files
from omp_cli.core.prepare.files_config import FilesConfig
from omp_cli.core.prepare.origin import from_catalogue, from_files, of_made
from omp_cli.core.prepare.source import Asked
from omp_cli.core.suites.adroit.shown import Shown
from omp_cli.core.suites.adroit.shown import _said as said_of_shown
from tests.conftest import Omp
from tests.data.formats import write_d4rl, write_minari, write_npz, write_robomimic


def make(
    folder: Path, file: Path, suite: str = "robomimic", task: str | None = None, forced: str | None = None, **more: Any
) -> dict[str, Any]:
    origin = from_files(read_catalogue(), suite, task, None, [file], forced)
    values = {"suite": suite, "task": origin.subject.task, "source": origin.source, "check_pictures": False, **more}
    kind = source_for(Asked(suite, files=(file,)))
    config = kind.Config.model_validate({**values, "format": {"name": origin.format, **more.get("format", {})}})
    with Run(folder, "prepare", {}, {}) as run:
        return build(run, kind(config, origin), 1, Silent())


def test_a_robomimic_file_becomes_a_data_set(tmp_path: Path) -> None:
    demos = write_robomimic(tmp_path / "c.hdf5", cameras=("agentview", "robot0_eye_in_hand"), success=False)
    figures = make(tmp_path / "d", tmp_path / "c.hdf5")
    data = read_store(tmp_path / "d")
    assert figures["content_sha256"] == data.sha256
    assert (figures["demos"], figures["frames"], figures["image"]) == (11, 85, [16, 16, 6])
    assert figures["returns"] == {"mean": round(2 / 11, 3), "min": 0.0, "max": 2.0}
    assert figures["success_share"] == round(1 / 11, 4)
    assert figures["action_range"][0] >= -1
    assert data.episode_ends.tolist() == np.cumsum([len(d["actions"]) for d in demos]).tolist()
    assert set(data.arrays) == {"state", "action", "img", "reward", "success", "terminal"}
    recipe = data.provenance["recipe"]
    assert recipe["suite"] == {"name": "robomimic"}
    assert (recipe["task"], recipe["format"]["name"]) == ("can", "robomimic")
    assert data.provenance["start_states"] == [start_hash(d["states"][0]) for d in demos]
    assert data.provenance["files"][0]["sha256"] == recipe["files"]["c.hdf5"]
    assert data.provenance["environment"]["env_name"] == "PickPlaceCan"
    assert data.provenance["task_by"] == "file"
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert manifest["inputs"][0]["sha256"] == recipe["files"]["c.hdf5"]
    assert [a["path"] for a in manifest["artifacts"]] == [STORE, "contact_sheet.png"]
    assert (tmp_path / "d" / "contact_sheet.png").stat().st_size > 5_000


def test_pictures_lie_in_small_chunks(tmp_path: Path) -> None:
    write_robomimic(tmp_path / "c.hdf5", cameras=("agentview",))
    make(tmp_path / "d", tmp_path / "c.hdf5")
    chunks = {
        name: json.loads((tmp_path / "d" / STORE / "data" / name / ".zarray").read_text())["chunks"]
        for name in ("img", "state")
    }
    assert chunks == {"img": [8, 16, 16, 3], "state": [85, 9]}


def test_the_same_file_twice_is_the_same_content_and_a_finished_set_is_kept(tmp_path: Path) -> None:
    write_robomimic(tmp_path / "c.hdf5")
    first = make(tmp_path / "a", tmp_path / "c.hdf5")
    other = make(tmp_path / "b", tmp_path / "c.hdf5")
    again = make(tmp_path / "a", tmp_path / "c.hdf5")
    assert first["content_sha256"] == other["content_sha256"] == again["content_sha256"]
    assert (first["reused"], again["reused"]) == (False, True)
    assert not (tmp_path / "a" / "contact_sheet.png").exists()
    with pytest.raises(UsageError, match="made with demos not set, asked for 3"):
        make(tmp_path / "a", tmp_path / "c.hdf5", demos=3)
    with h5py.File(tmp_path / "c.hdf5", "a") as file:
        file["data/demo_0/actions"][0, 0] = 0.125
    with pytest.raises(UsageError, match=r"files.c.hdf5"):
        make(tmp_path / "a", tmp_path / "c.hdf5")
    assert make(tmp_path / "c", tmp_path / "c.hdf5")["content_sha256"] != first["content_sha256"]


def test_an_interrupted_one_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_robomimic(tmp_path / "c.hdf5")
    honest = building.write_store

    def killed(path: Path, *rest: Any) -> str:
        (path.parent / ".demos.99999.tmp.zarr").mkdir()  # as a kill in the middle of writing leaves it
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "write_store", killed)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "a", tmp_path / "c.hdf5")
    assert json.loads((tmp_path / "a" / "manifest.json").read_text())["status"] == "interrupted"
    with pytest.raises(DataError):
        read_store(tmp_path / "a")
    monkeypatch.setattr(building, "write_store", honest)
    assert make(tmp_path / "a", tmp_path / "c.hdf5")["reused"] is False
    assert {p.name for p in (tmp_path / "a").iterdir()} == {STORE, "manifest.json"}
    read_store(tmp_path / "a")


def test_folders_and_file_names_say_what_they_are(tmp_path: Path) -> None:
    write_npz(tmp_path / "npz")
    npz = make(tmp_path / "a", tmp_path / "npz", "gym", "walker2d-medium")
    assert (npz["format"], npz["demos"], npz["success_share"]) == ("npz", 3, None)
    assert {"train.npz", "normalization.npz"} == set(read_store(tmp_path / "a").provenance["recipe"]["files"])
    write_minari(tmp_path / "minari" / "data")
    minari = make(tmp_path / "b", tmp_path / "minari", "kitchen", "mixed")
    assert (minari["format"], minari["state_dim"]) == ("minari", 59)
    assert read_store(tmp_path / "b").provenance["environment"]["dataset_id"] == "D4RL/kitchen/mixed-v2"
    write_d4rl(tmp_path / "walker2d_medium-v2.hdf5")
    named = make(tmp_path / "c", tmp_path / "walker2d_medium-v2.hdf5", "gym")
    assert (named["task"], named["format"]) == ("walker2d-medium", "d4rl")
    (tmp_path / "lerobot" / "meta").mkdir(parents=True)
    (tmp_path / "lerobot" / "meta" / "info.json").touch()
    with pytest.raises(DataError, match="LeRobot"):
        make(tmp_path / "d", tmp_path / "lerobot")
    with pytest.raises(DataError, match="none of"):
        make(tmp_path / "d", tmp_path / "lerobot" / "meta")


def test_what_is_left_out_or_not_clipped_is_in_output_and_manifest(tmp_path: Path, omp: Omp) -> None:
    write_d4rl(tmp_path / "h.hdf5")
    with h5py.File(tmp_path / "h.hdf5", "a") as file:
        file["actions"][:3, 0] = 1.5
        file["actions"][24, 0] = 9.0  # in the open tail
    line = ("prepare", "gym", "--task", "hopper-medium", "--file", tmp_path / "h.hdf5", "--out", tmp_path / "d")
    tail = "the last 4 of 25 frames are left out: their episode does not end in the file"
    actions = "actions of hopper-medium reach 1.5: so will a policy; simulators clip to [-1, 1]; 3 of 63 values"
    for _ in ("made", "kept"):
        done = omp(*line)
        assert done.code == 0, done.err
        plain = " ".join(done.out.split())
        assert f"hopper-medium: {tail}" in plain
        assert actions in plain
    metrics = json.loads((tmp_path / "d" / "manifest.json").read_text())["metrics"]
    assert [sentence.startswith(tail) for sentence in metrics["said"]] == [True, False]
    assert metrics["said"][1] == "left out: infos/action_log_probs (25,), metadata/algorithm ()"
    assert (metrics["actions_beyond_one"], metrics["action_values"]) == (3, 63)
    first = omp(*line[:-1], tmp_path / "e", "--demos", 1)
    assert "are left out" not in first.out, "the tail is not among the episodes asked for"


def test_left_out_and_filled_are_said_of_what_is_shown_anew() -> None:
    state = np.zeros(3)
    kept = [Shown({}, {}, state, 0.0, {}, 40, 2), Shown({}, {}, state, 0.0, {}, 2, 1)]
    left, filled = said_of_shown(25, kept)
    assert left.startswith("23 of 25 episodes are left out: at the goal for fewer than 10 actions;")
    assert "keep_failures=true takes all" in left
    assert filled == "clouds of 3 frames had too few points: 42 in all are repetitions of others"
    assert said_of_shown(1, [Shown({}, {}, state, 0.0)]) == []


def test_an_error_of_the_metadata_names_the_file(tmp_path: Path) -> None:
    controller = {"type": "OSC_POSE", "kp": "stiff"}
    env = {"env_name": "PickPlaceCan", "env_kwargs": {"controller_configs": controller}}
    write_robomimic(tmp_path / "c.hdf5", (5, 6), env=env)
    with pytest.raises(DataError, match=r"c\.hdf5: the controller in the data's metadata: kp"):
        make(tmp_path / "d", tmp_path / "c.hdf5")


def test_an_error_about_a_file_of_the_working_folder_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the rest of the message has a full stop, which is that folder's name."""
    controller = {"type": "OSC_POSE", "kp": "v1.0"}
    env = {"env_name": "PickPlaceCan", "env_kwargs": {"controller_configs": controller}}
    monkeypatch.chdir(tmp_path)
    write_robomimic(Path("c.hdf5"), (5, 6), env=env)
    with pytest.raises(DataError, match=r"^c\.hdf5: the controller in the data's metadata: kp"):
        make(tmp_path / "d", Path("c.hdf5"))


def test_what_a_store_must_not_hold_is_refused_in_the_name_of_the_file(tmp_path: Path) -> None:
    write_robomimic(tmp_path / "c.hdf5")
    with h5py.File(tmp_path / "c.hdf5", "a") as file:
        file["data/demo_2/actions"][1, 0] = np.nan
    with pytest.raises(
        DataError, match=r"c.hdf5: episode 2 has values of action that are not finite, first at its frame 1"
    ):
        make(tmp_path / "d", tmp_path / "c.hdf5")
    write_robomimic(tmp_path / "c.hdf5")
    with h5py.File(tmp_path / "c.hdf5", "a") as file:
        del file["data/demo_2/actions"]
        file["data/demo_2/actions"] = np.zeros((7, 6))
    with pytest.raises(DataError, match="episode 2 has action of another shape"):
        make(tmp_path / "d", tmp_path / "c.hdf5")
    assert not (tmp_path / "d" / STORE).exists()


def test_episodes_of_one_frame_are_told_of(tmp_path: Path) -> None:
    write_robomimic(tmp_path / "c.hdf5", (1, 1, 1))
    with pytest.raises(DataError, match=r"c\.hdf5: each of its 3 episodes has one frame") as refused:
        make(tmp_path / "d", tmp_path / "c.hdf5")
    assert "where the episodes end" in str(refused.value.hint)
    write_robomimic(tmp_path / "c.hdf5", (5, 1, 6))
    figures = make(tmp_path / "d", tmp_path / "c.hdf5")
    assert "1 of 3 episodes have one frame alone" in figures["said"]


def test_fewer_episodes_than_asked_for_are_told_of(tmp_path: Path) -> None:
    write_robomimic(tmp_path / "c.hdf5", (5, 6))
    said = make(tmp_path / "d", tmp_path / "c.hdf5", demos=9)["said"]
    assert "--demos 9 asks for more episodes than there are to take: 2" in said


def test_an_environment_that_does_not_fit_is_refused_before_files_are_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_d4rl(tmp_path / "h.hdf5")
    monkeypatch.setattr(files, "sha256_of", None)
    with pytest.raises(UsageError, match="not one of its robot"):
        make(tmp_path / "d", tmp_path / "h.hdf5", "gym", "hopper-medium", environment="ant-v4")


def test_a_forced_format_says_what_the_file_lacks(tmp_path: Path) -> None:
    write_d4rl(tmp_path / "f.hdf5")
    with pytest.raises(DataError, match=r"no data/demo_<number> in it; it holds: actions, infos/ \(action_log_probs\)"):
        make(tmp_path / "d", tmp_path / "f.hdf5", "robomimic", "can", forced="robomimic")
    with pytest.raises(UsageError, match="unknown format 'd5rl'"):
        make(tmp_path / "d", tmp_path / "f.hdf5", "gym", forced="d5rl")


def test_names_tell_usual_from_unusual() -> None:
    def name(**more: Any) -> str:
        format_ = {"name": "robomimic", **more.pop("format", {})}
        config = FilesConfig(suite="robomimic", task="can", source="ph", format=format_, **more)
        return Files(config, of_made("robomimic", "can", "ph", "robomimic", Path("can.hdf5"))).folder_name

    assert name() == name(download={"tries": 9}) == "can-ph"
    assert name(demos=5) == "can-ph-d5"
    assert name(format={"filter": "train"}).startswith("can-ph-")
    assert name(format={"filter": "train"}) != name(format={"object_state": True})


def test_sets_that_cannot_be_fetched_say_why() -> None:
    catalogue = read_catalogue()
    with pytest.raises(DataError, match=r"fetched by hand: train.npz and normalization.npz from https://drive"):
        from_catalogue(catalogue, "robomimic", "lift", "dppo-img")
    with pytest.raises(UsageError, match="without observations"):
        from_catalogue(catalogue, "robomimic", "lift", "ph-raw")
    mh = from_catalogue(catalogue, "robomimic", "can", "mh")
    assert (mh.subject.facts.max_steps, mh.task_by) == (500, "asked for")
