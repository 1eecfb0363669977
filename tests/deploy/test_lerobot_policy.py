"""A policy of omp in LeRobot: the folder, how LeRobot finds the policy, its own commands, and what does not fit."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import subprocess
import sys
import tomllib
import types
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import omp_cli as api
from omp_cli.core.base.errors import DataError, OmpError, UsageError
from omp_cli.core.base.manifest import check_artifacts, read_manifest
from omp_cli.core.deploy.lerobot.folder import PROCESSORS
from tests.cli.test_bad_input import refused
from tests.conftest import Omp, in_process
from tests.data.lerobot import write_lerobot

ROOT = Path(api.__file__).parents[1]
NAME = "lerobot_policy_omp"
JOINTS = [f"joint_{n}.pos" for n in range(6)]
MOTORS = [f"motor_{n}.pos" for n in range(7)]
CAMERAS = ("top", "wrist")
SIZE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of two cameras and six joints that sees two frames, trained for three steps, as LeRobot reads it."""
    pytest.importorskip("av")
    pytest.importorskip("pyarrow")
    work = tmp_path_factory.mktemp("lerobot")
    write_lerobot(work / "arm")
    info = work / "arm" / "meta" / "info.json"
    document = json.loads(info.read_text())
    document["features"]["observation.state"]["names"] = JOINTS
    document["features"]["action"]["names"] = {"motors": MOTORS}
    info.write_text(json.dumps(document))
    size = ("--set", f"format.size={SIZE}", "--set", "action_unit=deg")
    in_process(work, "prepare", "own", "arm", "--task", "lift", *size, "--out", "data")
    small = ("--set", "net.hidden=32", "--set", "chunk.n_obs=2", "--set", "chunk.horizon=6", "--batch-size", 4)
    in_process(work, "pretrain", "data", "--preset", "dmpo", "--steps", 3, *small, "--out", "run")
    in_process(work, "export", "run", "--format", "lerobot", "--out", "policy")
    return work / "policy"


