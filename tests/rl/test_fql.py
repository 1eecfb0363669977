"""Flow Q-learning: targets by hand, a student between its teacher and the best action, runs from the command line."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from omp_cli.core.base.errors import DataError, Diverged, UsageError
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.checkpoint import open_checkpoint, open_run
from omp_cli.core.data.store import Dataset
from omp_cli.core.envs.chunking import ChunkEnv
from omp_cli.core.envs.pool import EnvPool
from omp_cli.core.methods import METHODS
from omp_cli.core.methods.base import mean_end
from omp_cli.core.policy import Policy, PolicyConfig
from omp_cli.core.rl.base import ALGORITHMS, Start
from omp_cli.core.rl.environments import LOST, Stepped, TrainingEnvs
from omp_cli.core.rl.fql import Fql, FqlConfig, student_loss
from omp_cli.core.rl.replay_buffer import Decisions, Demonstrations, ReplayBuffer, demonstrated
from omp_cli.core.rl.rollout import Collector
from omp_cli.core.spec import Rotation, Spec
from omp_cli.core.suites.base import Outcome, TaskEnv
from tests.conftest import Omp

SPEC = Spec(suite="toy", task="line", action_dim=1, state_dim=2, max_steps=8, control_hz=20, image=(16, 16, 3))
CPU = torch.device("cpu")
STATE = {"name": "state", "hidden": 16, "out": 8}
PICTURES = {"name": "light-vit", "width": 16, "heads": 2, "shift": 2}


def policy_of(
    method: str = "meanflow",
    n_obs: int = 1,
    execute: int = 2,
    encoder: dict[str, Any] = STATE,
    horizon: int | None = None,
    relative: tuple[str, ...] = (),
) -> Policy:
    """One that has learned nothing: its chunks are mostly noise."""
    torch.manual_seed(0)
    parts = {"method": {"name": method}, "net": {"name": "residual-mlp", "hidden": 32}, "encoder": encoder}
    chunk = {"n_obs": n_obs, "horizon": horizon or n_obs + execute, "execute": execute, "relative": relative}
    return Policy(PolicyConfig.model_validate({**parts, "chunk": chunk}), SPEC).eval()


def within_bounds(algorithm: Fql) -> Fql:
    """With noise so small that an untrained policy's chunks, which are mostly noise, are not clipped."""
    draw = algorithm._noise
    algorithm._noise = lambda obs: 0.2 * draw(obs)  # type: ignore[method-assign]
    return algorithm


def fql_of(policy: Policy, nfe: int = 1, envs: int = 4, notes: list[str] | None = None, **settings: Any) -> Fql:
    settings = {"distil_steps": 0, "student_every": 1, "fill": 1, "batch_size": 64} | settings
    pretrained = copy.deepcopy(policy).requires_grad_(False)
    note = (lambda line: None) if notes is None else notes.append
    return Fql(FqlConfig(**settings), Start(policy, pretrained, nfe, envs, 0, CPU, Stopwatch(), note))


def data(**arrays: Any) -> Dataset:
    """An episode of 5 frames that ends by itself, and one of 4 that is cut; the state tells frames apart."""
    frames = np.arange(9, dtype=np.float32)
    everything = {
        "state": np.stack([frames, frames + 100], axis=1),
        "action": frames[:, None] / 10,
        "reward": 2**frames,
        "terminal": frames == 4,
        **arrays,
    }
    everything = {key: value for key, value in everything.items() if value is not None}
    return Dataset(Path("data"), everything, np.array([5, 9]), SPEC, {}, "")


def rows_of(demonstrations: Demonstrations) -> dict[int, tuple[Any, ...]]:
    """By frame: reward, terminated, actions, frames of the observation before and after (where it counts)."""
    torch.manual_seed(0)
    some, found = demonstrations.sample(500), {}
    for index in range(500):
        row = some.map(lambda array, index=index: array[index])  # type: ignore[misc]
        over = bool(row.terminated)
        after = None if over else row.following["state"][:, 0].tolist()
        before, actions = row.obs["state"][:, 0].tolist(), [round(float(a) * 10) for a in row.action[:, 0]]
        found[int(before[-1])] = (float(row.reward), over, actions, before, after)
    return found


