"""Dispersive regularisation against numbers computed by hand, and the signs of a dead term."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from omp_cli.core.methods import METHODS
from omp_cli.core.methods.dispersion import (
    Form,
    dispersion_diagnostics,
    dispersion_loss,
    squared_distances,
)
from omp_cli.core.nets import NETS

FORMS: tuple[Form, ...] = get_args(Form)


def rows(*values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_infonce_l2_by_hand() -> None:
    """Two rows 2 apart, D = 2, tau = 0.5: exponents 0, -4, -4, 0."""
    h = rows((0, 0), (2, 0))
    expected = math.log((2 + 2 * math.exp(-4)) / 4)
    assert dispersion_loss(h, "infonce_l2", temperature=0.5).item() == pytest.approx(expected)


def by_pairs(h: Tensor, temperature: float = 1.0) -> Tensor:
    """log mean_{i,j} exp(-|h_i - h_j|^2 / (max tau)), pair by pair, gradient through the maximum included."""
    squares = torch.stack([(a - b).square().sum() for a in h for b in h])
    return torch.log(torch.exp(-squares / squares.max() / temperature).mean())


def test_max_normalised_by_hand() -> None:
    """Squared distances 1, 4 and 9: a ninth, four ninths and one, each pair twice, and three rows with themselves."""
    expected = math.log((3 + 2 * math.exp(-1 / 9) + 2 * math.exp(-4 / 9) + 2 * math.exp(-1)) / 9)
    found = dispersion_loss(rows((0, 5), (1, 5), (3, 5)), "max_normalised", temperature=1.0)
    assert found.item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_max_normalised_and_its_gradient_are_the_formulas(temperature: float) -> None:
    h = torch.randn(12, 7, dtype=torch.float64, requires_grad=True)
    value, expected = dispersion_loss(h, "max_normalised", temperature), by_pairs(h, temperature)
    torch.testing.assert_close(value, expected)
    gradients = [torch.autograd.grad(x, h)[0] for x in (value, expected)]
    torch.testing.assert_close(*gradients)
    fixed = squared_distances(h) / squared_distances(h).amax().detach() / temperature
    (without,) = torch.autograd.grad(torch.log(torch.exp(-fixed).mean()), h)
    assert (gradients[0] - without).norm() > 0.1 * without.norm(), "the maximum has its part of the gradient"


@pytest.mark.parametrize("spread", [1e-12, 1e-3, 1.0, 1e3, 1e12])
def test_max_normalised_is_free_of_scale_and_place(spread: float) -> None:
    """So its gradient points neither outwards nor inwards: it has no part along h - mean(h)."""
    h = torch.randn(10, 6, dtype=torch.float64)
    scaled = (spread * h).requires_grad_()
    value = dispersion_loss(scaled, "max_normalised", 1.0)
    torch.testing.assert_close(value, by_pairs(h))
    assert -1 < value.item() < 0
    (gradient,) = torch.autograd.grad(value, scaled)
    outwards = (scaled - scaled.mean(0)).detach()
    assert abs((gradient * outwards).sum().item()) < 1e-12
    torch.testing.assert_close(gradient * spread, torch.autograd.grad(by_pairs(h.requires_grad_()), h)[0])
    if spread <= 1e3:
        torch.testing.assert_close(dispersion_loss(scaled + 5 * spread, "max_normalised", 1.0), value)


@pytest.mark.parametrize("like", [torch.full((16, 8), 0.123), torch.zeros(16, 8), torch.randn(8).expand(16, 8)])
def test_max_normalised_of_rows_that_all_coincide_pushes_nothing(like: Tensor) -> None:
    """No 0 / 0, and rounding is not blown up to distances between 0 and 1."""
    h = like.clone().requires_grad_()
    value = dispersion_loss(h, "max_normalised", 1.0)
    (gradient,) = torch.autograd.grad(value, h)
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-6
    apart = like.clone()
    apart[0] += 1e-3
    assert dispersion_loss(apart, "max_normalised", 1.0) < -0.01, "a small distance is one all the same"


def test_mp1s_form_pushes_another_way_than_infonce_l2() -> None:
    """On random features of the size of MP1's first tap the two gradients are all but orthogonal."""
    torch.manual_seed(0)
    cosines = []
    for _ in range(5):
        h = torch.randn(64, 2048, requires_grad=True)
        forms: tuple[tuple[Form, float], ...] = (("max_normalised", 1.0), ("infonce_l2", 0.5))
        mp1, ours = (torch.autograd.grad(dispersion_loss(h, form, tau), h)[0] for form, tau in forms)
        cosines.append(torch.nn.functional.cosine_similarity(mp1.flatten(), ours.flatten(), dim=0).item())
    assert max(map(abs, cosines)) < 0.1, cosines


