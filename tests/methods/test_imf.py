"""Improved MeanFlow against the closed form of Gaussian data, and its gradient written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods import METHODS, Draws
from tests.methods.fields import Gaussian, Recorded, ToPoint
from tests.methods.test_meanflow import SHAPE, WAYS, built, drawn, net_and_condition


class WithItsVelocity(Gaussian):
    """The mean velocity of Gaussian data, defined where the interval is empty as well."""

    def __call__(self, z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return self.velocity(z, t) if torch.equal(r, t) else super().__call__(z, r, t)


def sampled(method: Any) -> tuple[Tensor, Draws, Tensor, Tensor]:
    """Gaussian data, draws with r < t, the points of their paths and the velocities there."""
    draws = drawn(method)
    draws = Draws(draws.noise, 0.9 * draws.r, draws.t)
    z_0 = 0.2 + 0.1 * torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    t = draws.t[:, None, None]
    return z_0, draws, (1 - t) * z_0 + t * draws.noise, draws.noise - z_0


@pytest.mark.parametrize("how", WAYS)
def test_at_the_true_mean_velocity_what_is_regressed_is_the_marginal_velocity(how: str) -> None:
    """V = E[v | z_t] whatever the interval is, so the loss is the least that there is; MeanFlow's is above it."""
    field, h = WithItsVelocity(), torch.zeros(32, 5, dtype=torch.float64)
    method = built("imf", derivative=how, epsilon=1e-4)
    z_0, draws, z_t, v = sampled(method)
    least = (field.velocity(z_t, draws.t) - v).square().mean()
    torch.testing.assert_close(method.loss(field, z_0, h, draws).total, least, rtol=1e-6, atol=0)
    meanflow = built("meanflow", derivative=how, epsilon=1e-4).loss(field, z_0, h, draws).parts["meanflow"]
    assert abs(meanflow / least - 1) > 1e-2


@pytest.mark.parametrize("how", WAYS)
def test_loss_and_gradient_vanish_where_paths_are_straight(how: str) -> None:
    x = torch.linspace(-0.9, 0.9, 12, dtype=torch.float64).reshape(4, 3)
    theta = torch.ones((), dtype=torch.float64, requires_grad=True)
    method, field = built("imf", derivative=how, epsilon=1e-3), Recorded(ToPoint(x), theta)
    report = method.loss(field, x.expand(SHAPE), torch.zeros(32, 5, dtype=torch.float64), drawn(method))
    assert report.total < 1e-12
    assert abs(torch.autograd.grad(report.total, theta)[0]) < 1e-6
    assert field.recorded == 1, "neither the tangent nor du/dt is recorded, but for jvp's own pass"


@pytest.mark.parametrize("how", WAYS)
def test_the_tangent_is_the_networks_velocity_and_nothing_but_u_has_a_gradient(how: str) -> None:
    net, c = net_and_condition()
    method = built("imf", derivative=how, epsilon=1e-4)
    z_0, draws, z_t, v = sampled(method)

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return net(z, r, t, c, features)

    with torch.no_grad():
        tangents = (u(z_t, draws.t, draws.t), torch.zeros_like(draws.r), torch.ones_like(draws.t))
        dudt = torch.func.jvp(u, (z_t, draws.r, draws.t), tangents)[1]
    estimate = u(z_t, draws.r, draws.t) + (draws.t - draws.r)[:, None, None] * dudt
    expected = torch.autograd.grad((estimate - v).square().mean(), list(net.parameters()))
    found = torch.autograd.grad(method.loss(u, z_0, c, draws).total, list(net.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)


def test_it_has_the_options_of_meanflow_but_no_gain() -> None:
    config = METHODS.parse({"name": "imf", "dispersion": {"weight": 0.5}, "alignment": {"weight": 0.1}})
    assert (config.dispersion.weight, config.alignment.weight, config.adaptive.p) == (0.5, 0.1, 0)
    with pytest.raises(UsageError, match="imf has no gain"):
        METHODS.parse({"name": "imf", "gain": 2.0})