def test_demonstrations_are_chunks_with_what_they_led_to() -> None:
    policy = policy_of(n_obs=2)
    assert rows_of(Demonstrations(data(), policy, ends_itself=True)) == {
        0: (1 + 2, False, [0, 1], [0, 0], [1, 2]),
        1: (2 + 4, False, [1, 2], [0, 1], [2, 3]),
        2: (4 + 8, False, [2, 3], [1, 2], [3, 4]),
        3: (8 + 16, True, [3, 4], [2, 3], None),
        4: (16, True, [4, 4], [3, 4], None),
        5: (32 + 64, False, [5, 6], [5, 5], [6, 7]),
        6: (64 + 128, False, [6, 7], [5, 6], [7, 8]),  # what the last frames led to is not in the data
    }
    goes_on = rows_of(Demonstrations(data(), policy, ends_itself=False))
    assert set(goes_on) == {0, 1, 2, 5, 6}
    assert not any(row[1] for row in goes_on.values())


def test_demonstrations_are_rewarded_as_the_environments_are() -> None:
    policy, success = policy_of(), np.arange(9) == 2
    with_success = data(success=success, reward=None)
    rows = rows_of(Demonstrations(with_success, policy, True, reward="success", end_on_success=True))
    assert {frame: row[:2] for frame, row in rows.items()} == {
        **dict.fromkeys((0, 5, 6), (0.0, False)),
        **dict.fromkeys((1, 2), (1.0, True)),
        **dict.fromkeys((3, 4), (0.0, True)),
    }
    with pytest.raises(DataError, match="data/reward is missing"):
        Demonstrations(with_success, policy, True)
    with pytest.raises(DataError, match="data/success is missing"):
        Demonstrations(data(), policy, True, end_on_success=True)


def test_rotations_of_demonstrations_are_learned_in_numbers_that_jump_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = SPEC.model_copy(update={"action_rotations": (Rotation(first=0, kind="angle"),)})
    monkeypatch.setitem(globals(), "SPEC", turned)
    policy = policy_of()
    some = Demonstrations(data(), policy, ends_itself=True).sample(50)
    angles = some.obs["state"][:, 0, 0] / 10
    torch.testing.assert_close(some.action[:, 0], torch.stack([angles.cos(), angles.sin()], 1))
    figures = fql_of(policy)._learn(some, (True, False))
    assert all(bool(value.isfinite()) for value in figures.values())


def test_relative_actions_of_demonstrations_count_from_where_they_were_decided() -> None:
    some = Demonstrations(data(), policy_of(n_obs=2, relative=("0=0",)), ends_itself=True).sample(50)
    newest = some.obs["state"][:, -1, :1]
    chunk = torch.cat([newest, (newest + 1).clamp(max=4 + 4 * (newest > 4))], 1) / 10
    torch.testing.assert_close(some.action[:, :, 0], chunk - newest)


def numbered(first: int, count: int) -> Decisions:
    x = torch.arange(first, first + count)
    pictures = x.to(torch.uint8).view(-1, 1, 1, 1, 1).expand(-1, 1, 2, 2, 3)
    obs = {"state": x.float().view(-1, 1, 1), "img": pictures}
    return Decisions(obs, x.float().view(-1, 1, 1), x.float(), obs, x % 2 == 0)


def test_the_replay_keeps_the_last_decisions_whole() -> None:
    replay = ReplayBuffer(5)
    for first, count in ((0, 3), (3, 2), (5, 4)):
        replay.add(numbered(first, count))
    assert len(replay) == 5
    some = replay.sample(200)
    assert set(some.reward.tolist()) == {4, 5, 6, 7, 8}
    for array in (some.obs["state"], some.action, some.following["state"], some.obs["img"]):
        assert torch.equal(array.flatten(1)[:, 0].float(), some.reward)
    assert torch.equal(some.terminated, some.reward % 2 == 0)
    assert some.obs["img"].dtype == torch.uint8


