"""Turning windows: inputs and targets stay together, in the formula, in a simulator and in the training loop."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from omp_cli.core.base import config as c
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.layers import Layer, merge
from omp_cli.core.base.presets import preset_layer
from omp_cli.core.base.progress import Silent
from omp_cli.core.checkpoint import EMA, MODEL, TRAINING, open_run
from omp_cli.core.data.store import Dataset, read_store, write_store
from omp_cli.core.spec import Relative, Spec
from omp_cli.core.suites.base import SUITES, with_displacements
from omp_cli.core.suites.metaworld import MetaWorldEnv
from omp_cli.core.train.build import build_policy
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.distributed import World
from omp_cli.core.train.loop import Trainer
from omp_cli.core.train.teacher import load_teacher
from omp_cli.core.train.turning import check_turnable, reach_of, turn_angles, turned
from tests.conftest import Omp
from tests.train.test_loop import SMALL, cut_short, same, weights

CPU = torch.device("cpu")
SPEC = SUITES.build(SUITES.parse({"name": "metaworld", "cloud": {"points": 48}})).spec("reach")
OLD = SPEC.model_copy(update={"displacements": ()})


def window(batch: int = 5, obs: int = 3) -> tuple[dict[str, Tensor], Tensor]:
    """Windows of made-up observations in float64, and actions no component of which turning carries beyond 1."""
    g = torch.Generator().manual_seed(0)
    state = torch.rand(batch, obs, 9, generator=g, dtype=torch.float64) + 0.3
    cloud = torch.rand(batch, obs, 48, 3, generator=g, dtype=torch.float64)
    actions = torch.rand(batch, 4, 4, generator=g, dtype=torch.float64) - 0.5
    return {"state": state, "point_cloud": cloud}, actions


def angles(*degrees: float) -> Tensor:
    return torch.tensor([math.radians(angle) for angle in degrees], dtype=torch.float64)


def rotation(degrees: float) -> np.ndarray:
    angle = math.radians(degrees)
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def moving(frames: int = 80) -> Dataset:
    """Two episodes of a hand that goes along y and hardly along x; the cloud stands still, actions reach 0.8."""
    time = np.linspace(0, 1, frames)
    hand = np.stack([0.001 * np.cos(9 * time), 0.4 + 0.3 * np.sin(3 * time), 0.2 + 0.05 * time], 1)
    finger = np.array([0.05, 0, 0])
    state = np.concatenate([hand, hand + finger, hand - finger], 1)
    action = np.stack([0.01 * np.sin(9 * time), 0.8 * np.cos(3 * time), 0.1 * time, np.sign(time - 0.5)], 1)
    cloud = np.random.default_rng(0).uniform([-0.2, 0.4, 0], [0.2, 0.9, 0.3], (1, 48, 3)).repeat(frames, 0)
    arrays = {"state": state, "action": action, "point_cloud": cloud}
    typed = {name: array.astype(np.float32) for name, array in arrays.items()}
    provenance = {"recipe": {"suite": {"name": "metaworld"}}, "start_states": []}
    return Dataset(Path("made-up"), typed, np.array([frames // 2, frames]), SPEC, provenance, "")


def settings(**changed: Any) -> PretrainConfig:
    values = SMALL | {"train.turn": 30.0} | {key.replace("__", "."): value for key, value in changed.items()}
    return c.validated(PretrainConfig, merge([preset_layer("pretrain", "light"), Layer("test", values)])[0])


def trainer(folder: Path, data: Dataset | None = None, world: World | None = None, **changed: Any) -> Trainer:
    return Trainer(settings(**changed), data or moving(), folder, CPU, world or World(), Silent())


def test_a_quarter_turn_by_hand() -> None:
    """The newest hand stays; east of it becomes north of it, and a step east a step north."""
    state = torch.tensor([[[9.0, 9, 9] * 3, [1, 2, 3, 2, 2, 5, 1, 1, 3]]])
    cloud = torch.tensor([[[[0.0, 0, 7]], [[1, 5, 7]]]])
    actions = torch.tensor([[[1.0, 0, 0.5, -1], [0.25, 0.5, 0, 1]]])
    obs, turned_actions = turned({"state": state, "point_cloud": cloud}, actions, angles(90).float(), SPEC)
    torch.testing.assert_close(obs["state"][0, 1], torch.tensor([1.0, 2, 3, 1, 3, 5, 2, 2, 3]))
    torch.testing.assert_close(obs["state"][0, 0, :3], torch.tensor([1 - 7.0, 2 + 8, 9]))
    torch.testing.assert_close(obs["point_cloud"][0, :, 0], torch.tensor([[3.0, 1, 7], [-2, 2, 7]]))
    torch.testing.assert_close(turned_actions, torch.tensor([[[0.0, 1, 0.5, -1], [-0.5, 0.25, 0, 1]]]))
    assert torch.equal(state[0, 1, :3], torch.tensor([1.0, 2, 3])), "what came in is not written to"


def test_forth_and_back_is_the_identity() -> None:
    obs, actions = window()
    there = angles(-170, -30, 0, 10, 90)
    found, back = turned(*turned(obs, actions, there, SPEC), -there, SPEC)
    torch.testing.assert_close(back, actions)
    for key, x in obs.items():
        torch.testing.assert_close(found[key], x)


def test_it_commutes_with_the_encoders_inputs_and_the_targets() -> None:
    """What the nets get of a turned window is what they get of the window, turned about the origin."""
    obs, actions = window()
    by = angles(-30, -7, 0, 12, 30)
    encoder = build_policy(settings(), moving()).encoder.double()
    after, targets = turned(obs, actions, by, SPEC)
    before, turn = encoder._placed(obs["point_cloud"], obs["state"]), torch.from_numpy
    for row, angle in enumerate(by):
        r = turn(rotation(math.degrees(angle)))
        placed = encoder._placed(after["point_cloud"], after["state"])[row]
        torch.testing.assert_close(placed[..., :2], before[row][..., :2] @ r.T)
        torch.testing.assert_close(placed[..., 2], before[row][..., 2])
        torch.testing.assert_close(targets[row, :, :2], actions[row, :, :2] @ r.T)
        for finger in (slice(3, 5), slice(6, 8)):
            offset = [x["state"][row, :, finger] - x["state"][row, :, :2] for x in (obs, after)]
            torch.testing.assert_close(offset[1], offset[0] @ r.T)


def test_a_turned_point_mass_goes_where_its_turned_actions_lead() -> None:
    """p' = p + a / 100, over a window whose states and actions are in step."""
    actions = torch.rand(1, 6, 4, dtype=torch.float64) - 0.5
    path = torch.cumsum(torch.cat([torch.rand(1, 1, 3, dtype=torch.float64), actions[:, :-1, :3] / 100], 1), 1)
    obs, after = turned({"state": path.repeat(1, 1, 3)}, actions, angles(77), SPEC)
    moved = obs["state"][..., :3]
    torch.testing.assert_close(moved[:, 1:] - moved[:, :-1], after[:, :-1, :3] / 100)
    torch.testing.assert_close(moved[:, -1], path[:, -1])
    assert not torch.allclose(moved[:, 0], path[:, 0])


