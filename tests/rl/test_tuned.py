"""DPPO's tuning of the last steps alone: a frozen copy takes the first ones, in learning, acting and in checkpoints."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from omp_cli.core.base.errors import UsageError
from omp_cli.core.checkpoint import open_run
from omp_cli.core.deploy.graph import Decision
from omp_cli.core.methods import METHODS, Jump
from omp_cli.core.policy import Policy
from omp_cli.core.rl.ppo_config import PpoConfig
from omp_cli.core.rl.tuned import clips, tuned_jumps
from tests.cli.test_bad_input import refused
from tests.conftest import Omp
from tests.rl.test_ppo import algorithm_of, collected, collectors, policy_of  # noqa: F401


def tuned_of(tuned: int | None, nfe: int = 4, **settings: Any) -> Any:
    more = {} if tuned is None else {"ft_denoising_steps": tuned}
    return algorithm_of("dppo", sees="state", nfe=nfe, **more, **settings)


def mean(policy: Policy, jump: Jump, obs: dict[str, Tensor], z: Tensor) -> Tensor:
    """Where a jump by a policy's own encoder and network leads."""
    return jump.mean(lambda z, r, t, features=None: policy.net(z, r, t, policy.encoder(obs)), z)


@torch.no_grad()
def test_the_chain_of_ppo_begins_where_the_frozen_copy_ends() -> None:
    """By hand: 4 DDIM steps with eta 1; the first 2 with the old weights, the last 2 with the new ones, which alone
    have log-probabilities."""
    algorithm = tuned_of(2)
    policy, old = algorithm.policy, copy.deepcopy(algorithm.policy)
    for parameter in (*policy.net.parameters(), *policy.encoder.parameters()):
        parameter.add_(0.05 * torch.randn_like(parameter))
    obs = {"state": torch.rand(3, 1, 5)}
    torch.manual_seed(7)
    _, points, log_probs = algorithm.act(obs)
    torch.manual_seed(7)
    noise = torch.randn(5, 3, 5, 2)
    z, density = noise[0], []
    for k, jump in enumerate(policy.method.jumps(4, 1.0)):
        std = max(0.1, jump.std)
        z = mean(old if k < 2 else policy, jump, obs, z) + std * noise[k + 1]
        if k >= 2:
            torch.testing.assert_close(points[:, k - 1], z)
            which = slice(None) if k == 2 else policy.window
            entry = -0.5 * noise[k + 1][:, which].double() ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)
            density.append(entry.flatten(1).sum(1))
    torch.testing.assert_close(log_probs, torch.stack(density, 1), rtol=1e-5, atol=1e-4)
    # acting without noise is the same two networks, however it is asked for; one network would do something else
    end = alone = noise[0]
    for k, jump in enumerate(policy.method.jumps(4)):
        end, alone = mean(old if k < 2 else policy, jump, obs, end), mean(policy, jump, obs, alone)
    assert not torch.allclose(alone.clamp(-1, 1), end.clamp(-1, 1), atol=1e-3)
    wanted = policy.executed(end.clamp(-1, 1), obs)
    torch.testing.assert_close(policy.act(obs, noise[0], 4), wanted)
    for reencode in (False, True):
        torch.testing.assert_close(Decision(policy, 4, reencode)(noise[0], obs["state"]), wanted)


def test_the_frozen_copy_never_learns_and_the_ratio_begins_at_1(collectors: Any) -> None:  # noqa: F811
    algorithm = tuned_of(2, lr=1e-2)
    copied = {name: p.clone() for name, p in algorithm.policy.frozen.named_parameters()}
    net = {name: p.clone() for name, p in algorithm.policy.net.named_parameters()}
    rollout = collected(algorithm, collectors)
    assert rollout.points.shape[2] == 3
    assert rollout.log_probs.shape[2] == 2
    batch, _ = algorithm._prepared(rollout, 0)
    figures, _ = algorithm._minibatch(batch, torch.arange(16), 0, True)
    assert figures["log_ratio_per_entry"] <= 1e-6
    assert all(torch.equal(p, copied[name]) for name, p in algorithm.policy.frozen.named_parameters())
    assert any(not torch.equal(p, net[name]) for name, p in algorithm.policy.net.named_parameters())


def test_all_steps_are_no_frozen_copy_and_the_same_draws() -> None:
    one, other = tuned_of(None), tuned_of(4)
    assert one.policy.frozen is None
    assert other.policy.frozen is None
    found = []
    for algorithm in (one, other):
        torch.manual_seed(3)
        found.append(algorithm.act({"state": torch.zeros(2, 1, 5)}))
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_behaviour_cloning_compares_the_tuned_steps_from_where_they_begin(collectors: Any) -> None:  # noqa: F811
    """The policy has not moved yet: the distance is 0."""
    algorithm = tuned_of(2, bc__weight=0.1)
    batch, _ = algorithm._prepared(collected(algorithm, collectors), 0)
    figures, _ = algorithm._minibatch(batch, torch.arange(16), 0, True)
    assert figures["bc"] <= 1e-10