class Scripted:
    """Four environments in one step: one goes on, one terminates, one is truncated, one's worker dies."""

    restarts = 0

    def reset(self) -> dict[str, Any]:
        return {"state": np.array([[[1.0, 0]], [[2.0, 0]], [[3.0, 0]], [[4.0, 0]]], np.float32)}

    def step(self, actions: Any) -> Stepped:
        return Stepped(
            obs={"state": np.array([[[10.0, 0]], [[91.0, 0]], [[92.0, 0]], [[93.0, 0]]], np.float32)},
            reward=np.array([0.5, 1.5, 2.5, 0.0]),
            terminated=np.array([False, True, False, False]),
            truncated=np.array([False, False, True, False]),
            steps=np.array([2, 1, 2, 0]),
            final={env: {"state": np.array([[10.0 * (env + 1), 0]], np.float32)} for env in (1, 2)},
            lost=np.array([False, False, False, True]),
            finished=[],
        )


def test_targets_by_hand() -> None:
    """A truncated episode is bootstrapped from its last observation, a terminated one from nothing; a lost row is not
    learned from."""
    policy = policy_of()
    for combine, next_q in (("mean", 5.0), ("min", 0.0)):
        algorithm = fql_of(policy, decisions=1, gamma=0.9, combine=combine)
        algorithm._collect(Collector(Scripted(), policy, False, CPU, Stopwatch()))  # type: ignore[arg-type]
        assert len(algorithm.replay) == 3
        kept = algorithm.replay._rows
        assert kept is not None
        rows = kept.map(lambda array: array[:3])
        assert rows.obs["state"][:, 0, 0].tolist() == [1, 2, 3]
        algorithm.target = lambda obs, action: torch.stack([obs["state"][:, 0, 0], obs["state"][:, 0, 0] + 10])  # type: ignore[assignment]
        if combine == "min":
            algorithm.target = lambda obs, action: torch.stack([obs["state"][:, 0, 0] + 10, obs["state"][:, 0, 0]])  # type: ignore[assignment]
        expected = [0.5 + 0.9 * (10 + next_q), 1.5, 2.5 + 0.9 * (30 + next_q)]
        assert torch.allclose(algorithm.targets(rows), torch.tensor(expected))


def test_the_loss_is_least_between_teacher_and_best_action() -> None:
    """alpha mean (a - g)^2 - mean_b (-sum (a - b)^2): least at (alpha g / n + b) / (alpha / n + 1), n numbers."""
    teacher, best, n = torch.randn(3, 2, 2, dtype=torch.float64), torch.full((3, 2, 2), 0.3, dtype=torch.float64), 4
    for alpha in (0.0, 1.0, 1e6):
        chunk = ((alpha / n * teacher + best) / (alpha / n + 1)).requires_grad_()
        q = -(chunk - best).square().sum((1, 2))
        loss = student_loss((chunk - teacher).square().mean(), q, alpha, normalise=False)
        (gradient,) = torch.autograd.grad(loss, chunk)
        assert gradient.abs().max() < 1e-10
        assert torch.allclose(chunk, best if alpha == 0 else teacher, atol=1e-5) == (alpha != 1)
    q = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    gradients = [torch.autograd.grad(student_loss(torch.tensor(0.0), s * q, 1.0, True), q)[0] for s in (1, 10)]
    assert torch.allclose(*gradients)
    assert torch.allclose(gradients[0], torch.full((3,), -1 / 6))


class Quadratic(nn.Module):
    """Both critics know it: Q = -|a - 0.4|^2."""

    def forward(self, obs: dict[str, Tensor], action: Tensor) -> Tensor:
        return -(action - 0.4).square().sum((1, 2)).expand(2, -1)


