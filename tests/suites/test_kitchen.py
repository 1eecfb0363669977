"""Franka Kitchen: sub-tasks are counted once, layouts never mix, and data find theirs."""

from __future__ import annotations

import hashlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("gymnasium_robotics")

from omp_cli.core.base.errors import MissingDependency, UsageError
from omp_cli.core.data.catalogue import read_catalogue
from omp_cli.core.data.store import read_store
from omp_cli.core.envs.chunking import ChunkEnv
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES
from omp_cli.core.suites.kitchen import STATE_DIM, SUBTASKS, Kitchen, KitchenEnv
from tests.cli.test_bad_input import refused
from tests.conftest import Omp

STILL = np.zeros(9, np.float32)


def suite(environment: str | None = None) -> Kitchen:
    built = SUITES.build(SUITES.parse({"name": "kitchen", "environment": environment}))
    assert isinstance(built, Kitchen)
    return built


def finish(env: KitchenEnv, subtask: str) -> None:
    """Put the sub-task's object where it is to be."""
    from gymnasium_robotics.envs.franka_kitchen.kitchen_env import OBS_ELEMENT_GOALS, OBS_ELEMENT_INDICES

    env._sim.data.qpos[OBS_ELEMENT_INDICES[subtask]] = OBS_ELEMENT_GOALS[subtask]


def episode(env: KitchenEnv, seed: int, steps: int = 5) -> bytes:
    """Start, then observation, positions and reward of random actions."""
    env.reset(seed)
    random, seen = np.random.default_rng(seed), [env.start_state().tobytes()]
    for _ in range(steps):
        outcome = env.step(random.uniform(-1, 1, 9))
        arrays = env.observe(["state", "full_state"])
        seen += [arrays["state"].tobytes(), arrays["full_state"].tobytes(), np.float64(outcome.reward).tobytes()]
    return b"".join(seen)


@pytest.fixture(scope="module")
def d4rl() -> KitchenEnv:
    return suite().make("mixed")


@pytest.fixture(scope="module")
def v1() -> KitchenEnv:
    return suite("v1").make("mixed")


def test_the_tables_are_the_simulators(d4rl: KitchenEnv, v1: KitchenEnv) -> None:
    import gymnasium

    assert v1._sim.observation_space["observation"].shape == (STATE_DIM["v1"],)
    assert v1._sim.action_space.shape == (9,)
    assert gymnasium.spec("FrankaKitchen-v1").max_episode_steps == d4rl.spec.max_steps == 280
    for task in SUBTASKS:
        facts = read_catalogue().suite("kitchen").facts(task)
        assert facts is not None
        assert facts.max_steps == 280
        assert facts.control_hz == suite().spec(task).control_hz == pytest.approx(1 / d4rl._sim.robot_env.dt)


def test_what_d4rl_shows_is_positions_and_the_goal(d4rl: KitchenEnv) -> None:
    d4rl.reset(1)
    d4rl.step(np.ones(9))
    seen = d4rl.observe(["state", "full_state"])
    state, positions = seen["state"], seen["full_state"][:30]
    away = np.abs(state[:30] - positions)
    assert away[:9].max() <= 0.01 + 1e-6, "a tenth of the robot's amplitude 0.1"
    assert 0 < away[[9, 10]].max() <= 0.0005 + 1e-6, "of a knob's 0.005"
    assert away.max() <= 0.01 + 1e-6
    # D4RL's tables (d4rl/kitchen/kitchen_envs.py), written out
    goal = np.zeros(30)
    goal[22], goal[[11, 12]], goal[[17, 18]] = -0.75, [-0.88, -0.01], [-0.69, -0.05]
    goal[23:] = [-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06]
    np.testing.assert_array_equal(state[30:], goal.astype(np.float32))


def test_what_v1_shows_is_the_environments_own(v1: KitchenEnv) -> None:
    import gymnasium

    theirs = gymnasium.make("FrankaKitchen-v1", tasks_to_complete=list(SUBTASKS["mixed"])).unwrapped
    expected, _ = theirs.reset(seed=5)
    v1.reset(5)
    random = np.random.default_rng(0)
    for _ in range(5):
        assert np.array_equal(v1.observe(["state"])["state"], expected["observation"].astype(np.float32))
        action = random.uniform(-1.5, 1.5, 9)
        expected, reward, *_ = theirs.step(np.clip(action, -1, 1))
        assert v1.step(action).reward == reward