@pytest.mark.parametrize("degrees", [-30, 30])
def test_a_turned_action_turns_the_hands_way_in_the_simulator(degrees: int) -> None:
    """Its target exactly; the arm that follows it is not the same in all directions."""
    env = SUITES.build(SUITES.parse({"name": "metaworld"})).make("reach")
    assert isinstance(env, MetaWorldEnv)
    actions = np.random.default_rng(0).uniform(-0.3, 0.6, (20, 4))

    def way(actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        env.reset(3)
        seen = []
        for action in [np.zeros(4), *actions]:
            env.step(action)
            seen.append(np.stack([env._data.mocap_pos[0], env.observe(["state"])["state"][:3]]))
        return tuple((np.stack(seen) - seen[0])[:, i] for i in (0, 1))  # type: ignore[return-value]

    plain, by = way(actions), torch.tensor([math.radians(degrees)], dtype=torch.float64)
    obs = {"state": torch.zeros(1, 1, 9, dtype=torch.float64)}
    target, hand = way(turned(obs, torch.from_numpy(actions)[None], by, SPEC)[1][0].numpy())
    expected = [np.concatenate([p[:, :2] @ rotation(degrees).T, p[:, 2:]], 1) for p in plain]
    np.testing.assert_allclose(target, expected[0], atol=1e-6)
    size = np.abs(expected[1]).max()
    assert size > 0.02
    assert np.abs(hand - expected[1]).max() < 0.15 * size
    assert np.abs(hand - plain[1]).max() > 0.3 * size


def test_angles_are_a_function_of_seed_and_step() -> None:
    drawn = turn_angles(30, 4000, seed=1, step=2)
    assert torch.equal(drawn, turn_angles(30, 4000, seed=1, step=2))
    assert not torch.equal(drawn, turn_angles(30, 4000, seed=1, step=3))
    assert not torch.equal(drawn, turn_angles(30, 4000, seed=2, step=2))
    degrees = drawn.rad2deg()
    assert degrees.abs().max() <= 30 + 1e-4
    assert degrees.std().item() == pytest.approx(30 / math.sqrt(3), rel=0.03)
    assert abs(degrees.mean().item()) < 1


def test_displacements_are_clipped_as_the_environment_clips_them() -> None:
    obs, _ = window(1)
    actions = torch.tensor([[[1.0, 1, 1, 1], [1, 0.2, -1, 1]]], dtype=torch.float64)
    _, found = turned(obs, actions, angles(30), SPEC, reach=reach_of(actions[0], SPEC))
    free = actions[0, :, :2].numpy() @ rotation(30).T
    np.testing.assert_allclose(found[0, :, :2], np.clip(free, -1, 1))
    assert free.max() > 1.3
    torch.testing.assert_close(found[..., 2:], actions[..., 2:])


def test_unclipped_data_stay_unclipped() -> None:
    """What a proportional expert asks for turns with the scene, however large it is."""
    obs, _ = window(1)
    actions = torch.tensor([[[4.0, 3, 0, 0]]], dtype=torch.float64)
    reach = reach_of(torch.tensor([[4.0, 3, 0, 0], [-6, 0, 0, 0], [0, 0, 90, 90]]), SPEC)
    assert reach == 6
    _, found = turned(obs, actions, angles(30), SPEC, reach)
    np.testing.assert_allclose(found[0, 0, :2], rotation(30) @ [4, 3])


def test_the_batch_is_turned_in_the_loop_and_not_without_the_setting(tmp_path: Path) -> None:
    still, turning = trainer(tmp_path / "a", train__turn=0.0), trainer(tmp_path / "b")
    (obs, actions, draws), (after, targets, same_draws) = still.batches(0), turning.batches(0)
    by = turn_angles(30, 16, seed=0, step=0)
    expected, expected_targets = turned(obs, actions, by, SPEC, 1.0)
    assert torch.equal(targets, expected_targets)
    assert all(torch.equal(after[key], expected[key]) for key in obs)
    assert not torch.equal(targets, actions)
    assert torch.equal(draws.noise, same_draws.noise), "noises and times do not depend on it"


def test_several_processes_turn_their_shares_as_one_would(tmp_path: Path) -> None:
    whole, *shares = (trainer(tmp_path / "a", world=w).batches(0) for w in (World(), World(0, 2), World(1, 2)))
    assert torch.equal(whole[1], torch.cat([share[1] for share in shares]))
    for key, x in whole[0].items():
        assert torch.equal(x, torch.cat([share[0][key] for share in shares]))


def test_resume_continues_to_the_same_bits(tmp_path: Path) -> None:
    trainer(tmp_path / "whole").run()
    trainer(tmp_path / "still", train__turn=0.0).run()
    cut_short(trainer(tmp_path / "cut"), 6)
    again = trainer(tmp_path / "cut")
    assert again.resume() == 4
    again.run()
    for name in (MODEL, EMA, TRAINING):
        assert same(weights(tmp_path / "whole", name), weights(tmp_path / "cut", name)), name
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "still"))


