"""Log-probabilities of chains against closed forms, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods import METHODS, VelocityField
from omp_cli.core.methods.base import mean_end
from omp_cli.core.rl.chain import Sigma, SigmaConfig, evaluate_chain, reduced, sample_chain

B, H, A, D = 6, 4, 3, 5
ALL = slice(0, H)
FLOWS = ("dmpo", "reflow", "shortcut", "flowpolicy")
KINDS = ("fixed", "vector", "net")


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.manual_seed(0)


def linear(theta: Tensor) -> VelocityField:
    """u = theta z, whatever the times."""

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return theta * z

    return u


def sigma(kind: str = "fixed", **settings: float) -> Sigma:
    return Sigma(SigmaConfig(kind=kind, **settings), H, A, D).double()  # type: ignore[arg-type]


def drawn(k: int) -> list[Tensor]:
    return list(torch.randn(k + 1, B, H, A, dtype=torch.float64))


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("method", FLOWS)
def test_log_probability_and_its_gradient_are_the_closed_form(method: str, k: int) -> None:
    theta, std = torch.tensor(0.7, dtype=torch.float64, requires_grad=True), 0.3
    jumps = METHODS.build(METHODS.parse({"name": method})).jumps(k)
    h = torch.zeros(B, D, dtype=torch.float64)
    points = torch.randn(B, k + 1, H, A, dtype=torch.float64)
    found = evaluate_chain(linear(theta), jumps, sigma(value=std), h, points, ALL).log_probs
    # z^{k+1} ~ N((1 - theta / K) z^k, std^2)
    residual = points[:, 1:] - (1 - theta.detach() / k) * points[:, :-1]
    density = -0.5 * (residual / std) ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(found, density.flatten(2).sum(2))
    found.sum().backward()
    slope = -(residual * points[:, :-1] / k / std**2).sum()
    torch.testing.assert_close(theta.grad, slope)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sampled_has_the_log_probability_that_is_evaluated(kind: str, k: int) -> None:
    """One grid and one noise for both; the draws alone decide the log-probability of a sample."""
    jumps = METHODS.build(METHODS.parse({"name": "dmpo"})).jumps(k)
    h, u, spread = torch.randn(B, D, dtype=torch.float64), linear(torch.tensor(0.7, dtype=torch.float64)), sigma(kind)
    points, sampled = sample_chain(u, jumps, spread, h, drawn(k), slice(1, 3))
    evaluated = evaluate_chain(u, jumps, spread, h, points, slice(1, 3)).log_probs
    assert points.shape == (B, k + 1, H, A)
    torch.testing.assert_close(evaluated, sampled, rtol=0, atol=1e-10)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_diffusion_chains_too(eta: float) -> None:
    jumps = METHODS.build(METHODS.parse({"name": "dp", "train_steps": 20})).jumps(10, eta)
    h, u, spread = torch.zeros(B, D, dtype=torch.float64), linear(torch.tensor(0.1, dtype=torch.float64)), sigma()
    points, sampled = sample_chain(u, jumps, spread, h, drawn(10), ALL)
    torch.testing.assert_close(evaluate_chain(u, jumps, spread, h, points, ALL).log_probs, sampled)
    # a jump's own noise counts where it is the larger one
    stds = [float(spread(h, jump)) for jump in jumps]
    assert stds == [max(0.1, jump.std) for jump in jumps]
    assert (max(stds) > 0.1) == (eta == 1.0)
    assert stds[-1] == 0.1


@pytest.mark.parametrize("method", FLOWS)
def test_a_chain_of_clipped_steps_has_clipped_means(method: str) -> None:
    """u = -theta z leads away from 0, beyond the bounds: N(z^{k+1}; clip((1 + theta / K) z^k), std^2)."""
    k, theta, std = 3, torch.tensor(0.9, dtype=torch.float64), 0.3
    jumps = METHODS.build(METHODS.parse({"name": method, "clip_steps": True})).jumps(k)
    h = torch.zeros(B, D, dtype=torch.float64)
    points, sampled = sample_chain(linear(-theta), jumps, sigma(value=std), h, drawn(k), ALL)
    mean = ((1 + theta / k) * points[:, :-1]).clamp(-1, 1)
    assert 0.1 < (mean.abs() == 1).double().mean() < 0.9
    residual = (points[:, 1:] - mean) / std
    density = (-0.5 * residual**2 - math.log(std) - 0.5 * math.log(2 * math.pi)).flatten(2).sum(2)
    torch.testing.assert_close(sampled, density)
    found = evaluate_chain(linear(-theta), jumps, sigma(value=std), h, points, ALL, want_end=True)
    torch.testing.assert_close(found.log_probs, density)
    assert found.end is not None
    assert found.end.abs().max() == 1


@pytest.mark.parametrize("k", [1, 5])
def test_entropy_is_that_of_equation_36_by_entry(k: int) -> None:
    """DMPO's closed form, sum over K, H and A of log(sigma sqrt(2 pi e)), divided by K H A."""
    jumps = METHODS.build(METHODS.parse({"name": "dmpo"})).jumps(k)
    h, u = torch.randn(B, D, dtype=torch.float64), linear(torch.tensor(0.5, dtype=torch.float64))
    spread = sigma("net")
    with torch.no_grad():
        spread.net[-1].weight.normal_()
    points, _ = sample_chain(u, jumps, spread, h, drawn(k), ALL)
    total = sum((spread(h, jump) * math.sqrt(2 * math.pi * math.e)).log().sum((1, 2)) for jump in jumps)
    torch.testing.assert_close(evaluate_chain(u, jumps, spread, h, points, ALL).entropy * (k * H * A), total)