def test_a_seed_is_an_episode_in_any_process(d4rl: KitchenEnv) -> None:
    here = episode(d4rl, 9)
    assert episode(d4rl, 8) != here
    assert episode(d4rl, 9) == here
    script = f"""
from __future__ import annotations
import hashlib, numpy as np
from omp_cli.core.suites.base import SUITES
{inspect.getsource(episode)}
env = SUITES.build(SUITES.parse({{"name": "kitchen"}})).make("mixed")
print(hashlib.sha256(episode(env, 9)).hexdigest())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(here).hexdigest()
    assert done.stderr == "", "no notice about other environments of the package"


def test_a_subtask_counts_once_and_for_good(d4rl: KitchenEnv) -> None:
    d4rl.reset(0)
    assert d4rl.step(STILL).reward == 0
    shut = d4rl._sim.data.qpos[22]
    finish(d4rl, "microwave")
    first = d4rl.step(STILL)
    assert (first.reward, first.success, first.terminated) == (1, False, False)
    assert d4rl.step(STILL).reward == 0, "still open"
    d4rl._sim.data.qpos[22] = shut
    assert d4rl.step(STILL).reward == 0, "shut again, and nothing is taken back"
    for subtask in ("microwave", "kettle", "bottom burner"):
        finish(d4rl, subtask)
    assert d4rl.step(STILL).reward == 2, "two at once; the microwave has been counted"
    finish(d4rl, "slide cabinet")
    assert d4rl.step(STILL).reward == 0, "not of this task"
    finish(d4rl, "light switch")
    last = d4rl.step(STILL)
    assert (last.reward, last.success, last.terminated) == (1, True, True)
    d4rl.reset(0)
    assert d4rl.step(STILL) == type(last)(0.0, False, False), "a fresh episode"


def test_finishing_everything_ends_the_chunk_and_satisfies_both_rules(d4rl: KitchenEnv) -> None:
    chunked = ChunkEnv(d4rl, ("state",), 1, 4)
    chunked.reset(seed=0)
    assert chunked.step(np.zeros((4, 9), np.float32))[4]["success_any"] is False
    for subtask in SUBTASKS["mixed"][:-1]:
        finish(d4rl, subtask)
    real, calls = d4rl.step, []

    def step(action: np.ndarray) -> object:
        calls.append(action)
        if len(calls) == 2:
            finish(d4rl, SUBTASKS["mixed"][-1])
        return real(action)

    d4rl.step = step  # type: ignore[method-assign]
    try:
        _, reward, terminated, truncated, info = chunked.step(np.zeros((4, 9), np.float32))
    finally:
        del d4rl.step  # type: ignore[method-assign]
    assert (reward, terminated, truncated, info["steps"]) == (4.0, True, False, 6)
    assert (info["success_any"], info["success_all"]) == (True, True)


def test_data_find_the_layout_that_shows_them() -> None:
    def found(state: int, action: int = 9, asked: str | None = None, steps: int = 280) -> tuple[str | None, int] | None:
        data = Spec(
            suite="kitchen", task="partial", action_dim=action, state_dim=state, max_steps=steps, control_hz=12.5
        )
        config = suite().for_data(data, {}, asked)
        return None if config is None else (config.environment, config.max_steps)  # type: ignore[attr-defined]

    assert found(60) == found(60, asked="d4rl") == ("d4rl", 280)
    assert found(59, steps=450) == ("v1", 450)
    assert found(39) is None
    assert found(60, 7) is None
    with pytest.raises(UsageError, match="state_dim is 59"):
        found(60, asked="v1")
    with pytest.raises(UsageError, match="unknown environment 'v2'"):
        found(60, asked="v2")
    for entry in read_catalogue().of("kitchen"):
        assert suite().spec(entry.task).task == entry.task
        names = [part for s in SUBTASKS[entry.task] for part in s.replace("bottom burner", "bottomburner").split()]
        if entry.source == "d4rl":  # the file is named after what is to be done
            theirs = entry.files[0].name.replace("slider", "slide_cabinet").removesuffix("-v0.hdf5").split("_")
            assert set(theirs) - {"mini", "kitchen"} == set(names) - {"switch"}
    with pytest.raises(UsageError, match="unknown task"):
        suite().spec("whole")


def test_the_goal_is_that_of_the_data() -> None:
    spec = suite().spec("mixed")
    theirs = {index: index / 8 for index in range(30, 60)}
    config = suite().for_data(spec, {"constant_state": {9: 0.5, **theirs}}, None)
    env = KitchenEnv(spec, "d4rl", config.goal)  # type: ignore[union-attr]
    assert env.observe(["state"])["state"][30:].tolist() == list(theirs.values())
    del theirs[41]
    assert suite().for_data(spec, {"constant_state": theirs}, None).goal is None, "it changes, so it is built"  # type: ignore[union-attr]


def test_specs_need_no_simulator_and_a_missing_one_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import sys; from omp_cli.core.suites.base import SUITES; "
        "s = SUITES.build(SUITES.parse({'name': 'kitchen'})); [s.spec(t) for t in s.tasks()]; s.require(); "
        "assert not {'mujoco', 'torch', 'gymnasium_robotics'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(MissingDependency, match="not installed") as caught:
        suite().make("mixed")
    assert (caught.value.exit_code, caught.value.hint) == (4, "pip install 'omp-cli[kitchen]'")


def test_the_picture_shows_what_moves(d4rl: KitchenEnv) -> None:
    d4rl.reset(0)
    shut = d4rl.picture(64).astype(int)
    assert len(np.unique(shut.reshape(-1, 3), axis=0)) > 100
    for subtask in ("microwave", "kettle"):
        finish(d4rl, subtask)
    d4rl.step(STILL)
    assert (np.abs(d4rl.picture(64).astype(int) - shut).sum(axis=2) > 30).mean() > 0.02


def record(env: KitchenEnv, path: Path, episodes: int = 3, steps: int = 12) -> None:
    """Random actions in D4RL's format; the first episode opens the microwave."""
    rows = []
    for seed in range(episodes):
        env.reset(seed)
        for step in range(steps):
            if seed == 0 and step == 5:
                finish(env, "microwave")
            state = env.observe(["state"])["state"]
            action = np.random.default_rng([seed, step]).uniform(-1, 1, 9).astype(np.float32)
            outcome = env.step(action)
            rows.append((state, action, np.float32(outcome.reward), False, step == steps - 1))
    with h5py.File(path, "w") as file:
        for column, name in enumerate(("observations", "actions", "rewards", "terminals", "timeouts")):
            file[name] = np.array([row[column] for row in rows])