def test_each_row_of_a_field_is_asked_at_its_time() -> None:
    policy = policy_of("dp")
    policy.freeze_from(0.45)
    with torch.no_grad():
        for parameter in policy.net.parameters():
            parameter.add_(0.1)
        own, first, z = torch.randn(4, 8), torch.randn(4, 8), torch.randn(4, 5, 2)
        t = torch.tensor([0.9, 0.45, 0.44, 0.0])
        found = policy.field(torch.cat([own, first], 1))(z, t, t)
        assert policy.frozen is not None
        torch.testing.assert_close(found[:2], policy.frozen.net(z, t, t, first)[:2])
        torch.testing.assert_close(found[2:], policy.net(z, t, t, own)[2:])


def test_clips_are_those_of_the_public_code() -> None:
    """base + (clip - base) (e^{3 t} - 1) / (e^3 - 1) at t = k / (K - 1)."""
    found = clips(PpoConfig(name="dppo", clip=0.01, clip_first=0.001), 5)
    assert found == pytest.approx([0.001, 0.001527, 0.002642, 0.005003, 0.01], rel=1e-3)
    assert clips(PpoConfig(name="dppo", clip=0.01), 3) == [0.01] * 3
    assert clips(PpoConfig(name="dppo", clip=0.01, clip_first=0.001), 1) == pytest.approx([0.01])


def test_each_jump_is_clipped_at_its_own(collectors: Any) -> None:  # noqa: F811
    algorithm = tuned_of(None, clip=0.2, clip_first=0.02, target_kl=None)
    batch, _ = algorithm._prepared(collected(algorithm, collectors), 0)
    with torch.no_grad():
        chain = algorithm._chain(algorithm.policy.encoder(batch.obs), batch.points)
        old = batch.log_probs - math.log(1.1) * algorithm._entries_by_jump  # every ratio is 1.1
        advantage = torch.ones(len(old))
        loss, figures = algorithm._surrogate(chain, old, advantage)
    limits = [min(1.1, 1 + e) for e in clips(algorithm.config, 4)]
    assert float(loss) == pytest.approx(-np.mean([r * 0.99 ** (3 - k) for k, r in enumerate(limits)]), rel=1e-4)
    assert float(figures["clip_share"]) == sum(e < 0.1 for e in clips(algorithm.config, 4)) / 4


def test_what_cannot_be_is_one_line() -> None:
    with pytest.raises(UsageError, match="5, and a decision has 4 steps"):
        tuned_of(5)
    policy = policy_of("dp")
    policy.freeze_from(0.3)
    jumps = METHODS.build(METHODS.parse({"name": "dp"})).jumps(4)
    assert tuned_jumps(policy, jumps, PpoConfig(name="dppo")) == 2
    with pytest.raises(UsageError, match="the last 2 are the policy's own"):
        tuned_jumps(policy, jumps, PpoConfig(name="dppo", ft_denoising_steps=3))


def test_checkpoints_hold_both_networks_and_are_gone_on_with(omp: Omp, toy: Path, tmp_path: Path) -> None:
    small = ["--encoder", "state", "--net", "residual-mlp", "--set", "net.hidden=16"]
    trained = omp("pretrain", toy, "--method", "dp", "--steps", 10, *small, "--out", tmp_path / "dp")
    assert trained.code == 0, trained.err
    run = ["--envs", 2, "--workers", 1, "--set", "algorithm.decisions=3", "--set", "algorithm.warmup=0"]
    run += ["--set", "evaluation.every=0", "--set", "checkpoint_every=1", "--set", "algorithm.lr=0.01"]
    tuned = ["--nfe", 4, "--set", "algorithm.ft_denoising_steps=2"]
    done = omp("finetune", tmp_path / "dp", "--iterations", 2, *run, *tuned, "--out", tmp_path / "ft")
    assert done.code == 0, done.err
    checkpoint = open_run(tmp_path / "ft")[-1]
    assert checkpoint.meta.frozen_from == pytest.approx((50 + 25) / 200)
    policy, before = checkpoint.load("raw"), open_run(tmp_path / "dp")[-1].load("ema")
    assert policy.frozen is not None
    for part in ("encoder", "net"):
        kept, first, learned = (dict(getattr(x, part).named_parameters()) for x in (policy.frozen, before, policy))
        assert all(torch.equal(kept[name], first[name]) for name in first)
        assert any(not torch.equal(learned[name], first[name]) for name in first)
    assert "frozen_from" not in (tmp_path / "dp" / "checkpoints" / "step-00000010" / "policy.json").read_text()
    again = omp("finetune", tmp_path / "ft", "--iterations", 1, *run, "--out", tmp_path / "more")
    assert again.code == 0, again.err
    assert open_run(tmp_path / "more")[-1].meta.frozen_from == checkpoint.meta.frozen_from
    other = ["--set", "algorithm.ft_denoising_steps=3", "--set", "algorithm.encoder=frozen"]
    refused(
        omp("finetune", tmp_path / "ft", *run, *other, "--out", tmp_path / "no"), 2, "the last 2 are the policy's own"
    )
    assert omp("eval", tmp_path / "ft", "--episodes", 2, "--workers", 1, "--out", tmp_path / "eval").code == 0