def test_ddim_with_all_steps_and_eta_1_is_ddpm() -> None:
    """Posterior deviation of DDPM: beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t)."""
    method = METHODS.build(METHODS.parse({"name": "dp", "train_steps": 20}))
    jumps = method.jumps(20, 1.0)
    bar = (1.0, *method.alpha_bar)  # type: ignore[attr-defined]
    for jump, k in zip(jumps, reversed(range(20)), strict=True):
        beta = 1 - bar[k + 1] / bar[k]
        assert jump.std == pytest.approx(math.sqrt(beta * (1 - bar[k]) / (1 - bar[k + 1])), abs=1e-12)


def test_actions_that_are_not_executed_do_not_count_at_the_last_jump() -> None:
    jumps = METHODS.build(METHODS.parse({"name": "reflow"})).jumps(2)
    h, u = torch.zeros(B, D, dtype=torch.float64), linear(torch.tensor(0.5, dtype=torch.float64))
    points, _ = sample_chain(u, jumps, sigma(), h, drawn(2), slice(0, 2))
    other = points.clone()
    other[:, -1, 2:] += 1
    first, second = (evaluate_chain(u, jumps, sigma(), h, p, slice(0, 2)).log_probs for p in (points, other))
    assert torch.equal(first, second)
    other[:, 1, 2:] += 1  # but they do before: what follows depends on them
    assert not torch.equal(first, evaluate_chain(u, jumps, sigma(), h, other, slice(0, 2)).log_probs)


def test_gaussian_policies_ignore_where_the_chain_begins() -> None:
    method = METHODS.build(METHODS.parse({"name": "gaussian"}))
    h = torch.zeros(B, D, dtype=torch.float64)

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return z + 0.25

    assert torch.equal(mean_end(u, method.jumps(1), drawn(0)[0]), torch.full((B, H, A), 0.25, dtype=torch.float64))
    with pytest.raises(UsageError, match="gaussian"):
        method.jumps(2)
    points, sampled = sample_chain(u, method.jumps(1), sigma("vector"), h, drawn(1), ALL)
    torch.testing.assert_close(evaluate_chain(u, method.jumps(1), sigma("vector"), h, points, ALL).log_probs, sampled)


@pytest.mark.parametrize("kind", KINDS)
def test_sigma_begins_at_its_value_and_keeps_its_bounds(kind: str) -> None:
    spread, h = sigma(kind, value=0.12, low=0.05, high=0.3), torch.randn(B, D, dtype=torch.float64)
    jump = METHODS.build(METHODS.parse({"name": "dmpo"})).jumps(1)[0]
    assert torch.allclose(spread(h, jump), torch.tensor(0.12, dtype=torch.float64))
    if kind == "fixed":
        assert not list(spread.parameters())
        return
    for extreme, bound in ((1e3, 0.3), (-1e3, 0.05)):
        with torch.no_grad():
            (spread.raw if kind == "vector" else spread.net[-1].bias).fill_(extreme)
        assert torch.allclose(spread(h, jump), torch.tensor(bound, dtype=torch.float64))


