"""What every registered suite must do; a new suite is picked up by its registration."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from omp_cli.core.base.errors import MissingDependency, UsageError
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES, Suite, TaskEnv


def keys(env: TaskEnv) -> tuple[str, ...]:
    """The arrays that an environment shows without OpenGL."""
    return ("state", "full_state") if env.spec.points is None else ("state", "point_cloud", "full_state")


def act(env: TaskEnv, step: int) -> np.ndarray:
    """The expert's action, or where there is none one that the step's number determines."""
    if SUITES.get(env.spec.suite).scripted:
        return env.expert()
    return np.random.default_rng(step).uniform(-1, 1, env.spec.action_dim).astype(np.float32)


@pytest.fixture(scope="module", params=SUITES.names())
def suite(request: pytest.FixtureRequest) -> Suite:
    return SUITES.build(SUITES.parse({"name": request.param}))


@pytest.fixture(scope="module")
def env(suite: Suite) -> Iterator[TaskEnv]:
    try:
        suite.require()
    except MissingDependency as error:
        pytest.skip(str(error))
    env = suite.make(suite.default_task)
    yield env
    env.close()


def rollout(env: TaskEnv, seed: int, steps: int = 5) -> np.ndarray:
    """Everything an episode of the expert shows, as one vector."""
    env.reset(seed)
    frames = []
    for step in range(steps):
        seen = env.observe(keys(env))
        action = act(env, step)
        outcome = env.step(action)
        flags = [outcome.reward, outcome.success, outcome.terminated]
        frames += [*(seen[key].ravel() for key in keys(env)), action, flags]
    return np.concatenate(frames)


def test_tasks_and_groups(suite: Suite) -> None:
    if not suite.simulated:
        assert suite.tasks() == ()
        assert suite.select(["a", "b", "a"], []) == ("a", "b")
        with pytest.raises(MissingDependency):
            suite.make("a")
        with pytest.raises(UsageError, match="unknown group"):
            suite.select([], ["nowhere"])
        return
    assert suite.default_task in suite.tasks()
    assert len(set(suite.tasks())) == len(suite.tasks())
    for group in suite.groups().values():
        assert set(group) <= set(suite.tasks())
    assert suite.select([], []) == (suite.default_task,)
    assert suite.select([suite.default_task] * 2, [*suite.groups()])[0] == suite.default_task
    with pytest.raises(UsageError, match="unknown task"):
        suite.select([suite.default_task + "x"], [])
    with pytest.raises(UsageError, match="unknown group"):
        suite.select([], ["nowhere"])


def test_every_task_has_a_spec(suite: Suite) -> None:
    for task in suite.tasks():
        spec = suite.spec(task)
        assert isinstance(spec, Spec)
        assert SUITES.get(spec.suite) is type(suite)
        assert spec.task == task
        assert spec.max_steps > 0
        assert spec.end_effector is None or max(spec.end_effector) < spec.state_dim
        assert all(max(triple) < spec.state_dim for triple in spec.positions)
        assert suite.metric in ("success", "return")


def test_unknown_settings_are_refused(suite: Suite) -> None:
    with pytest.raises(UsageError, match="unknown setting"):
        SUITES.parse({"name": suite.config.name, "colour": "red"})  # type: ignore[attr-defined]


def test_observations_have_the_shapes_of_the_spec(env: TaskEnv) -> None:
    env.reset(1)
    spec = env.spec
    seen = env.observe(keys(env))
    assert seen["state"].shape == (spec.state_dim,)
    assert spec.points is None or seen["point_cloud"].shape == (spec.points, 3)
    assert all(value.dtype == np.float32 and np.isfinite(value).all() for value in seen.values())
    assert set(env.observe(["state"])) == {"state"}
    assert isinstance(env.filled, int)
    assert all(seconds >= 0.0 for seconds in env.seconds.values())


def test_a_seed_is_an_episode(env: TaskEnv, suite: Suite) -> None:
    first = rollout(env, 3)
    start = env.start_state()
    other = rollout(env, 4)
    assert not np.array_equal(start, env.start_state())
    assert np.array_equal(first, rollout(env, 3))
    assert np.array_equal(start, env.start_state())
    assert not np.array_equal(first, other)
    fresh = suite.make(suite.default_task)
    assert np.array_equal(first, rollout(fresh, 3))
    fresh.close()


def test_observing_changes_nothing(env: TaskEnv) -> None:
    env.reset(5)
    for step in range(4):
        env.step(act(env, step))
    quiet = env.observe(keys(env))
    env.reset(5)
    for step in range(4):
        env.observe(keys(env))
        env.picture(16)
        env.step(act(env, step))
    watched = env.observe(keys(env))
    assert all(np.array_equal(quiet[key], watched[key]) for key in keys(env))


def test_returned_arrays_are_the_callers(env: TaskEnv) -> None:
    env.reset(5)
    seen = env.observe(keys(env))
    kept = {key: value.copy() for key, value in seen.items()}
    start = env.start_state()
    start_kept = start.copy()
    env.step(np.ones(env.spec.action_dim, np.float32))
    env.observe(keys(env))
    env.reset(6)
    assert all(np.array_equal(kept[key], seen[key]) for key in keys(env))
    assert np.array_equal(start, start_kept)


def test_actions_are_clipped(env: TaskEnv) -> None:
    states = []
    for scale in (1.0, 7.0):
        env.reset(2)
        for _ in range(3):
            env.step(np.full(env.spec.action_dim, scale, np.float32))
        states.append(env.observe(["full_state"])["full_state"])
    assert np.array_equal(*states)


def test_the_expert_solves_the_default_task(env: TaskEnv, suite: Suite) -> None:
    env.reset(0)
    if not suite.scripted:
        with pytest.raises(UsageError, match="no scripted expert"):
            env.expert()
        return
    assert env.expert().shape == (env.spec.action_dim,)
    assert env.expert().dtype == np.float32
    assert any(env.step(env.expert()).success for _ in range(env.spec.max_steps))


def test_an_episode_may_go_on_past_its_limit(env: TaskEnv) -> None:
    env.reset(0)
    for _ in range(520):
        env.step(np.zeros(env.spec.action_dim, np.float32))


def test_picture_and_provenance_are_for_people(env: TaskEnv) -> None:
    env.reset(0)
    picture = env.picture(48)
    assert picture.shape == (48, 48, 3)
    assert picture.dtype == np.uint8
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 2
    provenance = env.provenance()
    assert json.loads(json.dumps(provenance)) == provenance
    assert env.spec.points is None or provenance["frame"]["name"] == "world"