@pytest.mark.parametrize("alpha", [0.0, 1e4])
def test_the_student_goes_to_the_best_action_or_to_its_teacher(alpha: float) -> None:
    policy = policy_of()
    algorithm = within_bounds(fql_of(policy, alpha=alpha, normalise=False, lr=3e-3))
    algorithm.critics = Quadratic()  # type: ignore[assignment]
    obs, z = {"state": torch.randn(256, 1, 2)}, 0.2 * torch.randn(256, 3, 1)
    with torch.no_grad():
        teacher = policy.act(obs, z)
        if alpha:
            policy.net.outlet.bias += 0.5  # type: ignore[operator, union-attr]
        first = policy.act(obs, z)
        for _ in range(300):
            with torch.enable_grad():
                algorithm._learn_student(obs, distils=False)
        last = policy.act(obs, z)
    to_best, to_teacher, moved = (float((last - x).abs().mean()) for x in (torch.tensor(0.4), teacher, first))
    assert (to_best < 0.1, to_teacher < 0.1) == ((True, False) if not alpha else (False, True))
    assert moved > 0.1


class Apart(nn.Module):
    """Two critics: Q_1 = 3 sum a, and Q_2 = -sum a - 1, which is the lesser one where sum a > -1/4."""

    def forward(self, obs: dict[str, Tensor], action: Tensor) -> Tensor:
        total = action.sum((1, 2))
        return torch.stack([3 * total, -total - 1])


@pytest.mark.parametrize("combine", ["mean", "min"])
def test_the_student_learns_from_the_clipped_teacher_and_the_mean_of_the_critics(
    combine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The student's chunk is s (0.5, -0.3, 0.5), s = 1, of which two actions are executed; the teacher's has two
    entries beyond the bounds. ``combine`` is for the critics' target alone."""
    policy = policy_of()
    algorithm = fql_of(policy, alpha=3.0, normalise=False, combine=combine)
    algorithm.critics = Apart()  # type: ignore[assignment]
    parameter = policy.net.outlet.bias  # type: ignore[union-attr]
    student, teacher, goal = (0.5, -0.3, 0.5), (2.5, -0.4, -3.0), (1.0, -0.4, -1.0)

    def end(u: Any, jumps: Any, z: Tensor) -> Tensor:
        scale = 1 + (parameter - parameter.detach()).sum()
        numbers = torch.tensor(student) * scale if jumps is algorithm._jumps else torch.tensor(teacher)
        return numbers.view(1, 3, 1).expand(4, 3, 1)

    monkeypatch.setattr("omp_cli.core.rl.fql.mean_end", end)
    figures = algorithm._learn_student({"state": torch.zeros(4, 1, 2)}, distils=False)
    assert float(figures["bc"]) == pytest.approx((0.5**2 + 0.1**2 + 1.5**2) / 3)
    assert float(figures["q"]) == pytest.approx((3 * 0.2 - 0.2 - 1) / 2)
    slope = 3 * sum(2 * (a - b) * a for a, b in zip(student, goal, strict=True)) / 3 - 0.2
    assert parameter.grad.flatten()[0] == pytest.approx(slope, rel=1e-5)  # type: ignore[union-attr, operator]


def test_a_student_beyond_the_bounds_finds_back_although_its_method_clips_every_step() -> None:
    policy = policy_of()
    policy.method = METHODS.build(METHODS.parse({"name": "meanflow", "clip_steps": True}))
    algorithm, obs = fql_of(policy, distil_steps=100), {"state": torch.zeros(16, 1, 2)}
    with torch.no_grad():
        policy.net.outlet.bias -= 5  # type: ignore[operator, union-attr]
    algorithm._learn_student(obs, distils=False)
    assert policy.net.outlet.bias.grad.abs().min() > 0  # type: ignore[union-attr]


def test_distillation_comes_first_and_a_frozen_encoder_stays() -> None:
    policy = policy_of(n_obs=2)
    before = copy.deepcopy(policy)
    algorithm = within_bounds(fql_of(policy, distil_steps=3, encoder="frozen", alpha=0.0))
    batch = Demonstrations(data(state=np.zeros((9, 2), np.float32)), policy, True).sample(16)
    for _ in range(3):
        assert algorithm.update(batch)["bc"] == 0  # the teacher of a mean flow takes one step, as the student does
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), before.parameters(), strict=True))
    assert algorithm.update(batch)["bc"] == 0
    assert algorithm.update(batch)["bc"] > 0, "now Q counts"
    assert not any(p.requires_grad for p in algorithm.target.parameters()), "a graph would grow with every update"
    for ours, start in ((policy.encoder, before.encoder), (policy.net, before.net)):
        same = all(torch.equal(a, b) for a, b in zip(ours.parameters(), start.parameters(), strict=True))
        assert same == (ours is policy.encoder)


