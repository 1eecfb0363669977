"""ShortCut: targets by hand and on a closed-form flow."""

from __future__ import annotations

import torch
from torch import Tensor

from omp_cli.core.methods import METHODS, Draws, Method
from tests.methods.fields import Gaussian


def built(**settings: object) -> Method:
    return METHODS.build(METHODS.parse({"name": "shortcut", **settings}))


def test_long_steps_lie_on_the_grid_of_their_size() -> None:
    draws = built(levels=4).draw((4000, 1, 1), torch.Generator().manual_seed(0))
    long = draws.t > draws.r
    assert int(long.sum()) == 1000
    size = (draws.t - draws.r)[long]
    assert set(size.tolist()) == {1.0, 0.5, 0.25, 0.125}
    assert torch.equal((draws.t[long] / size).round(), draws.t[long] / size)
    assert 0.45 < draws.t[~long].mean() < 0.55


def test_the_exact_mean_velocity_is_consistent() -> None:
    """Two half steps along the true flow are one whole step, so the loss of the true field is zero there."""
    u, g = Gaussian(), torch.Generator().manual_seed(0)
    z_0 = torch.rand(6, 2, 3, generator=g, dtype=torch.float64)
    r, t = torch.tensor([[0, 1], [0, 0.5], [0.5, 1], [0.25, 0.5], [0.5, 0.75], [0.75, 1.0]], dtype=torch.float64).T
    draws = Draws(torch.randn(6, 2, 3, generator=g, dtype=torch.float64), r, t)
    assert built().loss(u, z_0, z_0[:, 0], draws).total < 1e-24
    wrong = built().loss(lambda z, r, t, f=None: 1.1 * u(z, r, t), z_0, z_0[:, 0], draws)
    assert wrong.total > 1e-4


def test_targets_by_hand() -> None:
    """A linear field, one row of each kind: flow matching, a long step, and the finest one."""
    asked: list[tuple[list[float], list[float]]] = []

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        asked.append((r.tolist(), t.tolist()))
        return z * t[:, None, None] - r[:, None, None]

    z_0, noise = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)  # z_t = t, v = 1
    r, t = torch.tensor([0.5, 0.0, 0.5]), torch.tensor([0.5, 1.0, 1.0])
    report = built(levels=2).loss(u, z_0, z_0[:, 0], Draws(noise, r, t))
    assert asked[0][0][1:] == [0.5, 1.0], "the half step below the finest is the velocity itself"
    assert asked[1][0][1:] == [0.0, 0.75]
    first_long, first_finest = 1 * 1 - 0.5, 1 * 1 - 1.0
    second_long = (1 - 0.5 * first_long) * 0.5 - 0.0
    second_finest = (1 - 0.25 * first_finest) * 0.75 - 0.75
    targets = [1.0, (first_long + second_long) / 2, (first_finest + second_finest) / 2]
    outputs = [0.5 * 0.5 - 0.5, 1.0 - 0.0, 1.0 - 0.5]
    squares = [(a - b) ** 2 for a, b in zip(outputs, targets, strict=True)]
    torch.testing.assert_close(report.total, torch.tensor(sum(squares) / 3))
    torch.testing.assert_close(report.parts["consistency"], torch.tensor((squares[1] + squares[2]) / 2))


def test_targets_carry_no_gradient() -> None:
    theta = torch.ones((), requires_grad=True)
    seen: list[bool] = []

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        seen.append(torch.is_grad_enabled())
        return theta * z

    z = torch.rand(4, 1, 1)
    built().loss(u, z, z[:, 0], Draws(z, torch.zeros(4), torch.ones(4))).total.backward()
    assert seen == [False, False, True]