def test_the_folder_says_what_the_policy_reads_and_answers(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    check_artifacts(folder, manifest)
    assert {a.path for a in manifest.artifacts} == {"config.json", "checkpoint", *PROCESSORS}
    document = json.loads((folder / "config.json").read_text())
    assert document["type"] == "omp"
    shapes = {key: (value["type"], value["shape"]) for key, value in document["input_features"].items()}
    cameras = {f"observation.images.{name}": ("VISUAL", [3, SIZE, SIZE]) for name in CAMERAS}
    assert shapes == {"observation.state": ("STATE", [6]), **cameras}
    assert document["output_features"] == {"action": {"type": "ACTION", "shape": [7]}}
    assert document["names"] == {"observation.state": JOINTS, "action": MOTORS}
    assert document["units"] == {"action": "deg"}
    assert (document["control_hz"], document["n_obs_steps"], document["nfe"]) == (10.0, 2, 1)
    assert not list((folder / "checkpoint").glob("training*")), "the optimiser stays at home"
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    assert api.load(moved / "checkpoint", device="cpu").signature.action_dim == 7


def test_an_export_for_lerobot_overwrites_its_own_alone(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    line = ("export", workshop / "run", "--format", "lerobot")
    assert omp(*line, "--out", tmp_path / "p").code == 0
    again = omp(*line, "--nfe", 3, "--weights", "raw", "--out", tmp_path / "p")
    assert again.code == 0, again.err
    assert f"lerobot-record --policy.path={tmp_path / 'p'}" in again.out.replace("\n", "")
    document = json.loads((tmp_path / "p" / "config.json").read_text())
    assert (document["nfe"], document["weights"]) == (3, "raw")
    assert document["input_features"]["observation.point_cloud"] == {"type": "STATE", "shape": [48, 3]}
    assert "names" not in document or not document["names"], "the suite defines them"
    for name in ("checkpoint", "config.json"):
        other = tmp_path / f"other-{name}"
        other.mkdir()
        (other / name).write_text('{"type": "act"}')
        refused(omp(*line, "--out", other), 2, f"holds another {name}", "--out DIR")
        assert (other / name).read_text() == '{"type": "act"}'
    refused(omp(*line, "--dynamic-batch", "--out", tmp_path / "q"), 2, "dynamic_batch does not count", "LeRobot")
    refused(omp(*line, "--set", "patience=9", "--out", tmp_path / "q"), 2, "patience does not count")
    assert not (tmp_path / "q").exists()


def test_the_wheel_has_a_second_distribution_of_the_name_that_lerobot_looks_for(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    line = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    found = {d.metadata["Name"]: d.version for d in metadata.distributions(path=[str(tmp_path / "site")])}
    assert found == {"omp-cli": api.__version__, NAME: api.__version__}
    assert (tmp_path / "site" / f"{NAME}.py").is_file()
    assert f"{NAME}.egg-info/PKG-INFO" in (next(tmp_path.glob("site/omp_cli*.dist-info")) / "RECORD").read_text()


# With LeRobot ---------------------------------------------------------------------------------------------------------


def lerobot_there() -> None:
    """Skip where LeRobot is not installed or cannot be imported.

    LeRobot takes torchvision's transforms alone, which need no compiled operators. Beside a torch for the CPU the usual
    wheel of torchvision cannot load these, and stops at describing two that are not there: they are declared.
    """
    pytest.importorskip("lerobot", reason="needs the extra lerobot-policy, which brings LeRobot")
    try:
        import torchvision
    except RuntimeError:
        for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        global _declared
        _declared = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
    for module in ("lerobot.policies.factory", "lerobot.scripts.lerobot_eval", "lerobot.scripts.lerobot_record"):
        pytest.importorskip(module, reason="a part of LeRobot is missing", exc_type=ImportError)


_declared: Any = None


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """LeRobot has found the policy by itself, in what the wheel installs; returns LeRobot's factory."""
    lerobot_there()
    from lerobot.utils.import_utils import register_third_party_plugins

    site = tmp_path_factory.mktemp("site")
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    for source, place in build["targets"]["wheel"]["force-include"].items():
        (site / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, site / place)
    sys.path.insert(0, str(site))
    try:
        register_third_party_plugins()
        assert Path(sys.modules[NAME].__file__ or "").parent == site, "LeRobot imported what the wheel has"
        yield importlib.import_module("lerobot.policies.factory")
    finally:
        sys.path.remove(str(site))


Made = Callable[..., Any]


@pytest.fixture
def made(folder: Path, registered: ModuleType) -> Made:
    """The policy as LeRobot's commands make it, with the words of their command lines."""
    from lerobot.configs.policies import PreTrainedConfig

    def make(*overrides: str, path: Path = folder) -> Any:
        from tests.deploy.mockarm import ArmEnvConfig

        config = PreTrainedConfig.from_pretrained(path, cli_overrides=["--device=cpu", *overrides])
        config.pretrained_path = path
        return registered.make_policy(config, env_cfg=ArmEnvConfig())

    return make


def frame(seed: int, batch: int = 0, size: int = SIZE) -> dict[str, Any]:
    """A raw frame as a robot shows it, (...) or (B, ...), channels last."""
    random, lead = np.random.default_rng(seed), (batch,) * bool(batch)
    state = {"observation.state": random.normal(size=(*lead, 6)).astype(np.float32)}
    shape = (*lead, size, size, 3)
    return state | {f"observation.images.{name}": random.integers(0, 256, shape, np.uint8) for name in CAMERAS}


def for_omp(shown: dict[str, Any]) -> dict[str, Any]:
    """The same frame for ``omp_cli.load``."""
    pictures = np.concatenate([shown[f"observation.images.{name}"] for name in CAMERAS], -1)
    return {"state": shown["observation.state"], "img": pictures}


def for_lerobot(shown: dict[str, Any], batched: bool = False) -> dict[str, Any]:
    """The same frame as LeRobot gives it to a policy, with a batch."""
    frames = {key: torch.from_numpy(x if batched else x[None]) for key, x in shown.items()}
    return {k: x.float().div(255).movedim(-1, 1) if "images" in k else x for k, x in frames.items()}


def test_lerobot_plays_the_same_actions_as_omp(made: Made, folder: Path, registered: ModuleType) -> None:
    from lerobot.utils.control_utils import predict_action

    policy = made("--seed=3")
    before, after = registered.make_pre_post_processors(policy.config, str(folder))
    ours = api.load(folder / "checkpoint", device="cpu", seed=3)
    for _ in range(2):
        policy.reset()
        ours.reset()
        for step in range(6):
            shown = frame(step)
            cpu = torch.device("cpu")
            theirs = predict_action(shown, policy, cpu, before, after, use_amp=False, task="lift")
            assert theirs.shape == (1, 7)
            np.testing.assert_array_equal(theirs[0].numpy(), ours.act(for_omp(shown)))
    assert policy.player.decisions == ours.decisions < 12, "chunks are played"
    assert sum(p.numel() for p in policy.parameters()) > 1000, "the network is a part of LeRobot's module"
    assert not policy.training


def test_a_batch_and_whole_chunks(made: Made, folder: Path) -> None:
    policy, ours = made(), api.load(folder / "checkpoint", device="cpu")
    for step in range(3):
        shown = frame(step, batch=3)
        theirs = policy.select_action(for_lerobot(shown, batched=True))
        np.testing.assert_array_equal(theirs.numpy(), ours.act(for_omp(shown)))
    shown = frame(9, batch=3)
    chunk = policy.predict_action_chunk(for_lerobot(shown, batched=True))
    np.testing.assert_array_equal(chunk.numpy(), ours.act_chunk(for_omp(shown)))
    assert chunk.shape == (3, ours.signature.execute, 7)
    policy.reset()
    assert policy.select_action(for_lerobot(frame(1))).shape == (1, 7), "another batch, after a reset"


def test_the_settings_of_the_command_line_count(made: Made) -> None:
    def first(*overrides: str) -> Any:
        return made(*overrides).select_action(for_lerobot(frame(0))).numpy()

    assert not np.array_equal(first(), first("--seed=1"))
    assert not np.array_equal(first(), first("--nfe=4"))
    assert not np.array_equal(first(), first("--noise_scale=0"))
    np.testing.assert_array_equal(first("--noise_scale=0"), first("--noise_scale=0", "--seed=1"))
    assert not np.array_equal(first(), first("--weights=raw"))
    np.testing.assert_array_equal(first(), first("--use_amp=true"), err_msg="autocast does not reach the policy")
    short, ensembled = made("--execute=1"), made("--ensemble=0.01")
    for step in range(3):
        for policy in (short, ensembled):
            policy.select_action(for_lerobot(frame(step)))
    assert short.player.decisions == ensembled.player.decisions == 3


def test_pictures_of_another_size_are_resized_as_prepare_does(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    policy = made()
    small, large = frame(0), frame(0)
    for name in CAMERAS:  # every pixel twice in both directions: the mean over an area is the pixel
        picture = small[f"observation.images.{name}"]
        large[f"observation.images.{name}"] = picture.repeat(2, 0).repeat(2, 1)
    with caplog.at_level(logging.WARNING):
        resized = policy.select_action(for_lerobot(large)).numpy()
    assert "pictures of 32x32 are resized to the policy's 16x16" in caplog.text
    policy = made()
    np.testing.assert_array_equal(policy.select_action(for_lerobot(small)).numpy(), resized)
    whole = {k: (x * 255).round().byte() if "images" in k else x for k, x in for_lerobot(small).items()}
    policy.reset()
    assert np.isfinite(policy.select_action(whole).numpy()).all(), "uint8 is taken as it is"


WRONG: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor] | None, str]] = {
    "no state": ("observation.state", None, "observation.state is missing, which the policy reads"),
    "no camera": ("observation.images.top", None, "observation.images.top is missing"),
    "a joint less": ("observation.state", lambda x: x[:, 1:], r"observation.state has shape \(1, 5\), expected \(6\)"),
    "channels last": ("observation.images.top", lambda x: x.movedim(1, -1), r"shape \(1, 16, 16, 3\), expected \(3, H"),
    "two frames": ("observation.images.top", lambda x: x[None].expand(2, 1, 3, 16, 16), "expected"),
    "0 to 255": ("observation.images.wrist", lambda x: x * 255, "colours from .* expected float from 0 to 1"),
    "whole numbers": ("observation.images.wrist", lambda x: (x * 255).long(), "expected float from 0 to 1, or uint8"),
    "another batch": ("observation.images.wrist", lambda x: x.repeat(2, 1, 1, 1), "the batch differs"),
    "not a number": ("observation.state", lambda x: x * float("nan"), "not finite"),
    "a black hole": ("observation.images.wrist", lambda x: x * float("nan"), "colours from nan to nan"),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_frame_that_does_not_fit_is_told_and_has_not_happened(made: Made, how: str) -> None:
    key, change, words = WRONG[how]
    policy = made()
    expected = made().select_action(for_lerobot(frame(0))).numpy()
    batch = for_lerobot(frame(1))
    wrong = {k: x for k, x in batch.items() if k != key} if change is None else batch | {key: change(batch[key])}
    with pytest.raises(DataError, match=words) as told:
        policy.select_action(wrong)
    assert "\n" not in str(told.value)
    np.testing.assert_array_equal(policy.select_action(for_lerobot(frame(0))).numpy(), expected)


def test_settings_and_folders_that_do_not_fit(made: Made, folder: Path, tmp_path: Path, registered: ModuleType) -> None:
    from lerobot.configs.types import FeatureType, PolicyFeature

    from tests.deploy.mockarm import ArmEnvConfig

    for override, words in {
        "--weights=best": "expected one of ema, raw",
        "--seed=-1": "policy.seed=-1",
        "--nfe=0": "policy.nfe=0",
        "--execute=99": "execute: 99",
        "--use_peft=true": "takes no adapters",
    }.items():
        with pytest.raises(Exception, match=words):
            made(override)
    changed = Path(shutil.copytree(folder, tmp_path / "changed"))
    document = json.loads((changed / "config.json").read_text())
    document["input_features"]["observation.state"]["shape"] = [5]
    (changed / "config.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"config.json: observation.state has shape \(5,\), the policy has \(6,\)"):
        made(path=changed)
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    weights = damaged / "checkpoint" / "ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(DataError, match="does not match its hash"):
        made(path=damaged)
    config = made().config
    env = ArmEnvConfig()
    env.features["action"] = PolicyFeature(FeatureType.ACTION, (8,))
    with pytest.raises(DataError, match=r"robot or environment: action has shape \(8,\), the policy has \(7,\)"):
        registered.make_policy(config, env_cfg=env)
    with pytest.raises(UsageError, match=r"--policy\.path=FOLDER"):
        registered.make_policy(registered.make_policy_config("omp", device="cpu"), env_cfg=ArmEnvConfig())


def test_lerobot_does_not_train_it(made: Made) -> None:
    policy = made()
    asked: list[Callable[[], Any]] = [
        policy.get_optim_params,
        policy.config.get_optimizer_preset,
        policy.config.get_scheduler_preset,
        lambda: policy({}),
    ]
    for ask in asked:
        with pytest.raises(UsageError, match="omp pretrain or omp finetune"):
            ask()


def test_it_can_be_saved_and_fetched(
    made: Made, tmp_path: Path, registered: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omp_cli.core.deploy.lerobot import modeling_omp

    policy = made("--seed=5")
    policy.save_pretrained(tmp_path / "saved")
    asked: dict[str, Any] = {}

    def snapshot(repository: str, **options: Any) -> str:
        asked.update(options, repository=repository)
        return str(tmp_path / "saved")

    monkeypatch.setattr(modeling_omp, "snapshot_download", snapshot)
    fetched = modeling_omp.OmpPolicy.from_pretrained("somebody/policy", revision="v1")
    assert asked == {"repository": "somebody/policy", "revision": "v1"}
    expected = policy.select_action(for_lerobot(frame(0))).numpy()
    np.testing.assert_array_equal(fetched.select_action(for_lerobot(frame(0))).numpy(), expected)
    before, after = registered.make_pre_post_processors(fetched.config, str(tmp_path / "saved"))
    assert after(fetched.select_action(before(for_lerobot(frame(1))))).shape == (1, 7)


def test_the_written_processors_are_those_that_lerobot_would_make(
    made: Made, folder: Path, tmp_path: Path, registered: ModuleType
) -> None:
    for pipeline in registered.make_pre_post_processors(made().config):
        pipeline.save_pretrained(tmp_path)
    for name in PROCESSORS:
        assert json.loads((tmp_path / name).read_text()) == json.loads((folder / name).read_text())


def command(monkeypatch: pytest.MonkeyPatch, module: str, *words: str) -> None:
    """One of LeRobot's commands, from its ``main``."""
    monkeypatch.setattr(sys, "argv", [module, *words])
    importlib.import_module("tests.deploy.mockarm")
    importlib.import_module(f"lerobot.scripts.{module}").main()


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LeRobot's commands leave the loggers, random numbers and folders of the other tests alone."""
    monkeypatch.chdir(tmp_path)
    root, state = logging.getLogger(), torch.get_rng_state()
    handlers, level, tf32 = list(root.handlers), root.level, torch.backends.cuda.matmul.allow_tf32
    benchmark = torch.backends.cudnn.benchmark
    yield
    root.handlers[:], root.level, torch.backends.cuda.matmul.allow_tf32 = handlers, level, tf32
    torch.backends.cudnn.benchmark = benchmark
    torch.set_rng_state(state)


@pytest.mark.usefixtures("registered", "quiet")
def test_lerobot_eval(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = (f"--policy.path={folder}", "--policy.device=cpu", "--env.type=mock_arm", f"--output_dir={tmp_path / 'e'}")
    command(monkeypatch, "lerobot_eval", *where, "--eval.n_episodes=3", "--eval.batch_size=2")
    overall = json.loads((tmp_path / "e" / "eval_info.json").read_text())["overall"]
    assert (overall["n_episodes"], overall["pc_success"]) == (3, 100.0)


def record(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """``lerobot-record`` of two episodes of four frames: its clock is that of the robot, a frame each 0.1 s."""
    from lerobot.scripts import lerobot_record

    from tests.deploy.mockarm import MockArm

    clock = types.SimpleNamespace(perf_counter=lambda: 0.1 * len(MockArm.shown))
    monkeypatch.setattr(lerobot_record, "time", clock)
    monkeypatch.setattr(lerobot_record, "precise_sleep", lambda _: None)
    dataset = ("repo_id=me/eval_lift", "single_task=lift", "fps=10", "num_episodes=2", "episode_time_s=0.35")
    dataset += ("reset_time_s=0", "vcodec=h264", "push_to_hub=false", "root=recorded")
    lines = (f"--policy.path={folder}", "--policy.device=cpu", "--robot.type=mock_arm", "--play_sounds=false")
    command(monkeypatch, "lerobot_record", *lines, *(f"--dataset.{setting}" for setting in dataset))


@pytest.mark.usefixtures("registered", "quiet")
def test_lerobot_record(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    record(monkeypatch, folder)
    arm: Any = sys.modules["tests.deploy.mockarm"].MockArm  # type: ignore[attr-defined]
    dataset = LeRobotDataset("me/eval_lift", root=tmp_path / "recorded")
    assert list(dataset.meta.episodes["length"]) == [4, 4]
    ours, step = api.load(folder / "checkpoint", device="cpu"), 0
    for _ in range(2):
        ours.reset()
        for _ in range(4):
            shown = arm.shown[step]
            state = {"observation.state": np.array([shown[name] for name in JOINTS], np.float32)}
            action = ours.act(for_omp(state | {f"observation.images.{name}": shown[name] for name in CAMERAS}))
            assert arm.sent[step] == {name: float(x) for name, x in zip(MOTORS, action, strict=True)}
            step += 1
    assert step == len(arm.sent)


def test_a_robot_with_its_joints_in_another_order_is_refused(
    made: Made, registered: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    config = made().config
    cameras = {
        f"observation.images.{name}": {"dtype": "video", "shape": (48, 64, 3), "names": ["height", "width", "channels"]}
        for name in CAMERAS
    }

    def policy(joints: list[str], motors: Any, fps: int = 10) -> Any:
        """As ``lerobot-record`` makes it, for a robot that has these."""
        count = len(motors["motors"] if isinstance(motors, dict) else motors)
        state = {"dtype": "float32", "shape": (len(joints),), "names": joints}
        features = {"observation.state": state, "action": {"dtype": "float32", "shape": (count,), "names": motors}}
        meta = types.SimpleNamespace(features=features | cameras, fps=fps, stats={})
        return registered.make_policy(config, ds_meta=meta)

    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert policy(JOINTS, MOTORS)
        assert policy(JOINTS, {"motors": MOTORS})
    assert not caplog.text
    with pytest.raises(DataError, match=r"action is motor_6\.pos, .* in another order: motor_0\.pos"):
        policy(JOINTS, MOTORS[::-1])
    with pytest.raises(DataError, match=r"observation\.state has shape \(5,\), the policy has \(6,\)"):
        policy(JOINTS[1:], MOTORS)
    with pytest.raises(DataError, match=r"action has shape \(6,\), the policy has \(7,\)"):
        policy(JOINTS, MOTORS[1:])
    with caplog.at_level(logging.WARNING):
        policy(JOINTS, ["a", *MOTORS[1:]], fps=20)
    assert "the robot acts 20 times a second, the policy's data 10 times" in caplog.text
    assert "they are taken by place" in caplog.text


def test_errors_say_what_to_do_below_the_traceback(made: Made) -> None:
    with pytest.raises(OmpError) as told:
        made().select_action({"observation.stat": torch.zeros(1, 6)})
    assert told.value.__notes__ == ["hint: did you mean observation.stat?"]