@pytest.mark.parametrize(("method", "nfe"), [("reflow", 4), ("shortcut", 4), ("meanflow", 1), ("dmpo", 1), ("imf", 1)])
def test_the_teacher_takes_the_steps_that_it_was_trained_for(method: str, nfe: int) -> None:
    policy, seen = policy_of(method), []
    algorithm, obs = within_bounds(fql_of(policy)), {"state": torch.randn(5, 1, 2)}
    assert len(fql_of(policy, teacher_nfe=7)._teacher_jumps) == 7
    hook = algorithm.teacher.net.register_forward_hook(lambda *_: seen.append(None))
    distance = algorithm._learn_student(obs, distils=False)["bc"]
    hook.remove()
    assert len(seen) == nfe
    assert (float(distance) == 0) == (nfe == 1), "equal weights and steps: the same chunk"


def test_what_it_can_start_from() -> None:
    fits = {name for name in METHODS.names() if ALGORITHMS.get("fql").fits(METHODS.get(name))}
    assert {"meanflow", "omp", "dmpo", "reflow", "shortcut"} <= fits
    assert not fits & {"dp", "dp3", "gaussian"}
    with pytest.raises(UsageError, match="1 evaluation"):
        fql_of(policy_of(), nfe=4)
    notes: list[str] = []
    assert fql_of(policy_of(), notes=notes)._demonstrations is None
    assert notes == ["no demonstrations to learn from: the policy comes without them"]
    with pytest.raises(DataError, match="offline_steps: the policy comes without them"):
        fql_of(policy_of(), offline_steps=1)
    assert fql_of(policy_of(), notes=(silent := []), demonstrations=0.0)._demonstrations is None
    assert silent == []
    with pytest.raises(ValueError, match="fill has to be at most capacity"):
        FqlConfig(fill=11, capacity=10)


class Line(TaskEnv):
    """One step: the reward is least far from 0 where the action is 0.5."""

    spec = SPEC

    def reset(self, seed: int) -> None:
        self._state = np.random.default_rng(seed).uniform(-1, 1, 2).astype(np.float32)

    def step(self, action: Any) -> Outcome:
        return Outcome(-float((action[0] - 0.5) ** 2), False, terminated=True)

    def observe(self, keys: Any) -> dict[str, Any]:
        return {"state": self._state, "img": np.full((16, 16, 3), int(128 * (self._state[0] + 1)), np.uint8)}

    def start_state(self) -> Any:
        return self._state

    def picture(self, size: int) -> Any:
        raise NotImplementedError


@pytest.fixture
def line() -> Iterator[Any]:
    """``line(policy)`` -> a collector of four environments."""
    with EnvPool(lambda: ChunkEnv(Line(), KEYS[0], 1, 1), 4, 1, print, LOST) as pool:
        envs = TrainingEnvs(pool, lambda env, number: 10_000 * env + number)
        yield lambda policy: Collector(envs, policy, False, CPU, Stopwatch())


KEYS = [("state", "img")]