@pytest.mark.parametrize("degrees", [30.0, 180.0])
@pytest.mark.parametrize("origin", ["gripper", "world"])
def test_what_is_turned_stays_within_the_limits_of_the_normalisation(
    tmp_path: Path, degrees: float, origin: str
) -> None:
    """The demonstrations move along y: measured by their own range along x, a turned action is far away."""
    run = trainer(tmp_path, train__turn=degrees, encoder__origin=origin, train__batch_size=400)
    obs, actions, _ = run.batches(0)
    policy: Any = run.policy
    assert policy.action_limits(actions).abs().max() < 1.02
    assert policy.encoder.state_limits(obs["state"]).abs().max() < 1.02
    assert policy.encoder.cloud_limits(obs["point_cloud"]).abs().max() < 1.02
    narrow: Any = build_policy(settings(train__turn=0.0), moving())
    assert narrow.encoder.state_limits(obs["state"]).abs().max() > 5, "the limits of the data as they are"
    assert narrow.action_limits(actions).abs().max() > 20


@pytest.mark.parametrize(
    ("keys", "change", "message"),
    [
        (("state", "img"), {}, "reads img"),
        (("point_cloud",), {}, "does not read the state"),
        (("state",), {"displacements": ()}, "displacements in the world frame"),
        (("state",), {"positions": ()}, "no positions"),
        (("state",), {"end_effector": None}, "no positions"),
        (("state", "point_cloud"), {"cloud_in_world": False}, "not in the world frame"),
        (("state",), {"relative_actions": (Relative(first=3, base=3),)}, "do not go together with chunk.relative"),
        (("state",), {"relative_state": (Relative(first=3, base=3),)}, "do not go together with chunk.relative"),
    ],
)
def test_what_cannot_be_turned_is_refused(keys: tuple[str, ...], change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=rf"train\.turn: .*{message}") as caught:
        check_turnable(keys, SPEC.model_copy(update=change))
    assert "train.turn" in caught.value.hint
    check_turnable(("state", "point_cloud"), SPEC)
    check_turnable(("state",), SPEC.model_copy(update={"cloud_in_world": False}))


