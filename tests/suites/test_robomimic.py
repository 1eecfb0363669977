"""RoboMimic in the real robosuite: layout, determinism, pictures and rewards beside robosuite's and robomimic's."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from omp_cli.core.base.errors import DataError, MissingDependency, UsageError
from omp_cli.core.data.catalogue import read_catalogue
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES
from omp_cli.core.suites.ends import after_step
from omp_cli.core.suites.robomimic import TASKS, Robomimic, RobomimicEnv, RobomimicSuiteConfig
from omp_cli.core.suites.robomimic.controller import Control
from omp_cli.core.suites.robomimic.experts import OPERATORS, make_expert
from omp_cli.core.suites.robomimic.model import env_kwargs, refresh

real = pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")

BODY_PARTS = {"right": {"type": "OSC_POSE", "kp": 100, "input_type": "delta", "output_max": [0.1] * 6}}


def suite(**values: Any) -> Robomimic:
    return Robomimic(RobomimicSuiteConfig(**values))


@pytest.fixture(scope="module")
def lift() -> Iterator[RobomimicEnv]:
    env = suite(object_state=True).make("lift")
    yield env
    env.close()


def actions(count: int, dim: int = 7) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, (count, dim))


def test_the_catalogue_and_the_suite_agree() -> None:
    facts = read_catalogue().suite("robomimic")
    assert set(facts.tasks) == set(TASKS)
    for name, info in TASKS.items():
        assert (facts.tasks[name].env, facts.tasks[name].max_steps) == (info.env, info.max_steps)
        assert facts.tasks[name].control_hz == Control().control_freq
    assert facts.end_effector == suite().spec("lift").end_effector


def test_specs_are_the_papers() -> None:
    expected = {"lift": (9, 7, 3), "can": (9, 7, 3), "square": (9, 7, 3), "transport": (18, 14, 6)}
    for task, (state, action, channels) in expected.items():
        spec = suite().spec(task)
        assert (spec.state_dim, spec.action_dim, spec.image) == (state, action, (96, 96, channels))
    assert suite(object_state=True, cameras=()).spec("can").state_dim == 9 + 14
    assert suite(cameras=()).spec("can").image is None
    with pytest.raises(UsageError, match="robot0_griper_qpos"):
        suite(state=("robot0_griper_qpos",)).spec("lift")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Control()),
        ({"control_freq": 10, "controller_configs": {"type": "OSC_POSE", "kp": 80}}, Control(control_freq=10, kp=80)),
        ({"controller_configs": [{"type": "OSC_POSE", "control_delta": False}]}, Control(control_delta=False)),
        ({"controller_configs": {"type": "BASIC", "body_parts": BODY_PARTS}}, Control(kp=100, output_max=(0.1,) * 6)),
    ],
)
def test_the_controller_of_a_file_is_understood(given: dict[str, Any], expected: Control) -> None:
    assert Control.of(given) == expected


def test_a_controller_that_cannot_be_rolled_out_is_refused() -> None:
    with pytest.raises(UsageError, match="JOINT_VELOCITY"):
        Control.of({"controller_configs": {"type": "JOINT_VELOCITY"}})


def test_data_are_rolled_out_as_they_were_recorded() -> None:
    image = Spec(
        suite="robomimic", task="square", action_dim=7, state_dim=9, max_steps=400, control_hz=20.0, image=(84, 84, 3)
    )
    notes = {"cameras": ["agentview"], "state": ["robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"]}
    found = suite().for_data(image, {**notes, "env_kwargs": env_kwargs(1, Control(kp=90))}, None)
    assert isinstance(found, RobomimicSuiteConfig)
    assert (found.cameras, found.image_size, found.control.kp) == (("agentview",), 84, 90)
    assert Robomimic(found).spec("square").image == (84, 84, 3)
    blind = suite().for_data(image.model_copy(update={"image": None}), notes | {"cameras": []}, None)
    assert isinstance(blind, RobomimicSuiteConfig)
    assert blind.cameras == ()
    npz = image.model_copy(update={"image": (96, 96, 3)})
    assert suite().for_data(npz, {}, None) == RobomimicSuiteConfig(cameras=("agentview",))
    with_object = suite().for_data(npz.model_copy(update={"image": None, "state_dim": 23}), {}, None)
    assert with_object == RobomimicSuiteConfig(cameras=(), object_state=True)
    assert suite().for_data(npz.model_copy(update={"state_dim": 8}), {}, None) is None


def test_without_robosuite_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "robosuite", None)
    with pytest.raises(MissingDependency) as error:
        suite().make("lift")
    assert "pip install" in error.value.hint


@real
def test_a_seed_is_an_episode_whatever_came_before(lift: RobomimicEnv) -> None:
    def episode(env: RobomimicEnv, seed: int) -> np.ndarray:
        env.reset(seed)
        for action in actions(15):
            env.step(action)
        return env.simulator_state()

    np.random.seed(0)  # noqa: NPY002 - robosuite draws from the global generator, which must not decide
    first = episode(lift, 4)
    assert not np.array_equal(first, episode(lift, 5))
    np.random.seed(9)  # noqa: NPY002
    after = np.random.random()  # noqa: NPY002
    np.random.seed(9)  # noqa: NPY002
    other = suite().make("lift")
    assert np.array_equal(episode(other, 4), first)
    assert np.random.random() == after, "the caller's own random numbers are left alone"  # noqa: NPY002
    other.close()
    lift.reset(4)
    assert lift.start_state()[0] == 0.0
    assert np.array_equal(lift.start_state(), lift.simulator_state())


@real
def test_what_is_observed(lift: RobomimicEnv) -> None:
    lift.reset(1)
    seen = lift.observe(["state", "full_state", "robot0_eef_pos", "object"])
    assert seen["state"].shape == (19,)
    assert seen["state"].dtype == np.float32
    assert np.allclose(seen["state"][:3], seen["robot0_eef_pos"])
    assert np.allclose(seen["state"][9:], seen["object"])
    assert 0.8 < seen["object"][2] < 0.9, "the cube lies on the table"
    assert np.isclose(np.linalg.norm(seen["state"][3:7]), 1.0, atol=1e-5)
    with pytest.raises(DataError, match="shape"):
        lift.restore(np.zeros(5))


@real
def test_success_and_reward_are_robosuites_own(lift: RobomimicEnv) -> None:
    lift.reset(2)
    assert (lift.step(np.zeros(7)).reward, lift.step(np.zeros(7)).success) == (0.0, False)
    state = lift.simulator_state()
    height = 1 + lift.sim.sim.model.get_joint_qpos_addr(lift.sim.cube.joints[0])[0] + 2
    state[height] += 0.1
    lift.show(state)
    assert lift.judge() == (1.0, True)
    assert lift.sim.reward() == 1.0


@real
def test_pictures_are_upright_and_those_of_robosuite(lift: RobomimicEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    """robosuite's own renderer, as robomimic turns its pictures: equal but for reflections and soft edges."""
    monkeypatch.setenv("MUJOCO_GL", "egl")  # robosuite would set it for good
    import robosuite

    lift.reset(6)
    ours = np.concatenate([lift.photograph("agentview"), lift.photograph("robot0_eye_in_hand")], axis=2)
    kwargs = env_kwargs(1, Control()) | {"has_offscreen_renderer": True, "use_camera_obs": True}
    kwargs |= {"camera_names": ["agentview", "robot0_eye_in_hand"], "camera_heights": 96, "camera_widths": 96}
    theirs = robosuite.make("Lift", **kwargs)
    theirs.reset_from_xml_string(lift.sim.sim.model.get_xml())
    theirs.sim.set_state_from_flattened(lift.simulator_state())
    theirs.sim.forward()
    raw = theirs._get_observations(force_update=True)
    expected = np.concatenate([raw["agentview_image"][::-1], raw["robot0_eye_in_hand_image"][::-1]], axis=2)
    difference = np.abs(ours.astype(int) - expected).mean()
    assert difference < 3.0
    assert np.abs(ours[::-1].astype(int) - expected).mean() > 5 * difference
    theirs.close()