def test_it_learns_what_is_rewarded(line: Any) -> None:
    policy = policy_of(execute=1)
    algorithm = fql_of(policy, decisions=16, updates=0.5, alpha=0.01, lr=1e-2, critic_lr=1e-2, critic={"hidden": 32})
    collector = line(policy)
    torch.manual_seed(0)
    returns = []
    for iteration in range(12):
        before = len(collector.recent)
        figures = algorithm.iterate(iteration, collector)
        assert len(collector.recent) > before or before == 100
        returns.append(np.mean([e.episode_return for e in list(collector.recent)[-64:]]))
    assert returns[0] < -0.3
    assert returns[-1] > -0.05
    assert figures["bc"] > 0.1
    assert figures["q"] == pytest.approx(returns[-1], abs=0.05), "nothing follows a termination"


def test_pictures_are_shifted_anew_and_kept_as_they_were(line: Any) -> None:
    policy = policy_of(execute=1, encoder=PICTURES)
    algorithm = fql_of(policy, decisions=2, batch_size=4, updates=0.25)
    torch.manual_seed(0)
    figures = algorithm.iterate(0, line(policy))
    assert set(figures) == {"value_loss", "bc", "q", "replay"}
    kept = algorithm.replay._rows
    assert kept is not None
    assert kept.obs["img"].dtype == torch.uint8
    kept.obs["img"][:, :, 0] = 255  # a bright upper edge moves
    assert len({algorithm._batch(False).obs["img"][0].float().mean().item() for _ in range(8)}) > 1
    assert (kept.obs["img"][:, :, 0] == 255).all()
    assert len({float(fql_of(policy, augment=False)._shift), float(algorithm._shift)}) == 2


@pytest.mark.parametrize(
    ("settings", "done", "told"),
    [
        (
            {"fill": 9, "decisions": 2},
            0,
            "the policy stays as it is: 9 decisions are collected before .* this run has 8",
        ),
        ({"fill": 8, "distil_steps": 9}, 1, "follows the teacher alone for 9 gradient steps .* this run has at most 9"),
        ({"fill": 8, "distil_steps": 8}, 1, None),
    ],
)
def test_a_run_that_ends_before_its_student_learns_says_so(
    line: Any, settings: dict[str, Any], done: int, told: str | None
) -> None:
    notes: list[str] = []
    policy = policy_of(execute=1)
    algorithm = fql_of(policy, notes=notes, **({"decisions": 2, "batch_size": 4, "demonstrations": 0.0} | settings))
    algorithm._updates = done  # as after a resumption, where the replay is empty again
    algorithm.iterate(0, line(policy))
    assert (len(notes), told is None or re.search(told, notes[0]) is not None) == (int(told is not None), True)


def test_a_loss_that_is_not_finite_ends_the_run(line: Any) -> None:
    policy = policy_of(execute=1)
    algorithm = fql_of(policy, decisions=1)
    algorithm.critics.heads[0][0].weight.data.fill_(float("nan"))  # type: ignore[index, union-attr]
    with pytest.raises(Diverged, match="diverged at iteration 1: value_loss nan"):
        algorithm.iterate(0, line(policy))


SMALL = (
    "--algorithm",
    "fql",
    "--set",
    "envs=2",
    "--set",
    "algorithm.decisions=4",
    "--set",
    "algorithm.fill=1",
    "--max-steps",
    9,
)
SMALL = (*SMALL, "--set", "algorithm.batch_size=8", "--set", "evaluation.every=0", "--workers", 1)