def test_from_a_file_to_finished_subtasks(
    d4rl: KitchenEnv, omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "mini_kitchen" in omp("prepare", "kitchen", "--dry-run").out, "its data are public: nothing is recorded"
    record(d4rl, tmp_path / "kitchen_microwave_kettle_bottomburner_light-v0.hdf5")
    file = ("--file", tmp_path / "kitchen_microwave_kettle_bottomburner_light-v0.hdf5")
    result = omp("prepare", "kitchen", *file, "--out", tmp_path / "d", "--json").json["result"]
    assert (result["task"], result["environment"], result["state_dim"]) == ("mixed", "d4rl", 60)
    assert result["returns"] == {"mean": 0.333, "min": 0.0, "max": 1.0}
    data = read_store(tmp_path / "d")
    goal = data.arrays["state"][0, 30:].tolist()
    wanted = {"name": "kitchen", "environment": "d4rl", "goal": goal, "max_steps": 280}
    assert data.provenance["rollout_suite"] == wanted
    refused(omp("prepare", "kitchen", *file, "--set", "environment=v1", "--out", tmp_path / "e"), 2, "state_dim is 59")
    parts = ("--encoder", "state", "--net", "residual-mlp", "--method", "dmpo", "--set", "net.hidden=32")
    small = ("--set", "chunk.n_obs=1", "--set", "chunk.horizon=4", "--set", "chunk.execute=4", "--batch-size", 8)
    trained = omp("pretrain", tmp_path / "d", *parts, *small, "--steps", 2, "--out", tmp_path / "run")
    assert trained.code == 0, trained.err
    line = ("eval", tmp_path / "run", "--episodes", 2, "--workers", 1, "--max-steps", 8, "--out", tmp_path / "eval")
    shown = omp(*line)
    assert shown.code == 0, shown.err
    assert "Finished sub-tasks from held-out start states" in shown.out
    assert "finished sub-tasks of the demonstrations: mean 0.333" in shown.out
    figures = json.loads((tmp_path / "eval" / "manifest.json").read_text())["metrics"]
    assert (figures["metric"], figures["counts"]) == ("return", "finished sub-tasks")
    assert (figures["return"]["mean"], figures["success_any"]["episodes"]) == (0.0, 2)
    assert figures["success_chunk"]["successes"] == 0
    records = [json.loads(row) for row in (tmp_path / "eval" / "episodes.jsonl").read_text().splitlines()]
    assert [(r["episode_return"], r["success_any"], r["terminated"], r["steps"]) for r in records] == [
        (0.0, False, False, 8)
    ] * 2
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    refused(omp(*line[:-1], tmp_path / "none"), 4, "gymnasium-robotics is not installed", "omp-cli[kitchen]")
