"""Recorded operators: robomimic's own tools read the file, its playback repeats the episodes, omp trains on it."""

import contextlib
import importlib.util
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from omp_cli.core.base.files import seal_of
from omp_cli.core.base.layers import Layer
from omp_cli.core.base.progress import Silent
from omp_cli.core.base.run import Run
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.data.store import read_store
from omp_cli.core.prepare.source import Origin
from omp_cli.core.suites.robomimic import scripted
from omp_cli.core.suites.robomimic.scripted import Scripted, ScriptedConfig, ScriptedFilesConfig
from tests.cli.test_bad_input import refused
from tests.conftest import Omp, in_process

real = pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")
LINE = ("prepare", "robomimic", "--task", "lift", "--source", "scripted", "--demos", 2, "--after-success", 3)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the cache of two clean demonstrations of lift, and the data set made of them."""
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_CLI_CACHE", str(folder / "cache"))
        in_process(folder, *LINE, "--workers", 1)
    return folder


def hdf5(folder: Path) -> Path:
    return next((folder / "cache" / "robomimic" / "lift").rglob("*.hdf5"))


def record(config: ScriptedConfig, folder: Path) -> Path:
    """The recorded file, made if it is not there."""
    files = ScriptedFilesConfig.model_validate(
        {"suite": "robomimic", "format": {"name": "robomimic"}, "record": config}
    )
    source = Scripted(files, Origin("robomimic", config.task, Layer("argument", {})))
    with Run(folder, "prepare", {}, {}) as run:
        source.begin(run, 1, Silent(), Stopwatch())
    return config.file


def test_what_goes_wrong_is_one_line(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_CLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "robosuite", None)
    refused(omp(*LINE), 4, "robosuite is not installed", "pip install")
    refused(omp("prepare", "robomimic", "--source", "scripted", "--task", "lifd"), 2, "lift")
    noisy = omp("prepare", "robomimic", "--source", "scripted-noisy", "--task", "transport")
    refused(noisy, 2, "noisy operator of transport", "700 steps", "--source scripted")
    refused(omp(*LINE, "--task", "can"), 2, "one task")
    refused(omp(*LINE, "--quality", "medium"), 2, "--quality")
    refused(omp(*LINE, "--set", "record.size=3"), 2, "size")
    shown = omp(*LINE, "--dry-run", "--json").json
    assert shown["config"]["record.operator"] == {"value": "clean", "source": "argument"}
    assert shown["config"]["record.demos"] == {"value": 2, "source": "flag"}
    assert list(tmp_path.iterdir()) == []


def test_names_hold_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = ScriptedConfig()
    assert usual.source == "scripted-d100-s0"
    changes: list[dict[str, Any]] = [{"operator": "noisy"}, {"demos": 3}, {"cameras": ["agentview"]}, {"cameras": []}]
    changes += [{"image_size": 64}, {"after_success": 0}, {"seed": 1}, {"task": "can"}]
    assert len({usual.file, *(ScriptedConfig.model_validate(change).file for change in changes)}) == 9
    before = usual.file
    monkeypatch.setitem(scripted.OPERATORS, "clean", scripted.OPERATORS["noisy"])
    assert usual.file != before, "what another clean operator recorded is not used"


@real
def test_the_data_set(recorded: Path) -> None:
    data = read_store(next((recorded / "data" / "robomimic").iterdir()))
    assert data.spec.image == (96, 96, 3)
    assert data.arrays["img"].dtype == np.uint8
    assert data.provenance["success_share"] == 1.0
    assert data.provenance["rollout_suite"]["cameras"] == ["robot0_eye_in_hand"]
    assert data.provenance["environment"]["recorded"]["operator"] == "clean"
    assert data.provenance["reference"]["shape"] == [96, 96, 3]
    with h5py.File(hdf5(recorded)) as file:
        demo = file["data/demo_1"]
        steps = demo.attrs["num_samples"]
        np.testing.assert_array_equal(data.arrays["img"][-steps:], demo["obs/robot0_eye_in_hand_image"])
        np.testing.assert_allclose(data.arrays["state"][-steps:, :3], demo["obs/robot0_eef_pos"], atol=1e-6)
        np.testing.assert_allclose(data.arrays["action"][-steps:], demo["actions"], atol=1e-6)
        assert demo["rewards"][-1] == 1


@real
def test_an_interrupted_recording_continues_and_gives_the_same_file(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_CLI_CACHE", str(tmp_path / "cache"))
    written = scripted._write

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    config = ScriptedConfig(demos=2, after_success=3)
    monkeypatch.setattr(scripted, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        record(config, tmp_path / "run")
    monkeypatch.setattr(scripted, "_write", written)
    monkeypatch.setattr(scripted, "make_expert", None)  # nothing is rolled out again
    file = record(config, tmp_path / "run")
    assert [p.name for p in file.parent.iterdir()] == [file.name], "no episodes are left behind"
    with h5py.File(file) as ours, h5py.File(hdf5(recorded)) as theirs:
        for name in ("actions", "states", "rewards", "obs/robot0_eye_in_hand_image"):
            np.testing.assert_array_equal(ours[f"data/demo_0/{name}"], theirs[f"data/demo_0/{name}"])


@real
def test_robomimic_reads_it(recorded: Path) -> None:
    pytest.importorskip("robomimic")
    from robomimic.scripts.get_dataset_info import __file__ as info
    from robomimic.utils.dataset import SequenceDataset
    from robomimic.utils.obs_utils import initialize_obs_utils_with_obs_specs

    keys = ["robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"]
    initialize_obs_utils_with_obs_specs({"obs": {"low_dim": keys, "rgb": []}})
    with contextlib.redirect_stdout(io.StringIO()):
        windows = SequenceDataset(
            str(hdf5(recorded)), obs_keys=keys, dataset_keys=("actions", "rewards", "dones"), seq_length=4,
            frame_stack=2, filter_by_attribute="train", load_next_obs=True,
        )  # fmt: skip
    data = read_store(next((recorded / "data" / "robomimic").iterdir()))
    assert len(windows) == data.episode_ends[-1], "both of the two are in train"
    np.testing.assert_allclose(windows[0]["actions"][1:], data.arrays["action"][:4], atol=1e-6)
    shown = io.StringIO()
    arguments = sys.argv
    sys.argv = ["get_dataset_info", "--dataset", str(hdf5(recorded))]
    try:
        with contextlib.redirect_stdout(shown):
            exec(compile(Path(info).read_text(), info, "exec"), {"__name__": "__main__"})
    finally:
        sys.argv = arguments
    assert f"total transitions: {data.episode_ends[-1]}" in shown.getvalue()
    assert "total trajectories: 2" in shown.getvalue()


@real
@pytest.mark.usefixtures("robomimic_envs")
def test_robomimics_playback_repeats_it(recorded: Path) -> None:
    """Its environment, built from the file's metadata, set to the file's first state and driven by its actions."""
    from robomimic.utils.env_utils import create_env_from_metadata

    with h5py.File(hdf5(recorded)) as file, contextlib.redirect_stdout(io.StringIO()):
        metadata = json.loads(file["data"].attrs["env_args"])
        for name in ("camera_names", "camera_heights", "camera_widths", "has_offscreen_renderer", "use_camera_obs"):
            metadata["env_kwargs"].pop(name)
        env = create_env_from_metadata(metadata, render=False, render_offscreen=False, use_image_obs=False)
        demo = file["data/demo_1"]
        env.reset_to({"states": demo["states"][0], "model": demo.attrs["model_file"]})
        for index, action in enumerate(demo["actions"][:]):
            np.testing.assert_array_equal(env.get_state()["states"], demo["states"][index])
            env.step(action)
        assert env.is_success()["task"]


@real
def test_raw_states_are_replayed_to_the_same_data(recorded: Path, omp: Omp, tmp_path: Path) -> None:
    """What robomimic publishes as "demo" files: states and actions alone."""
    raw = tmp_path / "demo_v141.hdf5"
    with h5py.File(hdf5(recorded)) as file, h5py.File(raw, "w") as copy:
        copy.create_group("data").attrs["env_args"] = file["data"].attrs["env_args"]
        for name in ("demo_0", "demo_1"):
            group = copy.create_group(f"data/{name}")
            group.attrs["model_file"] = file[f"data/{name}"].attrs["model_file"]
            for key in ("states", "actions"):
                group[key] = file[f"data/{name}/{key}"][()]
    done = omp("prepare", "robomimic", "--file", raw, "--workers", 1, "--out", tmp_path / "d", "--json")
    assert done.code == 0, done.err
    ours, theirs = read_store(tmp_path / "d"), read_store(next((recorded / "data" / "robomimic").iterdir()))
    assert ours.arrays.keys() == theirs.arrays.keys()
    for name in ("img", "action", "success", "reward", "terminal"):
        np.testing.assert_array_equal(ours.arrays[name], theirs.arrays[name], err_msg=name)
    np.testing.assert_allclose(ours.arrays["state"], theirs.arrays["state"], atol=1e-6)
    assert ours.provenance["rollout_suite"] == theirs.provenance["rollout_suite"]
    assert ours.provenance["start_states"] == theirs.provenance["start_states"]


@real
def test_upside_down_pictures_are_refused_in_data_and_in_evaluation(
    recorded: Path, omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = tmp_path / "flipped.hdf5"
    wrong.write_bytes(hdf5(recorded).read_bytes())
    with h5py.File(wrong, "a") as file:
        for name in ("demo_0", "demo_1"):
            pictures = file[f"data/{name}/obs/robot0_eye_in_hand_image"]
            pictures[...] = pictures[()][:, ::-1]
    line = ("prepare", "robomimic", "--file", wrong, "--out", tmp_path / "d")
    refused(omp(*line), 3, "upside down")
    assert omp(*line, "--set", "check_pictures=false").code == 0
    assert "reference" not in read_store(tmp_path / "d").provenance

    data = next((recorded / "data" / "robomimic").iterdir())
    line = ("pretrain", data, "--preset", "dmpo", "--steps", 2, "--batch-size", 4, "--out", tmp_path / "run")
    assert omp(*line, "--set", "encoder.width=16", "--set", "net.hidden=32").code == 0
    evaluate = ("eval", tmp_path / "run", "--episodes", 1, "--max-steps", 8, "--workers", 1)
    done = omp(*evaluate, "--nfe", 2, "--json")
    assert done.code == 0, done.err
    assert done.json["result"]["success_any"]["episodes"] == 1
    alone = Path(shutil.copytree(next((tmp_path / "run" / "checkpoints").iterdir()), tmp_path / "alone"))
    document = json.loads((alone / "policy.json").read_text())
    document["suite"]["cameras"] = ["agentview"]
    (alone / "policy.json").write_text(json.dumps({**document, "seal": seal_of(document)}))
    evaluate = ("eval", alone, *evaluate[2:])
    refused(omp(*evaluate), 3, "another camera")