def test_a_learnable_sigma_learns_and_the_condition_does_not_learn_through_it() -> None:
    spread, h = sigma("net"), torch.randn(B, D, dtype=torch.float64, requires_grad=True)
    jumps = METHODS.build(METHODS.parse({"name": "dmpo"})).jumps(1)
    u = linear(torch.tensor(0.5, dtype=torch.float64))
    points = torch.randn(B, 2, H, A, dtype=torch.float64)
    chain = evaluate_chain(u, jumps, spread, h, points, ALL)
    (chain.log_probs.sum() + chain.entropy.sum()).backward()
    assert h.grad is None
    assert spread.net[-1].weight.grad is not None
    assert spread.net[-1].weight.grad.any()


def test_entropy_is_that_of_a_gaussian() -> None:
    jumps = METHODS.build(METHODS.parse({"name": "dmpo"})).jumps(3)
    h, u = torch.zeros(B, D, dtype=torch.float64), linear(torch.tensor(0.5, dtype=torch.float64))
    points = torch.randn(B, 4, H, A, dtype=torch.float64)
    chain = evaluate_chain(u, jumps, sigma(value=0.2), h, points, ALL)
    expected = torch.distributions.Normal(0.0, 0.2).entropy().double()
    torch.testing.assert_close(chain.entropy, expected.expand(B), rtol=1e-6, atol=1e-6)


def test_reductions() -> None:
    log_probs = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    assert reduced(log_probs, 28, "sum").tolist() == [6.0]
    assert reduced(log_probs, 28, "mean").tolist() == [6.0 / (4 * 28)]


def test_the_end_without_noise_is_what_the_policy_would_do() -> None:
    method = METHODS.build(METHODS.parse({"name": "shortcut"}))
    u, noise = linear(torch.tensor(0.5, dtype=torch.float64)), drawn(0)[0]
    for k in (1, 4):
        end = mean_end(u, method.jumps(k), noise)
        assert torch.equal(end.clamp(-1, 1), method.sample(u, noise, k))
        points = torch.stack([noise, *drawn(k)[:k]], dim=1)
        h = torch.zeros(B, D, dtype=torch.float64)
        chain = evaluate_chain(u, method.jumps(k), sigma(), h, points, ALL, want_end=True)
        assert chain.end is not None
        assert torch.equal(chain.end, end)


def test_a_decaying_bound_is_held_and_then_falls_by_half_a_cosine() -> None:
    """ReinFlow's: low 0.10, high 0.24, held for 0.35 of the run, at the end at 0.3 low + 0.7 high."""
    config = SigmaConfig(kind="net", value=0.15, low=0.10, high=0.24, end=0.7, hold=0.35)
    last = 0.3 * 0.10 + 0.7 * 0.24
    assert [config.largest(done) for done in (0.0, 0.2, 0.35)] == [0.24] * 3
    assert config.largest(0.675) == pytest.approx((0.24 + last) / 2)  # the middle of what is left
    assert config.largest(1.0) == pytest.approx(last)
    assert SigmaConfig(kind="net", low=0.05, high=0.2).largest(1.0) == 0.2


def test_a_learnable_sigma_keeps_to_the_bound_of_its_iteration() -> None:
    spread, h = sigma("vector", low=0.10, value=0.15, high=0.24, end=0.7, hold=0.0), torch.zeros(B, D).double()
    jump = METHODS.build(METHODS.parse({"name": "dmpo"})).jumps(1)[0]
    assert spread(h, jump).flatten().tolist() == pytest.approx([0.15] * A)
    with torch.no_grad():
        spread.raw.fill_(50.0)
    assert spread(h, jump).flatten().tolist() == pytest.approx([0.24] * A)
    spread.at(1.0)
    assert spread(h, jump).flatten().tolist() == pytest.approx([0.198] * A)
    with torch.no_grad():
        spread.raw.fill_(-50.0)
    assert spread(h, jump).flatten().tolist() == pytest.approx([0.10] * A)