def test_mp1_disperses_the_two_upper_levels_of_the_unet() -> None:
    """Each level after its second residual block, flattened over channels and time; summed, times 0.5."""
    torch.manual_seed(0)
    net = NETS.build(NETS.parse({"name": "unet1d", "dims": [16, 32, 32], "groups": 8}), 8, 3, 5).double()
    c, seen = torch.randn(6, 5, dtype=torch.float64), []
    for level in net.down:  # type: ignore[union-attr]
        level.blocks[1].register_forward_hook(lambda _, __, out: seen.append(out) if out.requires_grad else None)
    method = METHODS.build(METHODS.parse({"name": "mp1"}))
    draws = method.draw((6, 8, 3), torch.Generator().manual_seed(0))

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return net(z, r, t, c, features)

    report = method.loss(u, torch.randn(6, 8, 3, dtype=torch.float64), c, draws)
    assert [tuple(x.shape) for x in seen] == [(6, 16, 8), (6, 32, 4), (6, 32, 2)]
    expected = sum(by_pairs(x.flatten(1)) for x in seen[:2])
    torch.testing.assert_close(report.terms["dispersion"], 0.5 * expected)


def test_mp1_of_an_earlier_omp_goes_on_with_the_form_that_it_recorded() -> None:
    recorded = {"weight": 0.5, "form": "infonce_l2", "temperature": 0.5, "margin": 1.0, "on": "net"}
    assert METHODS.parse({"name": "mp1", "dispersion": recorded}).model_dump()["dispersion"] == recorded


def test_infonce_cosine_by_hand() -> None:
    """Orthogonal rows, tau = 0.5: similarities 1, 0, 0, 1; lengths do not matter."""
    h = rows((3, 0), (0, 0.1))
    assert dispersion_loss(h, "infonce_cosine", 0.5).item() == pytest.approx(math.log((2 * math.exp(2) + 2) / 4))


def test_hinge_by_hand() -> None:
    """Distances 0.6, 5, sqrt(5^2 + 0.6^2) with margin 1: one pair of three inside, (0.4)^2 / 3."""
    h = rows((0, 0), (0.6, 0), (0, 5))
    assert dispersion_loss(h, "hinge", margin=1.0).item() == pytest.approx(0.16 / 3)


def test_covariance_by_hand() -> None:
    """Rows (-1, -2), (0, 0), (1, 2): C = [[1, 2], [2, 4]], so (2^2 + 2^2) / 2."""
    h = rows((-1, -2), (0, 0), (1, 2)) + 7
    assert dispersion_loss(h, "covariance").item() == pytest.approx(4)


def test_covariance_equals_its_definition() -> None:
    h = torch.randn(9, 14, dtype=torch.float64)
    c = torch.cov(h.T)
    expected = (c.square().sum() - c.diag().square().sum()) / 14
    torch.testing.assert_close(dispersion_loss(h, "covariance"), expected)