@real
def test_a_picture_for_people_needs_no_opengl(lift: RobomimicEnv) -> None:
    lift.reset(0)
    picture = lift.picture(64)
    assert picture.shape == (64, 64, 3)
    assert picture.std() > 20


@real
@pytest.mark.usefixtures("robomimic_envs")
def test_robomimic_replays_our_episode_bit_for_bit(lift: RobomimicEnv) -> None:
    from robomimic.envs.env_robosuite import EnvRobosuite

    lift.reset(8)
    start, model = lift.simulator_state(), lift.sim.sim.model.get_xml()
    states, rewards = [], []
    for action in actions(12):
        rewards.append(lift.step(action).reward)
        states.append(lift.simulator_state())
    env = EnvRobosuite("Lift", **env_kwargs(1, Control()))
    seen = env.reset_to({"states": start, "model": model})
    lift.reset(8)
    ours = lift.observations()
    for key in ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "robot0_joint_pos", "object"):
        assert np.array_equal(seen[key], ours[key]), key
    for action, state, reward in zip(actions(12), states, rewards, strict=True):
        _, got, _, _ = env.step(action)
        assert np.array_equal(env.get_state()["states"], state)
        assert got == reward


@real
@pytest.mark.parametrize("task", TASKS)
def test_a_step_is_robosuites_own_bit_for_bit(task: str) -> None:
    """With contacts (arms pressed onto the table, fingers closing), whichever of the two moved the arms before."""
    env = suite(cameras=()).make(task)
    moves = actions(30, env.spec.action_dim)
    moves[:25, 2::7] = -1.0
    contacts = []

    def episode(ours: Callable[[int], bool]) -> list[np.ndarray]:
        env.reset(5)
        seen = []
        for index, move in enumerate(moves):
            if ours(index):
                env.step(move)
            else:
                env.sim.step(move)
                refresh(env.sim)
            contacts.append(env.sim.sim.data.ncon)
            observed = [np.atleast_1d(value) for value in env.observations().values()]
            seen.append(np.concatenate([env.simulator_state(), env.sim.sim.data.ctrl, env.judge(), *observed]))
        return seen

    theirs = episode(lambda index: False)
    assert np.array_equal(episode(lambda index: True), theirs)
    assert np.array_equal(episode(lambda index: index % 2 == 0), theirs)
    assert len(set(contacts)) > 1
    env.close()


