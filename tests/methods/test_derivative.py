"""The three ways to get du/dt: values, gradients, memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from omp_cli.core.methods.base import Conditioned
from omp_cli.core.methods.derivative import Derivative, value_and_derivative
from omp_cli.core.nets import NETS
from tests.methods.fields import Gaussian, Recorded, ToPoint

WAYS: tuple[Derivative, ...] = ("jvp", "forward", "dde")


def points(batch: int = 32, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z (B, 4, 3), r, t with t - r >= 0.05, and a tangent."""
    g = torch.Generator().manual_seed(0)
    z, v = torch.randn(2, batch, 4, 3, generator=g, dtype=dtype)
    t = 0.1 + 0.85 * torch.rand(batch, generator=g, dtype=dtype)
    r = (t - 0.05) * torch.rand(batch, generator=g, dtype=dtype)
    return z, r, t, v


@pytest.mark.parametrize("how", WAYS)
def test_total_derivative_of_a_gaussian_flow(how: Derivative) -> None:
    field, (z, r, t, _) = Gaussian(), points()
    u, dudt = value_and_derivative(field, z, r, t, field.velocity(z, t), how, epsilon=1e-4)
    torch.testing.assert_close(u, field(z, r, t))
    torch.testing.assert_close(dudt, field.dudt(z, r, t), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", WAYS)
def test_meanflow_identity_holds_for_the_true_u(how: Derivative) -> None:
    field, (z, r, t, _) = Gaussian(), points()
    v = field.velocity(z, t)
    u, dudt = value_and_derivative(field, z, r, t, v, how, epsilon=1e-4)
    torch.testing.assert_close(u, v - (t - r)[:, None, None] * dudt, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", WAYS)
def test_partial_derivatives_cancel_on_straight_paths(how: Derivative) -> None:
    z_1, r, t, _ = points()
    x = torch.full((4, 3), 0.3, dtype=torch.float64)
    v = z_1 - x
    z_t = x + t[:, None, None] * v
    _, dudt = value_and_derivative(ToPoint(x), z_t, r, t, v, how, epsilon=1e-4)
    assert (v / t[:, None, None]).abs().max() > 1  # (d_z u) v alone
    assert dudt.abs().max() < 1e-9


def test_dde_error_is_of_second_order() -> None:
    field, (z, r, t, v) = Gaussian(std=0.5), points()
    exact = value_and_derivative(field, z, r, t, v, "forward", epsilon=1)[1]
    errors = [
        (value_and_derivative(field, z, r, t, v, "dde", epsilon)[1] - exact).norm() for epsilon in (0.02, 0.01, 0.005)
    ]
    assert 3.8 < errors[0] / errors[1] < 4.2
    assert 3.8 < errors[1] / errors[2] < 4.2


@pytest.mark.parametrize("how", WAYS)
def test_u_is_recorded_once_and_the_derivative_is_not(how: Derivative) -> None:
    z, r, t, v = points()
    theta = torch.ones((), dtype=torch.float64, requires_grad=True)
    field = Recorded(Gaussian(), theta)
    u, dudt = value_and_derivative(field, z, r, t, v, how, epsilon=1e-3)
    assert u.requires_grad
    assert not dudt.requires_grad
    assert field.recorded == 1
    assert field.calls == {"jvp": 1, "forward": 2, "dde": 3}[how]
    (gradient,) = torch.autograd.grad(u.sum(), theta)
    torch.testing.assert_close(gradient, Gaussian()(z, r, t).sum())


def bound_net(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    small = {"film-mlp": {"hidden": 32, "depth": 2}, "unet1d": {"dims": [16, 32, 32]}}
    net = NETS.build(NETS.parse({"name": name, **small[name]}), 4, 3, 8).to(dtype)
    return net, torch.randn(32, 8, dtype=dtype)


@pytest.mark.parametrize("name", ["film-mlp", "unet1d"])
def test_three_ways_agree_on_a_network(name: str) -> None:
    net, c = bound_net(name)
    z, r, t, v = points()
    u, exact = value_and_derivative(lambda z, r, t, f=None: net(z, r, t, c, f), z, r, t, v, "jvp", epsilon=1)
    for how, tolerance in (("forward", 1e-10), ("dde", 1e-4)):
        again, dudt = value_and_derivative(lambda z, r, t, f=None: net(z, r, t, c, f), z, r, t, v, how, epsilon=1e-3)
        torch.testing.assert_close(again, u)
        assert (dudt - exact).norm() < tolerance * exact.norm()


@pytest.mark.parametrize("name", ["film-mlp", "unet1d"])
def test_float32_dde_is_as_good_as_its_default_epsilon_promises(name: str) -> None:
    net, c = bound_net(name, torch.float32)
    z, r, t, v = points(dtype=torch.float32)

    def field(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return net(z, r, t, c, features)

    _, exact = value_and_derivative(field, z, r, t, v, "forward", epsilon=1)
    _, dudt = value_and_derivative(field, z, r, t, v, "dde", epsilon=5e-3)
    assert (dudt - exact).norm() < 3e-3 * exact.norm()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, cast = value_and_derivative(field, z, r, t, v, "dde", epsilon=5e-3)
        _, cast_exact = value_and_derivative(field, z, r, t, v, "forward", epsilon=1)
    assert torch.equal(cast, dudt)
    assert torch.equal(cast_exact, exact)


@pytest.mark.parametrize("moving", [[0, 3, 4, 9], []])
@pytest.mark.parametrize("how", ["forward", "dde"])
def test_rows_that_do_not_move_cost_nothing_and_have_no_derivative(how: Derivative, moving: list[int]) -> None:
    net, c = bound_net("film-mlp")
    z, r, t, v = points()
    index, seen = torch.tensor(moving, dtype=torch.long), []

    def counted(z: Tensor, r: Tensor, t: Tensor, h: Tensor, features: list[Tensor] | None) -> Tensor:
        seen.append(len(z))
        return net(z, r, t, h, features)

    u, dudt = value_and_derivative(Conditioned(counted, c), z, r, t, v, how, 1e-3, moving=index)
    assert seen == [*([len(moving) * {"forward": 1, "dde": 2}[how]] if moving else []), len(z)]
    everywhere = Conditioned(net, c)
    torch.testing.assert_close(u, everywhere(z, r, t))
    expected = torch.zeros_like(z)
    expected[index] = value_and_derivative(everywhere, z, r, t, v, how, 1e-3)[1][index]
    torch.testing.assert_close(dudt, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("how", ["forward", "dde"])
def test_a_field_without_rows_is_evaluated_at_all_of_them(how: Derivative) -> None:
    field, (z, r, t, v) = Gaussian(), points()
    whole = value_and_derivative(field, z, r, t, v, how, 1e-3)[1]
    assert torch.equal(value_and_derivative(field, z, r, t, v, how, 1e-3, moving=torch.tensor([1]))[1], whole)


@pytest.mark.parametrize("how", WAYS)
def test_hidden_features_come_from_the_recorded_pass(how: Derivative) -> None:
    net, c = bound_net("film-mlp")
    z, r, t, v = points()
    features: list[Tensor] = []
    value_and_derivative(lambda z, r, t, f=None: net(z, r, t, c, f), z, r, t, v, how, 1e-3, features)
    plain: list[Tensor] = []
    net(z, r, t, c, plain)
    assert len(features) == 1
    torch.testing.assert_close(features[0], plain[0])
    features[0].sum().backward()
    assert net.inlet.weight.grad is not None


def saved_bytes(how: Derivative | None) -> int:
    """Bytes that one step keeps for the backward pass; a plain recorded u when ``how`` is None."""
    net, c = bound_net("film-mlp")
    z, r, t, v = points()
    sizes: list[int] = []

    def pack(x: Tensor) -> Tensor:
        sizes.append(x.numel() * x.element_size())
        return x

    def field(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return net(z, r, t, c, features)

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = field(z, r, t) if how is None else value_and_derivative(field, z, r, t, v, how, 1e-3)
    del out
    return sum(sizes)


def test_forward_and_dde_keep_what_a_plain_step_keeps_and_jvp_keeps_more() -> None:
    plain = saved_bytes(None)
    assert plain > 0
    assert saved_bytes("forward") == plain
    assert saved_bytes("dde") == plain
    assert saved_bytes("jvp") > 2 * plain
