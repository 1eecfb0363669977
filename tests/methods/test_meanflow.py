"""The MeanFlow loss: its terms, its weights and its members."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omp_cli.core.base.config import validated
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.layers import merge
from omp_cli.core.base.presets import preset_layer
from omp_cli.core.methods import METHODS, Draws, LossReport
from omp_cli.core.methods.base import Conditioned
from omp_cli.core.methods.dispersion import dispersion_loss
from omp_cli.core.nets import NETS
from omp_cli.core.train.config import PretrainConfig
from tests.methods.fields import Recorded, ToPoint

WAYS = ["jvp", "forward", "dde"]
DISPERSING = ["omp", "imf", "reflow", "shortcut"]
SHAPE = (32, 4, 3)


def built(name: str = "meanflow", **settings: Any) -> Any:
    return METHODS.build(METHODS.parse({"name": name, **settings}))


def drawn(method: Any, dtype: torch.dtype = torch.float64) -> Draws:
    """Draws with t away from 0, where the closed forms divide by t."""
    draws = method.draw(SHAPE, torch.Generator().manual_seed(0))
    return Draws(draws.noise, draws.r, draws.t.clamp_min(0.05)).to(torch.empty((), dtype=dtype))


def net_and_condition() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    net = NETS.build(NETS.parse({"name": "film-mlp", "hidden": 32, "depth": 2}), 4, 3, 8).double()
    return net, torch.randn(32, 8, dtype=torch.float64, requires_grad=True)


def net_loss(method: Any, gather: Any = lambda x: x) -> tuple[LossReport, list[Tensor]]:
    """A loss on a small network, and its gradient in the parameters and in the condition."""
    net, c = net_and_condition()
    z_0 = torch.rand(SHAPE, dtype=torch.float64) * 2 - 1
    report = method.loss(lambda z, r, t, f=None: net(z, r, t, c, f), z_0, c, drawn(method), gather)
    return report, list(torch.autograd.grad(report.total, [*net.parameters(), c], retain_graph=True))


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_loss_and_gradient_vanish_at_the_true_mean_velocity(how: str, gain: float) -> None:
    """With u right, the guided velocity is v whatever the gain is."""
    x = torch.linspace(-0.9, 0.9, 12, dtype=torch.float64).reshape(4, 3)
    theta = torch.ones((), dtype=torch.float64, requires_grad=True)
    method = built(derivative=how, gain=gain, epsilon=1e-3)
    h = torch.randn(32, 5, dtype=torch.float64)
    report = method.loss(Recorded(ToPoint(x), theta), x.expand(SHAPE), h, drawn(method))
    assert report.parts["meanflow"] < 1e-12
    assert report.parts["cosine"] == pytest.approx(1, abs=1e-6)
    (gradient,) = torch.autograd.grad(report.total, theta)
    assert abs(gradient) < 1e-6


def test_the_gain_scales_the_residual_at_r_equal_t() -> None:
    """At r = t the target is v_tilde, and u - v_tilde = omega (u - v)."""
    x = torch.zeros(4, 3, dtype=torch.float64)
    wrong = Recorded(ToPoint(x), torch.tensor(0.5, dtype=torch.float64))
    h = torch.randn(32, 5, dtype=torch.float64)
    losses = []
    for gain in (1.0, 2.0):
        method = built(gain=gain, times={"equal_share": 1.0})
        losses.append(method.loss(wrong, x.expand(SHAPE), h, drawn(method)).parts["meanflow"])
    torch.testing.assert_close(losses[1], 4 * losses[0])


@pytest.mark.parametrize("how", WAYS)
def test_the_gain_is_without_gradient_and_is_the_tangent_of_the_derivative(how: str) -> None:
    net, c = net_and_condition()
    method = built(derivative=how, gain=2.0, adaptive={"p": 0.0}, epsilon=1e-4)
    draws, z_0 = drawn(method), torch.rand(SHAPE, dtype=torch.float64) * 2 - 1

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return net(z, r, t, c, features)

    t, r = draws.t[:, None, None], draws.r[:, None, None]
    v, z_t = draws.noise - z_0, (1 - t) * z_0 + t * draws.noise
    with torch.no_grad():
        v_tilde = 2 * v - u(z_t, draws.t, draws.t)
        ones, zeros = torch.ones_like(draws.t), torch.zeros_like(draws.t)
        dudt = torch.func.jvp(u, (z_t, draws.r, draws.t), (v_tilde, zeros, ones))[1]
        target = v_tilde - (t - r) * dudt
    expected = torch.autograd.grad((u(z_t, draws.r, draws.t) - target).square().mean(), list(net.parameters()))
    found = torch.autograd.grad(method.loss(u, z_0, c, draws).total, list(net.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)


def test_jvp_and_forward_have_the_same_loss_and_the_same_gradient() -> None:
    (jvp, jvp_grads), (forward, forward_grads) = (
        net_loss(built("omp", derivative=how, dispersion={"on": "net"})) for how in ("jvp", "forward")
    )
    torch.testing.assert_close(jvp.total, forward.total, rtol=1e-12, atol=0)
    for a, b in zip(jvp_grads, forward_grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)


def test_adaptive_weight_is_a_power_of_the_sample_error() -> None:
    x, theta = torch.zeros(4, 3, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    wrong, h = Recorded(ToPoint(x), theta), torch.randn(32, 5, dtype=torch.float64)
    method = built(times={"equal_share": 1.0}, adaptive={"p": 0.75, "c": 0.1})
    draws = drawn(method)
    report = method.loss(wrong, x.expand(SHAPE), h, draws)
    squares = (0.5 * draws.noise).square().mean((1, 2))
    torch.testing.assert_close(report.parts["meanflow"], squares.mean())
    weights = 1 / (squares + 0.1) ** 0.75
    torch.testing.assert_close(report.total.detach(), (weights * squares).mean())
    (gradient,) = torch.autograd.grad(report.total, theta)  # of (theta - 1)^2 v^2, with the weights constant
    torch.testing.assert_close(gradient, (weights * -4 * squares).mean())


def test_terms_are_the_weighted_parts_and_add_up() -> None:
    report, _ = net_loss(built("omp", adaptive={"p": 0.0}, alignment={"weight": 0.3}, dispersion={"weight": 0.7}))
    assert set(report.terms) == {"meanflow", "dispersion", "alignment"}
    for name, weight in {"meanflow": 1.0, "dispersion": 0.7, "alignment": 0.3}.items():
        assert report.terms[name].requires_grad
        assert not report.parts[name].requires_grad
        torch.testing.assert_close(report.terms[name].detach(), weight * report.parts[name])
    torch.testing.assert_close(report.total, sum(report.terms.values()))
    assert "cosine" in report.parts


@pytest.mark.parametrize("name", DISPERSING)
def test_without_weight_dispersion_is_zero_and_its_diagnostics_stay(name: str) -> None:
    given = {"alignment": {"weight": 0}} if name == "omp" else {}
    report, _ = net_loss(built(name, dispersion={"weight": 0}, **given))
    assert len(report.terms) == 2
    assert report.terms["dispersion"] == 0
    assert "dispersion" not in report.parts
    assert set(report.diagnostics()) == {"mean_distance", "effective_rank"}


@pytest.mark.parametrize("name", DISPERSING)
@pytest.mark.parametrize("on", ["condition", "net"])
def test_dispersion_sees_the_gathered_features(name: str, on: str) -> None:
    shapes = []

    def gather(x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape))
        return torch.cat([x, -x])

    plain, report = (net_loss(built(name, dispersion={"on": on, "weight": w}), gather)[0] for w in (0.0, 0.5))
    torch.testing.assert_close(report.total - plain.total, 0.5 * report.parts["dispersion"])
    assert shapes == [(32, 8) if on == "condition" else (32, 32)]
    if on == "condition":
        c = net_and_condition()[1].detach()
        torch.testing.assert_close(report.parts["dispersion"], dispersion_loss(torch.cat([c, -c]), "infonce_l2"))


def test_the_gradient_share_of_the_dispersive_term_tells_dead_from_alive() -> None:
    """A run logs the gradient norm of each of ``terms``; features far apart leave this one without any."""
    method = built("omp")
    z_0 = torch.zeros(SHAPE)
    norms = []
    for spread in (1.0, 1000.0):
        h = (spread * torch.randn(32, 8)).requires_grad_()
        report = method.loss(ToPoint(torch.zeros(4, 3)), z_0, h, drawn(method, torch.float32))
        (gradient,) = torch.autograd.grad(report.terms["dispersion"], h)
        norms.append(gradient.norm().item())
    assert norms[0] > 1e-3
    assert norms[1] == 0


def test_dispersing_a_net_that_taps_nothing_is_a_usage_error() -> None:
    method = built("mp1")

    def tapless(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return z

    with pytest.raises(UsageError, match="taps no hidden features"):
        method.loss(tapless, torch.zeros(SHAPE), torch.zeros(32, 8), drawn(method, torch.float32))


def test_members_and_their_numbers() -> None:
    omp, mp1, plain = (METHODS.parse({"name": name}) for name in ("omp", "mp1", "meanflow"))
    assert (omp.alignment.weight, omp.dispersion.weight, omp.dispersion.on, omp.gain) == (0.1, 0.5, "condition", 1)
    assert (mp1.alignment.weight, mp1.dispersion.weight, mp1.dispersion.on, mp1.gain) == (0, 0.5, "net", 2)
    assert (mp1.dispersion.form, mp1.dispersion.temperature) == ("max_normalised", 1)
    assert (omp.dispersion.form, omp.dispersion.temperature) == ("infonce_l2", 0.5)
    assert (plain.alignment.weight, plain.dispersion.weight) == (0, 0)
    partly = METHODS.parse({"name": "omp", "dispersion": {"form": "hinge"}, "alignment": {"scope": "step"}})
    assert (partly.dispersion.weight, partly.alignment.weight) == (0.5, 0.1)


def test_mp1_has_no_alignment() -> None:
    METHODS.parse({"name": "mp1", "alignment": {"weight": 0}})
    with pytest.raises(UsageError, match="mp1 has no directional alignment"):
        METHODS.parse({"name": "mp1", "alignment": {"weight": 0.1}})


def test_mp1_is_omp_without_alignment() -> None:
    same = {"gain": 2.0, "dispersion": {"on": "net", "form": "max_normalised", "temperature": 1.0}}
    mp1, omp = net_loss(built("mp1"))[0], net_loss(built("omp", alignment={"weight": 0}, **same))[0]
    assert torch.equal(mp1.total, omp.total)


@pytest.mark.parametrize("derivative", ["forward", "dde"])
@pytest.mark.parametrize("preset", ["light", "mp1-paper", "dmpo-hopper"])
def test_leaving_out_rows_without_an_interval_changes_no_loss(preset: str, derivative: str) -> None:
    """Among several processes as well, each of which has its own rows."""
    settings = validated(PretrainConfig, merge([preset_layer("pretrain", preset)])[0])
    method = METHODS.build(settings.method.model_copy(update={"derivative": derivative}))
    draws = method.draw((12, 4, 3), torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    net = NETS.build(NETS.parse({"name": "film-mlp", "hidden": 32, "depth": 2}), 4, 3, 8).double()
    h, z_0 = torch.randn(12, 8).double(), torch.rand(12, 4, 3).double() * 2 - 1
    for start, stop in ((0, 12), (0, 5), (5, 12)):
        part = draws.part(start, stop)
        assert part.moving is not None
        assert part.moving.tolist() == (part.r < part.t).nonzero().flatten().tolist()
        u = Conditioned(net, h[start:stop])
        found, whole = (
            method.loss(u, z_0[start:stop], h[start:stop], x).total for x in (part, replace(part, moving=None))
        )
        torch.testing.assert_close(found, whole, rtol=1e-9, atol=1e-9)