def test_a_run_from_the_command_line(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    os.chdir(workshop)  # the run names its data set as it was given
    out = tmp_path / "fine"
    line = (
        "finetune",
        "run",
        *SMALL,
        "--set",
        "algorithm.offline_steps=10",
        "--iterations",
        3,
        "--lr",
        1e-3,
        "--sigma",
        0.1,
    )
    done = omp(*line, "--out", out, "--json")
    assert done.code == 0, done.err
    assert "no demonstrations" not in done.err
    figures = done.json["result"]
    assert (figures["iterations"], figures["nfe"]) == (3, 1)
    assert figures["env_steps"] > 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["metrics"]["replay"] == 8
    assert (manifest["config"]["algorithm.lr"]["value"], manifest["config"]["algorithm.sigma.value"]["value"]) == (
        1e-3,
        0.1,
    )
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["env_steps"] > 0 for row in rows] == [False, False, True], "8 and 2 steps offline, then collecting"
    assert [row["replay"] for row in rows] == [0, 0, 8]
    tuned = open_run(out)[-1]
    policies = tuned.load("ema"), tuned.load("ema")
    several = Fql(FqlConfig(), Start(*policies, 1, 1, 0, CPU, Stopwatch(), lambda line: None, tuned))
    assert len(several._teacher_jumps) == 1, "as it was fine-tuned"
    evaluated = omp("eval", out, "--episodes", 1, "--workers", 1, "--max-steps", 9, "--out", tmp_path / "e", "--json")
    assert evaluated.code == 0, evaluated.err
    assert evaluated.json["result"]["nfe"] == 1
    again = omp(*line, "--out", tmp_path / "again", "--json")
    compared = ("value_loss", "q", "bc", "return")
    assert [again.json["result"][name] for name in compared] == [figures[name] for name in compared]
    assert omp(*line, "--bc", 0.1, "--out", tmp_path / "no").code == 2


def test_a_run_without_its_demonstrations(omp: Omp, run: Path, tmp_path: Path) -> None:
    os.chdir(tmp_path)  # where "toy" is not
    done = omp("finetune", run, *SMALL, "--iterations", 1, "--out", tmp_path / "fine", "--json")
    assert done.code == 0, done.err
    assert "no demonstrations to learn from: data set toy" in done.err
    assert done.json["result"]["value_loss"] > 0
    needed = omp("finetune", run, *SMALL, "--set", "algorithm.offline_steps=1", "--out", tmp_path / "no")
    assert needed.code == 3
    assert "offline_steps: data set toy" in needed.err


