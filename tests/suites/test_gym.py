"""Gym locomotion: what the tables say is what the simulator has, layouts never mix, falls terminate."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from omp_cli.core.base.errors import MissingDependency, UsageError
from omp_cli.core.data.catalogue import read_catalogue
from omp_cli.core.data.store import start_hash
from omp_cli.core.envs.chunking import ChunkEnv
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES
from omp_cli.core.suites.gym import ENVIRONMENTS, Gym, GymEnv


def suite(environment: str | None = None) -> Gym:
    built = SUITES.build(SUITES.parse({"name": "gym", "environment": environment}))
    assert isinstance(built, Gym)
    return built


def episode(env: GymEnv, seed: int, steps: int = 40) -> list[bytes]:
    """Start, then observation, positions and reward of random actions."""
    env.reset(seed)
    random, seen = np.random.default_rng(seed), [env.start_state().tobytes()]
    for _ in range(steps):
        outcome = env.step(random.uniform(-1, 1, env.spec.action_dim))
        arrays = env.observe(["state", "full_state"])
        seen += [arrays["state"].tobytes(), arrays["full_state"].tobytes(), np.float64(outcome.reward).tobytes()]
    return seen


@pytest.mark.parametrize("task", ENVIRONMENTS)
def test_the_tables_are_the_simulators(task: str) -> None:
    env, known = suite().make(task), ENVIRONMENTS[task]
    sim, spec = env._sim, env.spec
    assert sim.observation_space.shape == (spec.state_dim - known.zeros,)
    assert sim.action_space.shape == (spec.action_dim,)
    assert gymnasium.spec(known.id).max_episode_steps == spec.max_steps
    assert spec.control_hz == pytest.approx(1.0 / sim.dt)
    facts = read_catalogue().suite("gym").facts(task)
    assert facts is not None
    assert facts.control_hz == pytest.approx(spec.control_hz, abs=0.05)
    assert facts.max_steps == spec.max_steps
    assert np.allclose(sim.action_space.high, facts.action_limit)
    assert env.provenance()["action_half_range"] == pytest.approx([facts.action_limit] * spec.action_dim)
    first = episode(env, 3)
    assert episode(env, 4) != first
    assert episode(env, 3) == first
    env.close()


def test_what_is_observed_and_executed_is_the_environments_own() -> None:
    ours = suite().make("humanoid-v5")
    theirs = gymnasium.make("Humanoid-v5", disable_env_checker=True).unwrapped
    ours.reset(5)
    expected, _ = theirs.reset(seed=5)
    random = np.random.default_rng(0)
    for _ in range(10):
        assert np.array_equal(ours.observe(["state"])["state"], expected.astype(np.float32))
        action = random.uniform(-1.5, 1.5, 17).astype(np.float32)
        expected, reward, terminated, _, _ = theirs.step(np.clip(action, -1, 1) * np.float32(0.4))
        outcome = ours.step(action)
        assert (outcome.reward, outcome.success, outcome.terminated) == (reward, False, terminated)


def test_the_ant_of_d4rl_is_that_of_v4_and_zeros() -> None:
    ant, plain = suite().make("ant-medium-expert"), suite().make("ant-v4")
    for env in (ant, plain):
        env.reset(2)
        env.step(np.ones(8))
    state = ant.observe(["state"])["state"]
    assert state.shape == (111,)
    assert np.array_equal(state[:27], plain.observe(["state"])["state"])
    assert not state[27:].any()


def test_data_sets_find_the_environment_that_shows_such_data() -> None:
    def found(task: str, state: int, action: int, simulator: str | None = None, asked: str | None = None) -> str | None:
        data = Spec(suite="gym", task=task, action_dim=action, state_dim=state, max_steps=1000, control_hz=125.0)
        config = suite().for_data(data, {"env_id": simulator}, asked)
        return None if config is None else config.environment  # type: ignore[attr-defined]

    assert found("hopper-medium", 11, 3) == "hopper-v4"
    assert found("hopper-medium", 11, 3, "Hopper-v5") == "hopper-v5"
    assert found("hopper-medium", 11, 3, None, "hopper-v5") == "hopper-v5"
    assert found("hopper-v5", 11, 3) == "hopper-v5"
    assert found("ant-medium-expert", 111, 8) == "ant-d4rl"
    assert found("ant-medium", 105, 8, "Ant-v5") == "ant-v5"
    assert found("ant-medium", 27, 8) == "ant-v4"
    assert found("humanoid-medium", 376, 17) == "humanoid-v4"
    assert found("humanoid-medium", 348, 17) == "humanoid-v5"
    assert found("hopper-medium", 12, 3) is None
    with pytest.raises(UsageError, match="state_dim is 105"):
        found("ant-medium-expert", 111, 8, None, "ant-v5")
    with pytest.raises(UsageError, match="not one of its robot"):
        found("hopper-medium", 11, 3, None, "walker2d-v4")
    with pytest.raises(UsageError, match="action_dim is 3"):
        suite().spec("hopper-v4").same_layout(suite().spec("hopper-v4").model_copy(update={"action_dim": 4}))


def test_every_data_set_of_the_catalogue_has_an_environment() -> None:
    for entry in read_catalogue().of("gym"):
        spec = suite().spec(entry.task)
        assert (spec.task, spec.max_steps) == (entry.task, 1000)
    assert suite("hopper-v5").environment("hopper-medium") == "hopper-v5"
    with pytest.raises(UsageError, match="unknown task"):
        suite().spec("hoper-medium")


@pytest.mark.parametrize("n_obs", [1, 2])
def test_a_fall_ends_the_chunk_and_the_episode(n_obs: int) -> None:
    plain, chunked = suite().make("hopper-v4"), ChunkEnv(suite().make("hopper-v4"), ("state",), n_obs, 4)
    plain.reset(1)
    rewards, fell = [], False
    while not fell:
        outcome = plain.step(np.ones(3))
        rewards.append(outcome.reward)
        fell = outcome.terminated
    assert len(rewards) < 100
    chunked.reset(seed=1)
    total, flags = 0.0, (False, False)
    while not any(flags):
        obs, reward, *flags, info = chunked.step(np.ones((4, 3), np.float32))  # type: ignore[assignment]
        total += reward
    assert list(flags) == [True, False], "terminated, and not truncated besides"
    assert info["steps"] == len(rewards)
    assert total == pytest.approx(sum(rewards))
    assert np.array_equal(obs["state"][-1], plain.observe(["state"])["state"])
    after = chunked.step(np.ones((4, 3), np.float32))
    assert (after[1], after[2], after[3], after[4]["steps"]) == (0.0, True, False, len(rewards))
    _, info = chunked.reset(seed=1)
    plain.reset(1)
    assert info["start_state"] == start_hash(plain.start_state())
    assert chunked.step(np.zeros((4, 3), np.float32))[2] is False


def test_the_step_limit_truncates() -> None:
    chunked = ChunkEnv(suite().make("halfcheetah-v5"), ("state",), 1, 4, max_steps=6)
    chunked.reset(seed=0)
    assert chunked.step(np.zeros((4, 6), np.float32))[2:4] == (False, False)
    assert chunked.step(np.zeros((4, 6), np.float32))[2:4] == (False, True)


def test_another_process_makes_the_same_episode() -> None:
    script = (
        "import hashlib; from tests.suites.test_gym import episode, suite; "
        "print(hashlib.sha256(b''.join(episode(suite().make('walker2d-v4'), 9))).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    here = hashlib.sha256(b"".join(episode(suite().make("walker2d-v4"), 9))).hexdigest()
    assert done.stdout.strip() == here


def test_specs_need_no_simulator() -> None:
    script = (
        "import sys; from omp_cli.core.suites.base import SUITES; "
        "s = SUITES.build(SUITES.parse({'name': 'gym'})); [s.spec(t) for t in s.tasks()]; "
        "assert not {'mujoco', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_missing_simulator_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    suite().require()
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(MissingDependency, match="not installed") as caught:
        suite().require()
    assert caught.value.exit_code == 4


def test_the_robot_stays_in_the_picture() -> None:
    env = suite().make("halfcheetah-v4")
    env.reset(0)
    before = env.picture(64).astype(int)
    env._sim.data.qpos[0] += 50.0
    moved = env.picture(64).astype(int)
    assert np.array_equal(before, moved), "whole metres: robot and balls stand where they stood"
    env._sim.data.qpos[0] += 0.5
    assert not np.array_equal(before, env.picture(64).astype(int)), "the balls pass by"
