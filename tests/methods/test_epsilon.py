"""Choosing the half width of the central difference."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from omp_cli.core.base.config import validated
from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods import METHODS
from omp_cli.core.methods.derivative import value_and_derivative
from omp_cli.core.methods.epsilon import GRID, dde_errors, pick_epsilon, relative_error
from omp_cli.core.methods.meanflow import MeanFlow, MeanFlowConfig
from omp_cli.core.methods.path import velocity
from omp_cli.core.nets import NETS
from tests.methods.test_derivative import bound_net, points

Points = tuple[Tensor, Tensor, Tensor, Tensor]


class Wave:
    """u = sin(w t) + z: curvature w, so truncation (eps w)^2 / 6, and nothing else but rounding."""

    def __init__(self, frequency: float) -> None:
        self.frequency = frequency

    def __call__(self, z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return z + torch.sin(self.frequency * t)[:, None, None]


def still(dtype: torch.dtype) -> Points:
    """Points whose velocity is zero: du/dt is du/dt at fixed z."""
    z, r, t, v = points(dtype=dtype)
    return z, r, t, torch.zeros_like(v)


def test_errors_follow_the_truncation_in_float64() -> None:
    field, at = Wave(5.0), still(torch.float64)
    exact = value_and_derivative(field, *at, "forward", 1.0)[1]
    grid = (0.1, 0.01, 1e-3)
    expected = [1 - math.sin(5 * e) / (5 * e) for e in grid]
    assert dde_errors(field, *at, exact, grid) == pytest.approx(expected, rel=1e-4)


def test_the_choice_balances_truncation_against_rounding() -> None:
    slow, fast = (pick_epsilon(Wave(w), *still(torch.float32)) for w in (1.0, 20.0))
    assert slow.epsilon > fast.epsilon  # more curvature, more truncation
    for choice in (slow, fast):
        assert choice.grid == GRID
        assert choice.error == choice.errors[GRID.index(choice.epsilon)] < 1e-3
        assert choice.errors[0] > 3 * choice.error
        assert choice.errors[-1] > 3 * choice.error
    assert pick_epsilon(Wave(1.0), *still(torch.float64)).epsilon == 1e-5  # no rounding to speak of


def test_one_lucky_entry_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [1e-1, 1e-2, 1e-3, 1e-4, 2e-4, 4e-4, 8e-4, 2e-3, 4e-5, 8e-3, 1e-1]  # a dip far from the valley
    monkeypatch.setattr("omp_cli.core.methods.epsilon.dde_errors", lambda *_: errors)
    assert pick_epsilon(Wave(1.0), *still(torch.float32)).epsilon in (0.01, 0.005)


@pytest.mark.parametrize("name", ["film-mlp", "unet1d"])
def test_choice_on_a_network_is_repeatable_and_better_than_its_neighbours_twice_removed(name: str) -> None:
    net, c = bound_net(name, torch.float32)
    at = points(dtype=torch.float32)

    def field(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return net(z, r, t, c, features)

    one, two = (pick_epsilon(field, *at) for _ in range(2))
    assert one == two
    index = GRID.index(one.epsilon)
    assert one.error < one.errors[index - 2]
    assert one.error < one.errors[index + 2]


def test_what_cannot_be_measured_says_so() -> None:
    with pytest.raises(UsageError, match="zero or not finite"):
        pick_epsilon(lambda z, r, t, features=None: 0 * z, *still(torch.float32))
    norm = nn.BatchNorm1d(4)
    with pytest.raises(UsageError, match="no forward-mode derivative"):
        pick_epsilon(lambda z, r, t, features=None: norm(z), *points(dtype=torch.float32))


def test_relative_error_is_infinite_where_a_number_is_not_finite() -> None:
    assert relative_error(torch.tensor([1.1, 2.0]), torch.tensor([1.0, 2.0])) == pytest.approx(0.1 / 5**0.5, rel=1e-5)
    assert relative_error(torch.tensor([float("nan")]), torch.tensor([1.0])) == math.inf


@pytest.mark.parametrize("value", [0, -1e-3, 1.5, "much", True, float("inf"), None])
def test_epsilon_is_a_positive_number_or_auto(value: object) -> None:
    assert validated(MeanFlowConfig, {"epsilon": "auto"}).epsilon == "auto"
    with pytest.raises(UsageError, match="a number"):
        validated(MeanFlowConfig, {"epsilon": value})


def test_no_loss_is_evaluated_with_auto() -> None:
    z, _, _, v = points(dtype=torch.float32)
    for derivative in ("dde", "forward", "jvp"):
        method = METHODS.build(METHODS.parse({"name": "omp", "epsilon": "auto", "derivative": derivative}))
        draws = method.draw(tuple(z.shape), torch.Generator().manual_seed(0))
        if derivative == "dde":
            with pytest.raises(UsageError, match="measured when omp pretrain starts"):
                method.loss(Wave(1.0), z, v.flatten(1), draws)
        else:
            assert torch.isfinite(method.loss(Wave(1.0), z, v.flatten(1), draws).total)


@pytest.mark.parametrize("name", ["mp1", "imf"])
def test_a_method_measures_along_its_own_path(name: str) -> None:
    """The tangent of mp1 is the guided velocity, that of imf the network's own: with v the choice would be another."""
    method = METHODS.build(METHODS.parse({"name": name}))
    assert isinstance(method, MeanFlow)
    torch.manual_seed(0)
    net = NETS.build(NETS.parse({"name": "film-mlp", "hidden": 32, "depth": 2}), 4, 3, 8)
    c, z_0 = torch.randn(32, 8), points(dtype=torch.float32)[0]
    draws = method.draw(tuple(z_0.shape), torch.Generator().manual_seed(0))

    def field(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return net(z, r, t, c, features)

    v = velocity(z_0, draws.noise)
    z_t = z_0 + draws.t[:, None, None] * v
    own = field(z_t, draws.t, draws.t)
    choice = method.measure_epsilon(field, z_0, draws)
    expected = pick_epsilon(field, z_t, draws.r, draws.t, 2 * v - own if name == "mp1" else own)
    assert choice.errors[:3] == pytest.approx(expected.errors[:3], rel=1e-3)
    assert choice.errors[0] != pytest.approx(pick_epsilon(field, z_t, draws.r, draws.t, v).errors[0], rel=1e-3)


def test_a_network_that_says_nothing_of_its_missing_derivative_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(*_: object, **__: object) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    monkeypatch.setattr("omp_cli.core.methods.epsilon.value_and_derivative", silent)
    z, r, t, v = points(dtype=torch.float32)
    with pytest.raises(UsageError, match=r"no forward-mode derivative to compare with \(NotImplementedError\)"):
        pick_epsilon(Wave(1.0), z, r, t, v)