def test_only_suites_whose_actions_are_displacements_say_so() -> None:
    """Adroit's and the gym's are joint targets and torques, robomimic's states hold orientations, the toy's goals."""
    said = {name for name in SUITES.names() for s in [SUITES.build(SUITES.parse({"name": name}))]
            for task in s.tasks() if s.spec(task).displacements}  # fmt: skip
    assert said == {"metaworld"}
    for triple in SPEC.displacements:
        assert max(triple) < SPEC.action_dim


@pytest.mark.parametrize(
    ("spec", "suite", "known"),
    [
        (OLD, {"name": "metaworld"}, True),
        (OLD, {"name": "metaworld", "cloud": {"frame": "dp3"}}, True),
        (OLD.model_copy(update={"positions": ()}), {"name": "metaworld"}, False),
        (OLD.model_copy(update={"task": "of-another-time"}), {"name": "metaworld"}, False),
        (OLD, {"name": "of-a-plugin"}, False),
    ],
)
def test_data_of_an_earlier_omp_learn_their_displacements_from_their_suite(
    spec: Spec, suite: dict[str, Any], known: bool
) -> None:
    found = with_displacements(spec, suite)
    assert found == spec.model_copy(update={"displacements": SPEC.displacements if known else ()})


def test_a_teacher_of_an_earlier_omp_still_teaches(workshop: Path) -> None:
    """Its spec names no displacements, and that is nothing that a student has to share."""
    config = merge(
        [preset_layer("pretrain", "light"), Layer("t", SMALL), Layer("flag", {"method.name": "consistency"})]
    )
    newer = read_store(workshop / "toy").spec.model_copy(update={"displacements": ((0, 1, 2),)})
    settings = c.validated(PretrainConfig, config[0])
    assert load_teacher(open_run(workshop / "run")[-1], settings, newer, CPU).method is not None


def store(folder: Path, **change: Any) -> Path:
    """A data set as an earlier omp has written it: its spec knows no displacements."""
    data = moving()
    spec = OLD.model_copy(update=change).model_dump(mode="json")
    del spec["displacements"]
    ends = [0, *data.episode_ends]
    episodes = [{key: x[a:b] for key, x in data.arrays.items()} for a, b in pairwise(ends)]
    write_store(folder / "demos.zarr", episodes, {**data.provenance, "spec": spec})
    return folder


LINE = ["--steps", "3", "--set", "encoder.channels=[8, 16]", "--set", "net.hidden=16"]


def test_on_the_line_with_data_of_an_earlier_omp(omp: Omp, tmp_path: Path) -> None:
    data = store(tmp_path / "data")
    for name, more in (("turned", ["--set", "train.turn=30"]), ("still", [])):
        ran = omp("pretrain", data, *LINE, *more, "--out", tmp_path / name)
        assert ran.code == 0, ran.err
    specs = [open_run(tmp_path / name)[-1].meta.spec for name in ("turned", "still")]
    assert [spec.displacements for spec in specs] == [SPEC.displacements, ()]
    assert not same(weights(tmp_path / "turned"), weights(tmp_path / "still"))
    said = json.loads((tmp_path / "turned" / "manifest.json").read_text())["config"]["train.turn"]
    assert (said["value"], said["source"]) == (30.0, "--set")


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize("kind", ["toy", "dp3", "pictures", "too far"])
def test_on_the_line_where_it_cannot_be(
    omp: Omp, tmp_path: Path, kind: str, dry: list[str], request: pytest.FixtureRequest
) -> None:
    def of(fixture: str) -> Path:
        return request.getfixturevalue(fixture)  # type: ignore[no-any-return]

    made: dict[str, tuple[Callable[[], Path], list[str]]] = {
        "toy": (lambda: of("toy"), []),
        "dp3": (lambda: store(tmp_path / "data", cloud_in_world=False), ["--set", "encoder.origin=world"]),
        "pictures": (lambda: of("pictures"), ["--encoder", "light-vit"]),
        "too far": (lambda: store(tmp_path / "data"), ["--set", "train.turn=181"]),
    }
    data, more = made[kind]
    out = tmp_path / "run"
    steps = ["--steps", "3", "--set", "train.turn=30"]
    ran = omp(*dry, "pretrain", data(), *steps, *more, "--out", out)
    assert ran.code == 2, ran.err
    assert "train.turn" in ran.err
    assert "Traceback" not in ran.err
