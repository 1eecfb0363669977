"""What every registered method must do; a new method is picked up by its registration."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omp_cli.core.base.device import autocast
from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods import METHODS, LossReport, Method, VelocityField
from omp_cli.core.methods.teaching import Teacher
from omp_cli.core.nets import NETS
from tests.methods.cached_casts import CachedCasts

B, H, A, D = 16, 4, 3, 8

pytestmark = pytest.mark.parametrize("name", METHODS.names())


def built(name: str, **settings: Any) -> Method:
    return METHODS.build(METHODS.parse({"name": name, **settings}))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return NETS.build(NETS.parse({"name": "film-mlp", "hidden": 32, "depth": 2}), H, A, D)


def report_of(
    method: Method, net: nn.Module, c: Tensor, draws_per_observation: int = 1, score: nn.Module | None = None
) -> LossReport:
    """Loss with ``draws_per_observation`` noises and times for each of the observations c (B', D).

    A method that distils has flow matching with an untrained network for its teacher, and ``score`` or a third one for
    the network that learns beside it.
    """
    rows = c.repeat_interleave(draws_per_observation, 0)
    z_0 = torch.rand(len(rows), H, A, generator=generator(2)) * 2 - 1
    draws = method.draw((len(rows), H, A), generator(1))

    def field(net: nn.Module, rows: Tensor) -> VelocityField:
        return lambda z, r, t, f=None: net(z, r, t, rows, f)

    more = {}
    if method.distils:
        frozen, beside = (field(net, rows.detach()) for net in (small_net(1), score or small_net(2)))
        more["teacher"] = Teacher(built("reflow"), frozen, beside if method.needs_score else None)
    return method.loss(field(net, rows), z_0, c, draws, **more)


def test_draws(name: str) -> None:
    method = built(name)
    draws, again, other = (method.draw((B, H, A), generator(seed)) for seed in (0, 0, 1))
    assert draws.noise.shape == (B, H, A)
    assert draws.r.shape == draws.t.shape == (B,)
    assert {x.dtype for x in (draws.noise, draws.r, draws.t)} == {torch.float32}
    assert ((draws.r >= 0) & (draws.r <= draws.t) & (draws.t <= 1)).all()
    for key in ("noise", "r", "t"):
        assert torch.equal(getattr(draws, key), getattr(again, key))
        assert torch.equal(getattr(draws, key), getattr(other, key)) != method.generative


@pytest.mark.parametrize("per_observation", [1, 4])
def test_loss_is_finite_and_reaches_net_and_condition(name: str, per_observation: int) -> None:
    net, c = small_net(), torch.randn(B // per_observation, D, requires_grad=True)
    report = report_of(built(name), net, c, per_observation)
    assert report.total.shape == ()
    assert torch.isfinite(report.total)
    torch.testing.assert_close(report.total, sum(report.terms.values()))
    assert all(value.shape == () and not value.requires_grad for value in report.parts.values())
    report.total.backward()
    dead = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == ([] if METHODS.get(name).generative else ["inlet.weight"])  # what weighs the noise
    assert c.grad is not None
    assert c.grad.any()


def test_loss_is_a_function_of_its_arguments(name: str) -> None:
    net, c = small_net(), torch.randn(B, D)
    first, again = (report_of(built(name), net, c).total for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("nfe", [1, 2, 5])
def test_samples(name: str, nfe: int) -> None:
    method, net, c = built(name), small_net(), torch.randn(B, D)
    noise = torch.randn(B, H, A)

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return net(z, r, t, c, features)

    if name in ("gaussian", "onedp") and nfe > 1:
        with pytest.raises(UsageError, match=f"nfe: a {name} policy takes 1 step"):
            method.sample(u, noise, nfe)
        return
    with torch.no_grad():
        chunks = method.sample(u, noise, nfe)
        assert torch.equal(chunks, method.sample(u, noise, nfe))
    assert chunks.shape == (B, H, A)
    assert chunks.dtype == torch.float32
    assert chunks.abs().max() <= 1


@pytest.mark.parametrize("older", [False, True], ids=["this torch", "older torch"])
def test_bfloat16_has_the_gradients_of_float32_but_for_its_rounding(name: str, older: bool) -> None:
    """Those of every network that learns, also where an older torch would keep the casts of an unrecorded pass."""
    method, c, found = built(name), torch.randn(B, D, generator=generator(3)), []
    for precision in ("fp32", "bf16"):
        nets = [small_net(), *([small_net(2)] if method.needs_score else [])]
        with autocast(precision, torch.device("cpu")), CachedCasts() if older else nullcontext():
            report = report_of(method, nets[0], c, score=nets[-1])
        report.total.backward()
        assert report.total.dtype == torch.float32
        assert all(p.grad is not None for net in nets for p in net.parameters())
        found.append([torch.cat([p.grad.flatten() for p in net.parameters()]) for net in nets])  # type: ignore[union-attr]
    for exact, rounded in zip(*found, strict=True):
        assert (rounded - exact).norm() < 0.1 * exact.norm()


def test_steps_on_one_batch_lower_the_loss(name: str) -> None:
    """Without the dispersion, which is that of a condition which does not learn here."""
    derivative = {"derivative": "dde"} if "derivative" in METHODS.get(name).Config.model_fields else {}
    method, c, seen = built(name, **derivative), torch.randn(B, D, generator=generator(3)), []
    nets = nn.ModuleList([small_net(), *([small_net(2)] if method.needs_score else [])])
    optimizer = torch.optim.AdamW(nets.parameters(), 3e-3)
    for _ in range(30):
        report = report_of(method, nets[0], c, score=nets[-1])
        seen.append(sum(float(term.detach()) for key, term in report.terms.items() if key != "dispersion"))
        optimizer.zero_grad()
        report.total.backward()
        optimizer.step()
    assert seen[-1] < 0.6 * seen[0]


USUAL = {"dp": 10, "dp3": 10, "diffusion": 10, "edm": 10, "reflow": 20, "shortcut": 5}


def test_takes_its_own_number_of_steps_unless_told(name: str) -> None:
    method = built(name)
    assert method.usual_nfe == USUAL.get(name, 1)
    assert len(method.jumps(method.usual_nfe)) == method.usual_nfe
    if hasattr(method.config, "train_steps"):  # no more than the training had
        short = METHODS.build(METHODS.parse({"name": name, "train_steps": 4}))
        assert short.usual_nfe == len(short.jumps(short.usual_nfe)) == 4


def test_compiles_or_says_why_not(name: str) -> None:
    derivatives = ("jvp", "forward", "dde") if "derivative" in METHODS.get(name).Config.model_fields else (None,)
    for derivative in derivatives:
        method = built(name) if derivative is None else built(name, derivative=derivative)
        if derivative in (None, "dde"):
            method.check_compilable()
        else:
            with pytest.raises(UsageError, match=f"--compile with derivative '{derivative}'"):
                method.check_compilable()


def test_measures_what_it_leaves_open_and_nothing_else(name: str) -> None:
    assert built(name).to_measure == ()
    if "epsilon" not in METHODS.get(name).Config.model_fields:
        with pytest.raises(NotImplementedError, match="has to measure"):
            built(name).measure(small_net(), torch.zeros(B, H, A), built(name).draw((B, H, A), generator(0)))
        return
    method, net, c = built(name, derivative="dde", epsilon="auto"), small_net(), torch.randn(B, D)
    found = method.measure(
        lambda z, r, t, f=None: net(z, r, t, c, f), torch.rand(B, H, A), method.draw((B, H, A), generator(0))
    )
    assert tuple(found.settings) == method.to_measure == ("epsilon",)
    settled = method.with_settings(found.settings)
    assert type(settled) is type(method)
    assert settled.to_measure == ()
    assert settled.config == built(name, derivative="dde", **found.settings).config
    assert f"epsilon {found.settings['epsilon']:g}" in found.note


def test_the_policy_has_the_run_s_learning_rate_unless_a_score_network_learns_beside_it(name: str) -> None:
    method = built(name)
    assert method.policy_rate == (method.config.generator_rate if method.needs_score else 1.0)  # type: ignore[attr-defined]
