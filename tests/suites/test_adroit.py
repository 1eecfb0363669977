"""Adroit: what is judged and shown, and recorded states of the simulator that are shown anew."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

pytest.importorskip("gymnasium_robotics")

from omp_cli.core.base.errors import MissingDependency, UsageError
from omp_cli.core.base.progress import Silent
from omp_cli.core.clouds.raycast import geoms_of
from omp_cli.core.data.catalogue import read_catalogue
from omp_cli.core.data.readers import FORMATS
from omp_cli.core.data.store import read_store
from omp_cli.core.prepare.origin import from_files
from omp_cli.core.spec import Spec
from omp_cli.core.suites.adroit import Adroit, AdroitConfig, AdroitEnv, tables
from omp_cli.core.suites.adroit.poses import states_of
from omp_cli.core.suites.base import SUITES
from tests.cli.test_bad_input import refused
from tests.conftest import TINY, Omp

Rows = dict[str, np.ndarray]


def make(task: str, **settings: Any) -> AdroitEnv:
    return Adroit(AdroitConfig(**settings)).make(task)


@pytest.fixture(scope="module")
def envs() -> Iterator[dict[str, AdroitEnv]]:
    made = {task: make(task) for task in tables.TASKS}
    yield made
    for env in made.values():
        env.close()


def at_the_goal(env: AdroitEnv) -> dict[str, np.ndarray]:
    """A state in which the task is done."""
    env.reset(0)
    state = env.simulator_state()
    if env.info.name == "Pen":
        state["desired_orien"] = np.array([0.5**0.5, 0.0, 0.5**0.5, 0.0])  # along the pen, which starts along x
    elif env.info.name == "Door":
        state["qpos"][-2] = 1.5
    elif env.info.name == "Hammer":
        state["qpos"][-7] = 0.09
    else:
        state["target_pos"] = state["obj_pos"].copy()
    return state


def record(env: AdroitEnv, steps: int, done: bool, seed: int = 0, wild: float = 0.1) -> Rows:
    """An episode in D4RL's layout: the state before each action, as ``hand_dapg_policies.py`` writes it."""
    env.reset(seed)
    if done:
        env.show(at_the_goal(env))
    random, rows = np.random.default_rng(seed), []
    for step in range(steps):
        row = {"observations": env.sim._get_obs(), **{f"infos/{k}": v for k, v in env.simulator_state().items()}}
        action = random.uniform(-wild, wild, env.spec.action_dim).astype(np.float32)
        outcome = env.step(action)
        row |= {"actions": action, "rewards": outcome.reward, "terminals": False, "timeouts": step == steps - 1}
        rows.append(row)
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def write(path: Path, episodes: list[Rows], kind: type = np.float64, **notes: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name in episodes[0]:
            values = np.concatenate([episode[name] for episode in episodes])
            file[name] = values.astype(kind) if values.dtype == np.float64 else values
        if notes:
            file.attrs["omp"] = json.dumps(notes)
    return path


def test_the_tables_are_the_simulators(envs: dict[str, AdroitEnv]) -> None:
    for task, env in envs.items():
        info, names = tables.TASKS[task], [env.model.joint(i).name for i in range(env.model.njnt)]
        assert names[info.arm : info.arm + tables.JOINTS][:: tables.JOINTS - 1] == ["WRJ1", "THJ0"]
        assert (info.action_dim, info.observation_dim) == (env.model.nu, env.sim.observation_space.shape[0])
        assert set(info.states) == set(env.sim._state_space.spaces)
        assert 1 / env.sim.dt == tables.RAW_HZ
        known = read_catalogue().suite("adroit").facts(task)
        assert known is not None
        assert (known.max_steps, known.control_hz) == (info.raw_steps, tables.RAW_HZ)
        assert Adroit(AdroitConfig()).spec(f"{task}-human").max_steps == info.raw_steps // 2


def test_the_state_is_the_papers_and_the_palm(envs: dict[str, AdroitEnv]) -> None:
    for task, end in (("pen", -6), ("door", -2), ("hammer", -7)):  # DP3's slices of the positions
        env = envs[task]
        env.reset(3)
        env.step(np.full(env.spec.action_dim, 0.3))
        state = env.observe(["state"])["state"]
        np.testing.assert_array_equal(state[:24], env.data.qpos[env.info.arm : end].astype(np.float32))
        np.testing.assert_array_equal(state[24:], env.data.site("S_grasp").xpos.astype(np.float32))
        assert env.spec.end_effector == (24, 25, 26)
    plain = Adroit(AdroitConfig(palm=False)).spec("pen")
    assert (plain.state_dim, plain.end_effector) == (24, None)


def test_an_action_lasts_two_steps_and_gymnasiums_rule_is_its_own() -> None:
    for task in tables.TASKS:
        env, theirs = make(task, success="gymnasium", cloud=None), make(task).sim
        for done in (True, False):
            if done:
                env.show(at_the_goal(env))
            else:
                env.reset(4)
            theirs.reset(seed=0)
            theirs.set_env_state(env.simulator_state())
            for step in range(3):
                action = np.random.default_rng(step).uniform(-1.5, 1.5, env.spec.action_dim)
                (_, one, *_), (_, two, _, _, info) = theirs.step(action), theirs.step(action)
                outcome = env.step(action)
                assert outcome.reward == pytest.approx(one + two, rel=1e-4, abs=1e-4)
                assert (outcome.success, outcome.terminated) == (bool(info["success"]), False)
                np.testing.assert_allclose(env.data.qpos, theirs.data.qpos, atol=1e-6)
            assert not done or task == "pen" or outcome.success


def test_success_by_either_rule() -> None:
    for task, settings, change, wanted in (
        ("door", {}, {-2: 1.38}, False),
        ("door", {"success": "gymnasium"}, {-2: 1.38}, True),
        ("pen", {}, {-6: 0.1}, True),
        ("pen", {"success": "gymnasium"}, {-6: 0.1}, False),
        ("hammer", {}, {-7: 0.07}, False),
    ):
        env = make(task, cloud=None, **settings)
        state = at_the_goal(env)
        env.show(state)
        assert env.at_goal()
        for index, value in change.items():
            state["qpos"][index] = value
        env.show(state)
        assert env.at_goal() is wanted, (task, settings)


def test_a_dropped_pen_ends_the_episode() -> None:
    for rule, ends in (("dp3", True), ("gymnasium", False)):
        env = make("pen", cloud=None, success=rule)
        state = at_the_goal(env)
        state["qpos"][-6] = 0.19  # the pen's own x points down
        env.show(state)
        assert env.data.xpos[env.sim.obj_body_id][2] < 0.075
        assert env.step(np.zeros(24)).terminated is ends


def test_a_state_of_another_file_leaves_nothing_behind(envs: dict[str, AdroitEnv]) -> None:
    for env in envs.values():
        env.reset(5)
        first = env.start_state()
        other = at_the_goal(env)
        other[env.info.states[-1]] = other[env.info.states[-1]] + 0.01
        env.show(other)
        env.step(np.ones(env.spec.action_dim))
        env.reset(5)
        assert np.array_equal(first, env.start_state())


def test_clouds_show_hand_and_objects_and_no_table(envs: dict[str, AdroitEnv]) -> None:
    least = {"hammer": {"Object": 100, "nail": 30}, "door": {"latch": 25, "door": 150}}
    least |= {"pen": {"Object": 50, "target": 50}, "relocate": {"Object": 40}}
    for task, env in envs.items():
        env.reset(1)
        points, geoms = env.sensor.cropped(env.data, env.markers)
        cloud = env.observe(["point_cloud"])["point_cloud"]
        assert env.filled == 0
        bodies = np.array(["marker" if g < 0 else env.model.body(env.model.geom_bodyid[g]).name for g in geoms])
        assert not {"world", "table"} & set(bodies)
        assert ("marker" in bodies) is (task == "relocate")
        nearest = np.array([np.argmin(((points - p) ** 2).sum(axis=1)) for p in cloud])
        for body, count in {**least[task], "palm": 1}.items():
            assert (bodies[nearest] == body).sum() >= count, (task, body)
        assert np.abs(points - cloud.mean(axis=0)).max() < 1.0


def test_without_the_arm_the_hand_stays(envs: dict[str, AdroitEnv]) -> None:
    for task, shown in envs.items():
        env = make(task, cloud={"robot": "gripper"})
        finer = make(task, cloud={"robot": "gripper", "fovea": 3})
        for made in (shown, env, finer):
            made.reset(1)
        points, geoms = shown.sensor.cropped(shown.data, shown.markers)
        of_arm = np.isin(geoms, geoms_of(shown.model, tables.ROBOT.arm))
        left, theirs = env.sensor.cropped(env.data, env.markers)
        np.testing.assert_array_equal(left, points[~of_arm])
        np.testing.assert_array_equal(theirs, geoms[~of_arm])
        finer.observe(["point_cloud"])
        assert "arm" not in finer.points_on, task
        assert finer.points_on["gripper"] > 0
        assert sum(finer.points_on.values()) >= 512
        hand = {env.model.body(env.model.geom_bodyid[g]).name for g in theirs if g >= 0} & set(tables.ROBOT.gripper)
        assert {"wrist", "palm"} <= hand
        hidden = make(task, cloud={"robot": "hidden", "fovea": 4})
        hidden.reset(1)
        assert hidden.observe(["point_cloud"])["point_cloud"].shape == (512, 3)
        assert not {"arm", "gripper"} & set(hidden.points_on), task
        roots, bodies = env.model.body_rootid, range(env.model.nbody)
        tree = [env.model.body(b).name for b in bodies if roots[b] == roots[env.model.body("forearm").id]]
        assert sorted(tree) == sorted(tables.ROBOT.arm + tables.ROBOT.gripper)
    assert of_arm.any()


@pytest.mark.parametrize("task", ["pen", "door"])
def test_files_in_d4rls_layout_are_shown_anew(task: str, omp: Omp, tmp_path: Path) -> None:
    env = make(task, repeat=1, cloud={"points": 64, "camera_size": 48})
    good, bad = record(env, 12, done=True), record(env, 12, done=False, seed=1)
    file = write(tmp_path / "demos.hdf5", [bad, good, bad])
    line = ("prepare", "adroit", "--task", task, "--demos-file", file, "--workers", 1, "--json")
    arm = ("--robot", "shown", "--fovea", 1)
    result = omp(*line, *arm, "--points", 64, "--camera-size", 48, "--out", tmp_path / "d").json["result"]
    told = omp(*line, "--points", 64, "--out", tmp_path / "g").json["result"]
    assert told["points"] == 64
    notes = read_store(tmp_path / "g").provenance["environment"]
    cloud = notes["shown"]["cloud"]
    assert (cloud["robot"], cloud["fovea"]) == ("hidden", 4), "as it is recommended"
    assert not {"arm", "gripper"} & set(notes["points_on"])
    assert sum(notes["points_on"].values()) == pytest.approx(1.0, abs=0.01)
    assert (result["demos"], result["success_share"], result["points"]) == (1, 1.0, 64)
    assert (tmp_path / "d" / "contact_sheet.png").stat().st_size > 1000
    data = read_store(tmp_path / "d")
    assert data.provenance["environment"]["failures_left_out"] == 2
    assert data.provenance["environment"]["deviation_after_first_action"] < 1e-6, (
        "the file's steps are this simulator's"
    )
    suite = SUITES.build(SUITES.parse(data.provenance["rollout_suite"]))
    assert isinstance(suite.config, AdroitConfig)
    assert (suite.config.repeat, suite.spec(task).max_steps) == (1, tables.TASKS[task].raw_steps)
    env.show({name: good[f"infos/{name}"][0] for name in tables.TASKS[task].states})
    for t in range(12):
        seen = env.observe(["state", "point_cloud", "full_state"])
        np.testing.assert_allclose(env.data.qpos, good["infos/qpos"][t], atol=1e-6, err_msg="the same actions again")
        np.testing.assert_allclose(data.arrays["state"][t], seen["state"], atol=1e-5)
        np.testing.assert_allclose(data.arrays["full_state"][t], good["observations"][t], atol=1e-6)
        if t == 0:
            np.testing.assert_array_equal(data.arrays["point_cloud"][t], seen["point_cloud"])
        env.step(data.arrays["action"][t])
    if task == "pen":
        line = (*line, "--set", "shown.cloud=none")
        kept = omp(*line, "--set", "keep_failures=true", "--demos", 2, "--out", tmp_path / "e").json["result"]
        assert (kept["demos"], kept["success_share"]) == (2, 0.5)
        refused(omp(*line, "--out", tmp_path / "d"), 2, "made with")
        refused(omp(*line, "--frame", "dp3", "--out", tmp_path / "f"), 2, "--frame")


def test_observations_tell_all_that_is_shown() -> None:
    for task in tables.TASKS:
        env = make(task, repeat=1)
        episode = record(env, 8, done=False, seed=7, wild=0.6)
        found = states_of(env, episode["observations"].astype(np.float32))
        if task == "pen":
            assert np.abs(found["qpos"][:, -1]).max() == 0.0, "the turn about its own axis is not in them"
            found["qpos"][:, -1] = episode["infos/qpos"][:, -1]
        for t in (0, 7):
            shown = []
            for states in (found, {n: episode[f"infos/{n}"] for n in found}):
                env.show({name: values[t] for name, values in states.items()})
                shown.append(env.observe(["state"])["state"])
                places = (env.data.xpos, env.data.xmat)
                shown += [place.ravel().copy() for place in places]
            for mine, true in zip(shown[:3], shown[3:], strict=True):
                np.testing.assert_allclose(mine, true, atol=1e-5, err_msg=f"{task} {t}")


def test_minari_files_with_states_and_without(omp: Omp, tmp_path: Path) -> None:
    episode = record(make("door", repeat=1, cloud=None), 12, done=True)
    for place in ("infos/state", "state", None):
        file = tmp_path / f"{str(place).replace('/', '-')}.hdf5"
        with h5py.File(file, "w") as out:
            group = out.create_group("episode_0")
            for name, theirs in (("actions", "actions"), ("rewards", "rewards"), ("timeouts", "truncations")):
                group[theirs] = episode[name]
            group["terminations"] = episode["terminals"]
            longer = {n: np.concatenate([v, v[-1:]]) for n, v in episode.items()}  # one frame more than actions
            group["observations"] = longer["observations"]
            for name in tables.TASKS["door"].states if place else ():
                group[f"{place}/{name}"] = longer[f"infos/{name}"]
        if place:
            subject = from_files(read_catalogue(), "adroit", "door", None, [file]).subject
            (states,) = (
                FORMATS.build(FORMATS.parse({"name": "minari"})).read(file, subject, None, Silent()).states or ()
            )
            assert all(np.array_equal(states[name], episode[f"infos/{name}"]) for name in tables.TASKS["door"].states)
            continue
        line = ("prepare", "adroit", "--task", "door", "--file", file, "--set", "shown.cloud=none", "--workers", 1)
        done = omp(*line, "--out", tmp_path / "d")
        assert done.code == 0, done.err
        data = read_store(tmp_path / "d")
        assert "found from" in data.provenance["environment"]["simulator_states"]
        np.testing.assert_allclose(data.arrays["state"][:, :24], episode["infos/qpos"][:, 4:-2], atol=1e-6)


def test_how_long_an_action_lasts_is_the_files_to_say(omp: Omp, tmp_path: Path) -> None:
    env = make("hammer", repeat=2, cloud=None)
    file = write(tmp_path / "demos.hdf5", [record(env, 110, done=True)], np.float32, repeat=2)
    line = ("prepare", "adroit", "--task", "hammer-expert", "--file", file, "--workers", 1, "--set", "shown.cloud=none")
    done = omp(*line, "--out", tmp_path / "d", "--json")
    assert done.code == 0, done.err
    data = read_store(tmp_path / "d")
    suite = SUITES.build(SUITES.parse(data.provenance["rollout_suite"]))
    spec = suite.spec("hammer-expert")
    assert (spec.control_hz, spec.max_steps) == (50.0, 110), "as long as the longest demonstration"
    assert data.provenance["environment"]["deviation_after_first_action"] < 1e-5
    assert spec == data.spec


def test_from_a_file_to_an_evaluation(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make("pen", repeat=1, cloud=None)
    file = write(tmp_path / "pen-expert-v1.hdf5", [record(env, 12, done=True, seed=s) for s in (0, 1)], np.float32)
    assert (
        omp(
            "prepare",
            "adroit",
            "--file",
            file,
            "--out",
            tmp_path / "d",
            "--points",
            48,
            "--camera-size",
            48,
            "--workers",
            1,
        ).code
        == 0
    )
    trained = omp("pretrain", tmp_path / "d", "--preset", "light", *TINY, "--steps", 3, "--out", tmp_path / "run")
    assert trained.code == 0, trained.err
    line = ("eval", tmp_path / "run", "--episodes", 1, "--workers", 1, "--max-steps", 6, "--out", tmp_path / "eval")
    assert omp(*line).code == 0
    figures = json.loads((tmp_path / "eval" / "manifest.json").read_text())["metrics"]
    assert (figures["success_end"]["episodes"], figures["mean_steps"]) == (1, 6)
    # the same file, as D4RL's own numbers
    plain = (
        "prepare",
        "adroit",
        "--file",
        file,
        "--set",
        "replay=false",
        "--json",
        "--workers",
        1,
        "--out",
        tmp_path / "s",
    )
    result = omp(*plain).json["result"]
    assert (result["state_dim"], result["points"], result["success_share"]) == (45, None, None)
    suite = read_store(tmp_path / "s").provenance["rollout_suite"]
    assert (suite["state"], suite["cloud"], suite["repeat"]) == ("observation", None, 1)
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    refused(omp(*line[:-1], tmp_path / "none"), 4, "gymnasium-robotics", "omp-cli[adroit]")


def test_data_without_an_environment_are_told_apart() -> None:
    suite = Adroit(AdroitConfig())
    data = Spec(suite="adroit", task="pen-human", action_dim=24, state_dim=45, max_steps=100, control_hz=100.0)
    found = suite.for_data(data, {}, None)
    assert isinstance(found, AdroitConfig)
    assert (found.state, found.repeat, found.max_steps) == ("observation", 1, 100)
    assert suite.for_data(data.model_copy(update={"state_dim": 44}), {}, None) is None
    with pytest.raises(UsageError, match="no environments to choose"):
        suite.for_data(data, {}, "v2")
    with pytest.raises(UsageError, match="world frame"):
        SUITES.parse({"name": "adroit", "cloud": {"frame": "dp3"}})
    with pytest.raises(UsageError, match="unknown task"):
        suite.spec("juggle")


def test_a_missing_simulator_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(MissingDependency) as missing:
        Adroit(AdroitConfig()).make("pen")
    assert "omp-cli[adroit]" in str(missing.value.hint)
