"""FlowPolicy: segments, targets by hand, closed forms, and what the public code does otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from omp_cli.core.methods import METHODS, Draws, Method
from omp_cli.core.methods.derivative import value_and_derivative
from tests.methods.fields import Gaussian, Recorded, ToPoint

SHAPE = (256, 2, 3)


def built(**settings: Any) -> Method:
    return METHODS.build(METHODS.parse({"name": "flowpolicy", **settings}))


def drawn(method: Method) -> tuple[Tensor, Draws]:
    """Gaussian chunks of mean 0.2 and spread 0.1, and draws, in float64."""
    g = torch.Generator().manual_seed(0)
    z_0 = 0.2 + 0.1 * torch.randn(SHAPE, generator=g, dtype=torch.float64)
    return z_0, method.draw(SHAPE, g).to(z_0)


def once(t: float, s: float) -> Draws:
    """One row: z_0 = 0 and noise 1, so z_t = t and v = 1."""
    return Draws(torch.ones(1, 1, 1), torch.tensor([s]), torch.tensor([t]))


@pytest.mark.parametrize("segments", [1, 2, 3, 7])
def test_a_time_lies_above_the_start_of_its_segment(segments: int) -> None:
    method = built(segments=segments)
    draws = method.draw((5000, 1, 1), torch.Generator().manual_seed(0))
    assert ((draws.t * segments).floor() / segments - draws.r).abs().max() < 1e-6
    ends = torch.tensor([k / segments for k in range(segments + 1)])
    starts = torch.tensor([0.0, *(k / segments for k in range(segments))])
    torch.testing.assert_close(method._start(ends), starts, msg="the end of a segment belongs to it")  # type: ignore[attr-defined]


def test_the_loss_is_zero_where_paths_are_straight_and_nowhere_else() -> None:
    field, method = ToPoint(torch.full((2, 3), 0.4, dtype=torch.float64)), built()
    _, draws = drawn(method)
    draws = Draws(draws.noise, draws.r, draws.t.clamp_min(0.03))  # lines to a point have no velocity at t = 0
    z_0 = field.x.expand(SHAPE)
    assert method.loss(field, z_0, z_0[:, 0], draws).total < 1e-24
    wrong = method.loss(lambda z, r, t, f=None: 1.1 * field(z, r, t), z_0, z_0[:, 0], draws)
    assert wrong.parts["ends"] > 1e-7


def test_for_a_small_delta_it_is_the_meanflow_identity_at_the_start_of_the_segment() -> None:
    """(f(z_t) - f(z_w)) / delta -> v - u - (t - s) du/dt."""
    delta, field = 1e-6, Gaussian()
    method = built(delta=delta)
    z_0, draws = drawn(method)
    t, s = draws.t[:, None, None], draws.r[:, None, None]
    v, z_t = draws.noise - z_0, (1 - t) * z_0 + t * draws.noise
    u, dudt = value_and_derivative(field, z_t, draws.r, draws.t, v, "forward", epsilon=1)
    found = method.loss(field, z_0, z_0[:, 0], draws).parts["ends"] / delta**2
    torch.testing.assert_close(found, (v - u - (t - s) * dudt).square().mean(), rtol=1e-3, atol=0)


def test_targets_by_hand() -> None:
    asked: list[tuple[float, float, bool]] = []
    theta = torch.ones((), requires_grad=True)

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        asked.append((float(r), float(t), torch.is_grad_enabled()))
        return theta * z

    method, z_0 = built(delta=0.125, velocity_weight=2.0), torch.zeros(1, 1, 1)
    report = method.loss(u, z_0, z_0[:, 0], once(0.875, 0.5))
    assert asked == [(0.5, 0.875, True), (0.5, 0.75, False)]
    f_t, f_w = 0.875 - 0.375 * 0.875, 0.75 - 0.25 * 0.75
    assert report.parts["ends"] == pytest.approx((f_t - f_w) ** 2)
    assert report.parts["velocities"] == pytest.approx(0.125**2)
    assert report.total.item() == pytest.approx((f_t - f_w) ** 2 + 2 * 0.125**2)
    (slope,) = torch.autograd.grad(report.total, theta)
    assert float(slope) == pytest.approx(2 * (f_t - f_w) * -0.375 * 0.875 + 2 * 2 * 0.125 * 0.875)
    near = method.loss(u, z_0, z_0[:, 0], once(0.5625, 0.5))
    f_t = 0.5625 - 0.0625 * 0.5625
    assert near.parts["ends"] == pytest.approx((f_t - 0.5) ** 2), "w stops at s, where the point itself is the end"
    assert near.parts["velocities"] == 0


def test_one_step_per_segment_is_exact_and_a_longer_one_goes_straight_on() -> None:
    field = Recorded(Gaussian(), torch.ones((), dtype=torch.float64))
    noise = torch.randn(200, 2, 3, dtype=torch.float64)
    half = 0.1 + (0.5 * 0.1**2 * 0.5 + 0.25) ** 0.5 * noise  # quantiles stay: sigma at 1/2
    torch.testing.assert_close(built().sample(field, noise, 2), (0.2 + 0.1 * noise).clamp(-1, 1))
    torch.testing.assert_close(built().sample(field, noise, 1), (2 * half - noise).clamp(-1, 1))
    torch.testing.assert_close(built(segments=1).sample(field, noise, 1), (0.2 + 0.1 * noise).clamp(-1, 1))
    assert field.calls == 4


def test_as_released() -> None:
    """The gradient goes through both, one time is asked for, and w may be in the next segment."""
    asked: list[tuple[float, float, bool]] = []

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        asked.append((round(float(r[0]), 6), round(float(t[0]), 6), torch.is_grad_enabled()))
        return z

    method, z_0 = built(as_released=True, delta=0.125), torch.zeros(1, 1, 1)
    report = method.loss(u, z_0, z_0[:, 0], once(0.5625, 0.5))
    assert asked == [(0.5625, 0.5625, True), (0.4375, 0.4375, True)]
    f_t, f_w = 0.5625 - 0.0625 * 0.5625, 0.4375 + 0.0625 * 0.4375
    assert report.parts["ends"] == pytest.approx((f_t - f_w) ** 2)
    assert method.draw((9999, 1, 1), torch.Generator().manual_seed(0)).t.max() < 0.99
    asked.clear()
    first = method.sample(u, torch.full((1, 1, 1), 0.5), 2)
    assert [t for _, t, _ in asked] == [0.99, 0.495]
    assert first == 0.125
