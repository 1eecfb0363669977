"""What every registered net must do; a new net is picked up by its registration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from omp_cli.core.nets import NETS, Net

H, A, D = 8, 3, 10
SMALL: dict[str, dict[str, Any]] = {
    "film-mlp": {"hidden": 32, "depth": 3},
    "unet1d": {"dims": [16, 32, 48], "groups": 8},
    "residual-mlp": {"hidden": 32, "depth": 2},
}

pytestmark = pytest.mark.parametrize("name", NETS.names())


def built(name: str, dtype: torch.dtype = torch.float32) -> Net:
    torch.manual_seed(0)
    return NETS.build(NETS.parse({"name": name, **SMALL.get(name, {})}), H, A, D).to(dtype)


def inputs(batch: int = 5, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    z, c = torch.randn(batch, H, A, generator=g, dtype=dtype), torch.randn(batch, D, generator=g, dtype=dtype)
    t = torch.rand(batch, generator=g, dtype=dtype)
    return z, t * torch.rand(batch, generator=g, dtype=dtype), t, c


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 5])
def test_shape_and_dtype(name: str, dtype: torch.dtype, batch: int) -> None:
    out = built(name, dtype)(*inputs(batch, dtype))
    assert out.shape == (batch, H, A)
    assert out.dtype == dtype


def test_gradient_reaches_every_parameter_and_every_input(name: str) -> None:
    net, (z, r, t, c) = built(name), inputs()
    for x in (z, r, t, c):
        x.requires_grad_()
    net(z, r, t, c).square().sum().backward()
    dead = {n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    assert dead == {n for n, p in net.named_parameters() if n.endswith(".unseen") and not p.requires_grad}
    assert all(x.grad is not None and x.grad.any() for x in (z, r, t, c))


def test_forward_mode_agrees_with_reverse_mode(name: str) -> None:
    net, (z, r, t, c) = built(name, torch.float64), inputs(dtype=torch.float64)
    v, w = torch.randn_like(z), torch.randn_like(z)

    def along(z: Tensor, t: Tensor) -> Tensor:
        return net(z, r, t, c)

    with torch.no_grad():
        _, tangent = torch.func.jvp(along, (z, t), (v, torch.ones_like(t)))
    z.requires_grad_()
    t.requires_grad_()
    dz, dt = torch.autograd.grad((along(z, t) * w).sum(), (z, t))
    torch.testing.assert_close((tangent * w).sum(), (dz * v).sum() + dt.sum())


def test_smooth_and_finite_a_little_outside_the_unit_interval_and_across_r(name: str) -> None:
    """The central difference goes to t ± eps, which may lie above 1, below 0 or below r."""
    net, (z, _, _, c) = built(name, torch.float64), inputs(dtype=torch.float64)

    def at(r: float, t: float) -> Tensor:
        return net(z, torch.full((5,), r, dtype=z.dtype), torch.full((5,), t, dtype=z.dtype), c)

    for r, edge in ((0.0, 1.0), (0.4, 0.4), (-0.01, 0.0)):
        after, before = at(r, edge + 1e-4) - at(r, edge), at(r, edge) - at(r, edge - 1e-4)
        assert torch.isfinite(after).all()
        assert after.any()
        assert (after - before).norm() < 0.05 * after.norm()  # no clamp: the slopes on both sides agree


def test_output_is_no_constant_zero_at_the_start(name: str) -> None:
    """Directional alignment has no usable gradient at u = 0."""
    assert built(name)(*inputs()).flatten(1).norm(dim=1).min() > 1e-3


def test_rows_do_not_see_each_other(name: str) -> None:
    net, (z, r, t, c) = built(name, torch.float64), inputs(dtype=torch.float64)
    torch.testing.assert_close(net(z, r, t, c)[2:4], net(z[2:4], r[2:4], t[2:4], c[2:4]))


def test_taps_are_features_of_each_row_and_change_nothing(name: str) -> None:
    net, x = built(name), inputs()
    taps: list[Tensor] = []
    assert torch.equal(net(*x, taps), net(*x))
    assert taps
    assert all(tap.shape[0] == 5 and tap.requires_grad for tap in taps)


def test_state_dict_round_trip(name: str) -> None:
    net, other = built(name), NETS.build(NETS.parse({"name": name, **SMALL.get(name, {})}), H, A, D)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(*inputs()), net(*inputs()))