def test_an_interrupted_run_goes_on(omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chdir(workshop)
    out, whole, seen = tmp_path / "fine", Fql.iterate, []

    def iterate(self: Fql, iteration: int, collector: Collector) -> dict[str, float]:
        seen.append((iteration, self._updates, len(self.replay), copy.deepcopy(self.tensors())))
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(self, iteration, collector)

    monkeypatch.setattr(Fql, "iterate", iterate)
    line = ("finetune", "run", *SMALL, "--iterations", 3, "--set", "algorithm.student_every=1", "--out", out)
    assert omp(*line).code == 130
    assert omp("finetune", "--resume", out, "--workers", 1).code == 0
    assert [row[:3] for row in seen] == [(0, 0, 0), (1, 8, 8), (1, 8, 0), (2, 16, 8)]
    saved, restored = seen[1][3], seen[2][3]
    assert saved.keys() == restored.keys()
    assert all(torch.equal(saved[name], restored[name]) for name in saved)
    assert {"critics", "target", "optimizer", "critic_optimizer", "updates"} == {name.split("/")[0] for name in saved}
    figures = json.loads((out / "manifest.json").read_text())["metrics"]
    assert (figures["iterations"], figures["resumed_at_iteration"]) == (3, 1)


def test_the_demonstrations_of_a_checkpoint(workshop: Path, tmp_path: Path) -> None:
    os.chdir(workshop)
    checkpoint = open_run(workshop / "run")[-1]
    policy = checkpoint.load("ema")
    rows = demonstrated(checkpoint, policy, "environment", False).sample(64)
    assert rows.action.shape == (64, policy.chunk.execute, 2)
    assert rows.obs["point_cloud"].shape == (64, policy.chunk.n_obs, policy.encoder.config.points, 3)  # type: ignore[attr-defined]
    assert not rows.terminated.any(), "the toy goes on after success"
    assert (rows.reward < 0).any()
    assert demonstrated(checkpoint, policy, "success", True).sample(64).terminated.any()
    copied = open_checkpoint(Path(shutil.copytree(checkpoint.path, tmp_path / "a" / "b" / "c")))
    with pytest.raises(DataError, match="no such file"):
        demonstrated(copied, policy, "environment", False)


def decisions_of(action: float, rows: int = 64) -> Decisions:
    obs = {"state": torch.zeros(rows, 1, 2)}
    return Decisions(obs, torch.full((rows, 2, 1), action), torch.zeros(rows), obs, torch.ones(rows, dtype=torch.bool))


def test_the_flow_learns_the_actions_of_the_batch_by_hand() -> None:
    """The loss is the mean square of u - (z_1 - a), with the draws of the global generator, and Adam steps along it."""
    policy = policy_of("reflow", horizon=2)
    algorithm, batch = fql_of(policy, flow=True), decisions_of(0.5)
    assert algorithm.teacher is not algorithm.start.pretrained
    teacher = copy.deepcopy(algorithm.teacher)
    torch.manual_seed(3)
    noise = torch.randn(64, 2, 1)
    torch.manual_seed(3)
    draws = teacher.method.draw((64, 2, 1), torch.default_generator)
    assert torch.equal(draws.noise, noise)
    t = draws.t.view(-1, 1, 1)
    z_t = (1 - t) * batch.action + t * noise
    expected = (
        (teacher.field(teacher.encoder(batch.obs))(z_t, draws.t, draws.t) - (noise - batch.action)).square().mean()
    )
    torch.manual_seed(3)
    figures = algorithm._learn_teacher(batch, algorithm._teacher_optimizer)  # type: ignore[arg-type]
    torch.testing.assert_close(figures["flow"], expected.detach())
    moved = [not torch.equal(a, b) for a, b in zip(teacher.parameters(), algorithm.teacher.parameters(), strict=True)]
    assert any(moved)
    frozen = dict(algorithm.start.pretrained.named_parameters())
    assert all(torch.equal(p, frozen[name]) for name, p in teacher.named_parameters())


def test_the_student_follows_a_flow_that_learns() -> None:
    """With alpha large and critics that know nothing, both end at the actions of the data."""
    torch.manual_seed(0)
    algorithm, batch = (
        fql_of(policy_of("reflow", horizon=2), flow=True, alpha=100.0, lr=3e-3, teacher_nfe=4),
        decisions_of(0.5),
    )
    for _ in range(150):
        figures = algorithm.update(batch)
    assert {"flow", "bc", "q", "value_loss"} <= figures.keys()
    with torch.no_grad():
        goal = mean_end(
            algorithm.teacher.field(algorithm.teacher.encoder(batch.obs)),
            algorithm.teacher.method.jumps(4),
            torch.randn(64, 2, 1),
        )
    assert float(goal.mean()) == pytest.approx(0.5, abs=0.1)
    assert float(algorithm.act(batch.obs).mean()) == pytest.approx(0.5, abs=0.15)


def test_a_flow_that_learns_is_resumed() -> None:
    first, batch = fql_of(policy_of("reflow", horizon=2), flow=True), decisions_of(0.5)
    for _ in range(3):
        first.update(batch)
    tensors = {name: tensor.clone() for name, tensor in first.tensors().items()}
    again = fql_of(copy.deepcopy(first.policy), flow=True)
    again.restore(tensors)
    for algorithm in (first, again):
        torch.manual_seed(5)
        algorithm.update(batch)
    for a, b in zip(first.teacher.parameters(), again.teacher.parameters(), strict=True):
        assert torch.equal(a, b)
    frozen = fql_of(policy_of("reflow"))
    assert not any(name.startswith("teacher") for name in frozen.tensors())


def test_a_flow_learns_whole_chunks_alone() -> None:
    with pytest.raises(UsageError, match="2 of the 4 actions"):
        fql_of(policy_of("reflow", n_obs=2), flow=True)
