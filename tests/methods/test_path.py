"""The path, the step grid and sampling."""

from __future__ import annotations

import pytest
import torch

from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods import METHODS, VelocityField
from omp_cli.core.methods.path import path_jumps, point, step, step_grid, velocity
from tests.methods.fields import Gaussian, ToPoint


def integrate(u: VelocityField, noise: torch.Tensor, nfe: int) -> torch.Tensor:
    z = noise
    for jump in path_jumps(nfe):
        z = jump.mean(u, z)
    return z


def test_path_starts_at_data_ends_at_noise_and_moves_with_v() -> None:
    z_0, z_1 = torch.randn(2, 5, 4, 3, dtype=torch.float64)
    t = torch.rand(5, dtype=torch.float64)
    assert torch.equal(point(z_0, z_1, torch.zeros(5)), z_0)
    assert torch.equal(point(z_0, z_1, torch.ones(5)), z_1)
    moved = point(z_0, z_1, t + 0.1) - point(z_0, z_1, t)
    torch.testing.assert_close(moved, 0.1 * velocity(z_0, z_1))


@pytest.mark.parametrize(("nfe", "grid"), [(1, (1.0, 0.0)), (2, (1.0, 0.5, 0.0)), (4, (1.0, 0.75, 0.5, 0.25, 0.0))])
def test_step_grid(nfe: int, grid: tuple[float, ...]) -> None:
    assert step_grid(nfe) == grid


@pytest.mark.parametrize("nfe", [3, 7, 100])
def test_step_grid_is_even_and_ends_exactly_at_data(nfe: int) -> None:
    grid = torch.tensor(step_grid(nfe), dtype=torch.float64)
    assert len(grid) == nfe + 1
    assert grid[0] == 1
    assert grid[-1] == 0
    torch.testing.assert_close(grid.diff(), torch.full((nfe,), -1 / nfe, dtype=torch.float64))


@pytest.mark.parametrize("nfe", [0, -1])
def test_step_grid_needs_a_step(nfe: int) -> None:
    with pytest.raises(UsageError, match="nfe"):
        step_grid(nfe)


@pytest.mark.parametrize("nfe", [1, 2, 5])
def test_exact_mean_velocity_samples_the_data_distribution_in_any_number_of_steps(nfe: int) -> None:
    field = Gaussian(mean=0.2, std=0.1)
    noise = torch.randn(64, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(integrate(field, noise, nfe), 0.2 + 0.1 * noise)


def test_instantaneous_velocity_needs_many_steps() -> None:
    """What mean velocity buys: Euler steps along v are wrong at K = 1 and converge slowly."""
    field = Gaussian(mean=0.2, std=0.1)
    noise = torch.randn(256, 4, 3, dtype=torch.float64)

    def euler(z: torch.Tensor, r: torch.Tensor, t: torch.Tensor, features: None = None) -> torch.Tensor:
        return field.velocity(z, t)

    error = {k: (integrate(euler, noise, k) - 0.2 - 0.1 * noise).abs().mean() for k in (1, 10, 100)}
    assert error[1] > 0.07
    assert error[1] > error[10] > error[100]


def test_step_passes_interval_end_points_in_order() -> None:
    seen: list[tuple[float, float]] = []

    def field(z: torch.Tensor, r: torch.Tensor, t: torch.Tensor, features: None = None) -> torch.Tensor:
        seen.append((r[0].item(), t[0].item()))
        return z

    torch.testing.assert_close(step(field, torch.ones(2, 1, 1), t=0.75, r=0.5), torch.full((2, 1, 1), 0.75))
    assert seen == [(0.5, 0.75)]


@pytest.mark.parametrize("name", ["meanflow", "omp", "mp1"])
def test_meanflow_sampling_clips_at_the_end(name: str) -> None:
    method = METHODS.build(METHODS.parse({"name": name}))
    x = torch.tensor([[0.5, -3.0], [2.0, -0.25]])
    chunks = method.sample(ToPoint(x), torch.randn(6, 2, 2), nfe=3)
    torch.testing.assert_close(chunks, x.clamp(-1, 1).expand(6, 2, 2))
