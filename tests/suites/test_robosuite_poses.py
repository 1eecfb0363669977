"""Absolute actions in the real robosuite: poses that displacements ask for lead along the same way."""

import importlib.util
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from omp_cli.core.data.store import read_store
from omp_cli.core.suites.robomimic import Robomimic, RobomimicEnv, RobomimicSuiteConfig
from omp_cli.core.suites.robomimic.controller import Control
from tests.conftest import Omp, in_process

pytestmark = pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")
ABSOLUTE = Control(control_delta=False)
LINE = ("prepare", "robomimic", "--workers", 1, "--set", "format.cameras=[]")
SCRIPTED = (*LINE, "--task", "lift", "--source", "scripted", "--demos", 2, "--after-success", 3)
POSES = ("--set", "format.replay=true", "--set", "format.absolute=true")


def hands(env: RobomimicEnv) -> np.ndarray:
    """Position and rotation of each end-effector."""
    seen = env.observations()
    return np.concatenate(
        [seen[f"robot{i}_eef_{part}"] for i in range(len(env.sim.robots)) for part in ("pos", "quat")]
    )


@pytest.mark.parametrize(("task", "arms"), [("lift", 1), ("transport", 2)])
def test_poses_lead_along_the_same_way(task: str, arms: int) -> None:
    """The pose of each displacement is read in one environment and taken in another."""
    one = Robomimic(RobomimicSuiteConfig(cameras=())).make(task)
    other = Robomimic(RobomimicSuiteConfig(cameras=(), control=ABSOLUTE)).make(task)
    assert one.spec.action_dim == other.spec.action_dim == 7 * arms
    assert (one.spec.learned_action_dim, other.spec.learned_action_dim) == (7 * arms, 10 * arms)
    random = np.random.default_rng(0)
    states, actions = [], []
    one.reset(3)
    start, action = one.simulator_state(), np.zeros(7 * arms)
    for step in range(24):
        if step % 3 == 0:
            action = random.uniform(-1.2, 1.2, 7 * arms)
            action[3:6] *= step % 2  # a hand that is not turned keeps the rotation it was on its way to
        states.append(one.simulator_state())
        actions.append(action)
        one.step(action)
    one.restore(start)
    poses, places = [], []
    for index, (state, action) in enumerate(zip(states, actions, strict=True)):
        if index:
            one.show(state)
        places.append(hands(one))
        poses.append(one.pose_of(action))
    other.restore(start)
    for place, pose in zip(places, poses, strict=True):
        np.testing.assert_allclose(hands(other), place, atol=2e-5)
        other.step(pose)
    assert np.abs(places[-1] - places[0]).max() > 0.05, "the hands have moved"
    one.close()
    other.close()