@real
@pytest.mark.parametrize("task", ["can", "transport"])
def test_the_other_tasks_show_what_their_spec_says(task: str) -> None:
    built = SUITES.build(SUITES.parse({"name": "robomimic", "object_state": True}))
    env = built.make(task)
    env.reset(3)
    assert env.observe(["state"])["state"].shape == (env.spec.state_dim,)
    start = env.start_state()
    env.step(np.zeros(env.spec.action_dim))
    env.reset(3)
    assert np.array_equal(env.start_state(), start)
    env.close()


@real
@pytest.mark.parametrize(("task", "near"), [("lift", 0.0), ("can", 0.1), ("square", 0.03)])
def test_an_episode_says_whether_it_grasped_and_how_far_the_goal_was(task: str, near: float) -> None:
    env = suite(cameras=()).make(task)
    env.reset(3)
    idle = env.step(np.zeros(env.spec.action_dim)).ends
    assert idle["grasped"] is False
    assert 0.01 < idle["to_goal"] < 1.0
    expert, ends = make_expert(task, env.sim, OPERATORS["clean"], 3), {}
    for _ in range(200):
        outcome = env.step(np.clip(expert.action(), -1.0, 1.0))
        ends = after_step(ends, outcome.ends)
        if outcome.success:
            break
    assert outcome.success
    assert ends["grasped"] is True
    assert ends["to_goal"] <= near
    env.close()


@real
def test_an_unknown_camera_is_one_line() -> None:
    with pytest.raises(UsageError, match="no camera 'agentviw'") as error:
        suite(cameras=("agentviw",)).make("lift")
    assert "agentview" in error.value.hint
