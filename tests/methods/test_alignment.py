"""Directional alignment."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from omp_cli.core.methods.alignment import FLOOR, alignment_loss, cosine


def loss_at_angle(angle: float, rho: float = 1.0, rho_star: float = 1.0) -> tuple[float, float]:
    """L_DA and its derivative in the angle between u = rho (cos, sin) and v = rho_star (1, 0)."""
    alpha = torch.tensor(angle, dtype=torch.float64, requires_grad=True)
    u = rho * torch.stack([alpha.cos(), alpha.sin()]).reshape(1, 1, 2)
    v = torch.tensor([[[rho_star, 0.0]]], dtype=torch.float64)
    loss = alignment_loss(cosine(u, v))
    (slope,) = torch.autograd.grad(loss, alpha)
    return loss.item(), slope.item()


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 2, 2.5, 3.1])
def test_closed_form(angle: float) -> None:
    """-log((cos a + 1) / 2) = -2 log cos(a / 2), with derivative tan(a / 2)."""
    loss, slope = loss_at_angle(angle)
    assert loss == pytest.approx(-2 * math.log(math.cos(angle / 2)), rel=1e-3, abs=1e-5)
    assert slope == pytest.approx(math.tan(angle / 2), rel=2e-3, abs=1e-5)


def test_slope_in_the_angle_does_not_fade_with_the_magnitude() -> None:
    """Where the mean square's, 2 rho rho* sin(a), does."""
    slow, fast = (loss_at_angle(1.0, rho=size, rho_star=size)[1] for size in (0.03, 1.0))
    assert slow == pytest.approx(fast, rel=5e-3)


@pytest.mark.parametrize("cos", [-1.0, -1 + 1e-7, -1 + FLOOR, -0.999])
def test_below_the_floor_the_loss_still_rises_towards_the_opposite(cos: float) -> None:
    x = torch.tensor(cos, dtype=torch.float64, requires_grad=True)
    loss = alignment_loss(x)
    (slope,) = torch.autograd.grad(loss, x)
    assert torch.isfinite(loss)
    assert -1 / (2 * FLOOR) * 1.001 <= slope < 0


def test_the_tangent_line_meets_the_logarithm_smoothly() -> None:
    at = 2 * FLOOR - 1
    cos = torch.tensor([at - 1e-9, at + 1e-9], dtype=torch.float64, requires_grad=True)
    losses = torch.stack([alignment_loss(c) for c in cos])
    (slopes,) = torch.autograd.grad(losses.sum(), cos)
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-4)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-3, atol=0)


@pytest.mark.parametrize("tilt", [0.0, 1e-3])
def test_descent_from_the_opposite_direction_turns_towards_v(tilt: float) -> None:
    v = torch.tensor([[[1.0, 0.5], [-0.2, 0.3]]], dtype=torch.float64)
    u = (-v + tilt * torch.tensor([[[0.5, -1.0], [0.3, 0.2]]], dtype=torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(alignment_loss(cosine(u, v)), u)
    assert torch.isfinite(gradient).all()
    assert (-gradient * v).sum() > 0  # the step -gradient has a component along v
    if tilt:
        assert cosine(u - 1e-4 * gradient / gradient.norm(), v) > cosine(u, v)


def test_chunk_and_step_scopes() -> None:
    u = torch.tensor([[[1.0, 0.0], [0.0, 3.0]]])
    v = torch.tensor([[[2.0, 0.0], [0.0, -1.0]]])
    torch.testing.assert_close(cosine(u, v, "step"), torch.tensor([[1.0, -1.0]]))
    torch.testing.assert_close(cosine(u, v, "chunk"), torch.tensor([-1 / math.sqrt(50)]))


@pytest.mark.parametrize("which", ["u", "v"])
def test_zero_velocity_is_finite(which: str) -> None:
    u, v = torch.ones(1, 2, 2), torch.ones(1, 2, 2)
    (u if which == "u" else v).zero_()
    u.requires_grad_()
    cos: Tensor = cosine(u, v)
    (gradient,) = torch.autograd.grad(alignment_loss(cos), u)
    assert cos == 0
    assert torch.isfinite(gradient).all()