def test_a_pose_is_taken_beyond_one() -> None:
    """A hand that points down is turned by pi, and the arm reaches where it was told to."""
    env = Robomimic(RobomimicSuiteConfig(cameras=(), control=ABSOLUTE)).make("lift")
    goal = np.array([0.05, 0.1, 1.1, np.pi, 0.0, 0.0, -1.0])
    for _ in range(40):
        env.step(goal)
    controller = env.sim.robots[0].controller
    np.testing.assert_allclose(controller.ee_pos, goal[:3], atol=0.01)
    np.testing.assert_allclose(controller.ee_ori_mat, np.diag([1, -1, -1]), atol=0.05)
    env.close()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two demonstrations of lift in the cache, and the data set that is made of them with poses."""
    folder = tmp_path_factory.mktemp("poses")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_CLI_CACHE", str(folder / "cache"))
        in_process(folder, *SCRIPTED, *POSES, "--out", "data")
    return folder


def test_operators_give_poses_and_a_policy_of_them_is_rolled_out(omp: Omp, recorded: Path, tmp_path: Path) -> None:
    data = read_store(recorded / "data")
    assert data.arrays["action"].shape[1] == data.spec.action_dim == 7
    assert data.spec.learned_action_dim == 10
    assert data.provenance["rollout_suite"]["control"]["control_delta"] is False
    assert omp("prepare", "own", recorded / "data", "--task", "lift", "--out", tmp_path / "own").code == 0
    assert read_store(tmp_path / "own").spec.action_rotations == data.spec.action_rotations
    env = Robomimic(RobomimicSuiteConfig(cameras=(), control=ABSOLUTE)).make("lift")
    with h5py.File(next((recorded / "cache").rglob("*.hdf5"))) as file:
        env.restore(file["data/demo_0/states"][0])
        frames = file["data/demo_0"].attrs["num_samples"]
    successes = [env.step(action).success for action in data.arrays["action"][:frames]]
    assert successes[-1]
    env.close()
    trained = omp("pretrain", recorded / "data", "--preset", "dmpo-state", "--steps", 2, "--out", tmp_path / "p")
    assert trained.code == 0, trained.err
    done = omp("eval", tmp_path / "p", "--episodes", 1, "--max-steps", 8, "--out", tmp_path / "e", "--json")
    assert done.code == 0, done.err


def test_what_is_said_of_them(omp: Omp, recorded: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_CLI_CACHE", str(recorded / "cache"))
        patch.chdir(recorded)
        shown = omp(*SCRIPTED, *POSES, "--out", "data")
    assert "actions are poses of the end-effectors" in shown.out
    assert "simulators clip" not in shown.out, "which these do not"


def test_a_file_of_poses_is_replayed(omp: Omp, recorded: Path, tmp_path: Path) -> None:
    """Diffusion Policy's kind: poses under metadata that say displacements; and with actions_abs beside them."""
    with h5py.File(next((recorded / "cache").rglob("*.hdf5"))) as file:
        for name, key in (("in_place", "actions"), ("beside", "actions_abs")):
            with h5py.File(tmp_path / f"{name}.hdf5", "w") as copy:
                file.copy("data", copy)
                for demo in copy["data"].values():
                    poses = np.tile([0.0, 0.0, 1.0, np.pi, 0.0, 0.0, 1.0], (len(demo["actions"]), 1))
                    demo.pop(key, None)
                    demo[key] = poses
    lines = (("in_place", ()), ("beside", ("--set", "format.absolute=true")))
    shutil.copy(tmp_path / "in_place.hdf5", tmp_path / "again.hdf5")
    with h5py.File(tmp_path / "again.hdf5", "r+") as copy:
        copy["data/demo_0"].attrs["note"] = "without it, the same file twice"
    files = [part for name in ("in_place", "again") for part in ("--file", tmp_path / f"{name}.hdf5")]
    together = omp(*LINE, "--task", "lift", *files, "--set", "format.replay=true", "--out", tmp_path / "both")
    assert together.code == 0, together.err
    joined = read_store(tmp_path / "both")
    assert joined.provenance["rollout_suite"]["control"]["control_delta"] is False
    assert "simulators clip" not in together.out
    for name, more in lines:
        out = tmp_path / name
        done = omp(*LINE, "--file", tmp_path / f"{name}.hdf5", "--set", "format.replay=true", *more, "--out", out)
        assert done.code == 0, done.err
        data = read_store(out)
        assert 2 * len(data.episode_ends) == len(joined.episode_ends)
        assert data.provenance["rollout_suite"]["control"]["control_delta"] is False
        np.testing.assert_allclose(data.arrays["action"][0], [0, 0, 1, np.pi, 0, 0, 1], atol=1e-6)


def test_cameras_that_are_taken_are_recorded(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_CLI_CACHE", str(tmp_path / "cache"))
    line = ("prepare", "robomimic", "--source", "scripted", "--dry-run", "--json")
    replay = ("--set", "format.replay=true")
    own = ("--set", 'record.cameras=["sideview"]')
    cases = [("[]", (), []), ('["agentview"]', (), ["agentview"]), ("null", (), None)]
    cases += [("agentview_image,sideview", (), ["agentview", "sideview"])]  # the key of an observation, too
    cases += [("agentview", replay, []), ("agentview", own, ["sideview"])]  # a replay takes no picture of the file
    for taken, more, recorded in cases:
        found = omp(*line, "--set", f"format.cameras={taken}", *more)
        assert found.json["config"]["record.cameras"]["value"] == recorded
    for odd in ("format=3", "record=3", "record=abc"):
        assert omp(*line, "--set", odd).code == 2, odd