def test_squared_distances_keep_their_digits_far_from_the_origin() -> None:
    h = torch.randn(20, 16) * 1e-2
    expected = (h[:, None] - h[None]).double().square().sum(-1)
    torch.testing.assert_close(squared_distances(h + 100).double(), expected, rtol=0.05, atol=1e-5)
    torch.testing.assert_close(squared_distances(h).double(), expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("form", FORMS)
def test_gradient_is_right_and_a_step_along_it_disperses(form: Form) -> None:
    h = (0.3 * torch.randn(6, 4, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dispersion_loss(x, form, 0.5, 1.0), (h,))
    (gradient,) = torch.autograd.grad(dispersion_loss(h, form), h)
    assert dispersion_loss(h - 1e-3 * gradient, form) < dispersion_loss(h, form)


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_coincide_give_finite_gradients(form: Form) -> None:
    h = torch.ones(4, 3, requires_grad=True)
    dispersion_loss(h, form).backward()
    assert torch.isfinite(h.grad).all()


@pytest.mark.parametrize("form", FORMS)
def test_one_row_has_nothing_to_be_dispersed_from(form: Form) -> None:
    h = torch.randn(1, 3, requires_grad=True)
    loss = dispersion_loss(h, form)
    loss.backward()
    assert loss == 0
    assert all(value == 0 for value in dispersion_diagnostics(h).values())


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_features_are_compared_in_float32(form: Form) -> None:
    h = torch.randn(8, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = dispersion_loss(h, form)
    assert torch.equal(loss, dispersion_loss(h.float(), form))


def test_diagnostics_by_hand() -> None:
    """Corners of a rectangle 2 x 6: singular values 2 and 6."""
    h = rows((1, 3), (1, -3), (-1, 3), (-1, -3)) + 5
    found = dispersion_diagnostics(h)
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert found["effective_rank"].item() == pytest.approx(math.exp(entropy))
    assert found["mean_distance"].item() == pytest.approx((2 * 2 + 2 * 6 + 2 * math.sqrt(40)) / 6)


@pytest.mark.parametrize(("batch", "dim"), [(32, 8), (8, 32)])
def test_effective_rank_counts_directions(batch: int, dim: int) -> None:
    line = torch.randn(batch, 1) @ torch.randn(1, dim)
    assert dispersion_diagnostics(line)["effective_rank"] == pytest.approx(1, abs=1e-3)
    full = dispersion_diagnostics(torch.randn(batch, dim))["effective_rank"]
    assert 0.7 * min(batch - 1, dim) < full <= min(batch - 1, dim)


def test_collapsed_features_have_no_distance_and_no_rank() -> None:
    found = dispersion_diagnostics(torch.full((16, 8), 0.123))
    assert found["mean_distance"] == 0
    assert found["effective_rank"] == 0


def test_a_saturated_term_shows_as_a_vanished_gradient_at_a_large_distance() -> None:
    """What happened in public code: features so far apart that the term is at its minimum -log B and pushes nothing."""
    h = (100 * torch.randn(16, 8)).requires_grad_()
    loss = dispersion_loss(h, "infonce_l2")
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(16))
    assert h.grad.norm() < 1e-6
    assert dispersion_diagnostics(h.detach())["mean_distance"] > 100


def test_as_released_by_hand() -> None:
    """Distances 1, 2 and sqrt(5) at tau = 0.5: exponents 2, 4, 2 sqrt(5), and 10 on the diagonal."""
    a, b, c = math.exp(2), math.exp(4), math.exp(2 * math.sqrt(5))
    sums = (math.exp(10) + a + b, math.exp(10) + a + c, math.exp(10) + b + c)
    found = dispersion_loss(rows((0, 0), (1, 0), (0, 2)), "as-released", temperature=0.5)
    assert found.item() == pytest.approx(-sum(map(math.log, sums)) / 3)


@pytest.mark.parametrize(("apart", "dead"), [(10.1, True), (9.9, False), (1.0, False)])
def test_as_released_is_dead_where_all_distances_exceed_ten_tau(apart: float, dead: bool) -> None:
    """On corners of a simplex: the term is -(10 + log B), and its gradient is not small but zero."""
    tau, count = 0.5, 6
    h = (apart * tau / math.sqrt(2) * torch.eye(count, dtype=torch.float64)).requires_grad_()
    loss = dispersion_loss(h, "as-released", tau)
    (gradient,) = torch.autograd.grad(loss, h)
    assert bool(gradient.any()) is not dead
    assert (abs(loss.item() + 10 + math.log(count)) < 1e-12) is dead
    assert dispersion_loss(h, "infonce_l2", tau) < 0
    assert torch.autograd.grad(dispersion_loss(h, "infonce_l2", tau), h)[0].any(), "the reference form still pushes"


def test_the_released_cosine_by_hand() -> None:
    """Three unit vectors with cosines 0, -1 and 0; tau = 0.5, so exponents 0, 2 and 0, and 10 on the diagonal."""
    h = rows((3, 0), (0, 2), (-5, 0))
    corner = math.log(math.exp(10) + 1 + math.exp(2))
    middle = math.log(math.exp(10) + 2)
    found = dispersion_loss(h, "as-released-cosine", temperature=0.5)
    assert found.item() == pytest.approx(-(2 * corner + middle) / 3, abs=1e-12)


def test_the_released_cosine_is_clamped() -> None:
    found = dispersion_loss(rows((1, 0), (-1, 0)), "as-released-cosine", temperature=0.05)
    assert found.item() == pytest.approx(-(10 + math.log(2)), abs=1e-12)


def test_the_released_hinge_is_not_squared() -> None:
    """Distances 0.5, 2 and sqrt(4.25); margin 1."""
    found = dispersion_loss(rows((0, 0), (0.5, 0), (0, 2)), "as-released-hinge", margin=1.0)
    assert found.item() == pytest.approx(0.5 / 3)


def test_the_released_covariance_has_a_term_for_small_variances() -> None:
    h = torch.randn(7, 5, dtype=torch.float64) * torch.tensor([0.2, 0.5, 1.0, 2.0, 3.0])
    c = torch.cov(h.T)
    off = c[~torch.eye(5, dtype=torch.bool)].square().mean()
    expected = off + (1 - c.diag()).clamp_min(0).mean()
    torch.testing.assert_close(dispersion_loss(h, "as-released-covariance"), expected)
