"""Clipping at every step, as public code does, against clipping at the end: what it does to samples of a mixture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from omp_cli.core.methods import METHODS, Method
from omp_cli.core.methods.path import FlowConfig
from tests.methods.fields import Mixture

N = 4000
MEAN_VELOCITY = ("meanflow", "omp", "mp1", "dmpo", "imf", "shortcut", "consistency")
FLOWS = (*MEAN_VELOCITY, "reflow", "flowpolicy")


def built(name: str, clip_steps: bool, **settings: object) -> Method:
    return METHODS.build(METHODS.parse({"name": name, "clip_steps": clip_steps, **settings}))


class Corners:
    """Two modes in two dimensions, 40 % at (-0.6, 0.5), the rest at (0.6, -0.5); deviation 0.1."""

    means = torch.tensor([[-0.6, 0.5], [0.6, -0.5]], dtype=torch.float64)
    shares = torch.tensor([0.4, 0.6], dtype=torch.float64)
    std = 0.1

    def __call__(self, z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """The marginal velocity E[v | z_t = z]: the modes' velocities by their posterior probabilities."""
        t = t[:, None, None, None]
        off = z[:, :, None] - (1 - t) * self.means
        variance = (1 - t) ** 2 * self.std**2 + t**2
        posterior = (self.shares.log() - off.square().sum(-1) / (2 * variance[..., 0])).softmax(-1)
        velocity = (t - (1 - t) * self.std**2) / variance * off - self.means
        return (posterior[..., None] * velocity).sum(2)

    def share(self, samples: Tensor) -> float:
        """Of the first mode."""
        nearest = (samples[:, 0, None] - self.means).norm(dim=-1).argmin(1)
        return float((nearest == 0).double().mean())


def noise(dimensions: int) -> Tensor:
    return torch.randn(N, 1, dimensions, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_every_method_that_goes_down_the_step_grid_has_the_setting() -> None:
    found = {name for name in METHODS.names() if issubclass(METHODS.get(name).Config, FlowConfig)}
    assert found == set(FLOWS)
    assert not any(METHODS.parse({"name": name}).clip_steps for name in found)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "settings"), [*((name, {}) for name in FLOWS), ("flowpolicy", {"as_released": True})])
def test_each_jump_is_clipped_where_it_leads(name: str, settings: dict[str, bool]) -> None:
    z = 2 * noise(3)
    for free, clipped in zip(
        built(name, False, **settings).jumps(5), built(name, True, **settings).jumps(5), strict=True
    ):
        leads = free.mean(lambda z, r, t, f=None: 0.3 * z, z)
        assert leads.abs().max() > 1
        assert torch.equal(clipped.mean(lambda z, r, t, f=None: 0.3 * z, z), leads.clamp(-1, 1))
        assert (clipped.t, clipped.std) == (free.t, free.std)


@pytest.mark.parametrize("name", FLOWS)
def test_one_step_gives_the_same_samples(name: str) -> None:
    free, clipped = (built(name, clip).sample(Mixture(), noise(1), 1) for clip in (False, True))
    assert torch.equal(free, clipped)


@pytest.mark.parametrize(("nfe", "narrower"), [(2, 0.095), (5, 0.086), (20, 0.081)])
@pytest.mark.parametrize("name", ["meanflow", "shortcut", "consistency"])
def test_several_clipped_steps_make_the_modes_narrower(name: str, nfe: int, narrower: float) -> None:
    """The figures of ``FlowConfig``: the exact mean velocity is exact in any number of steps that are not clipped."""
    data, spread = Mixture((0.4, 0.6)), []
    for clip in (False, True):
        samples = built(name, clip).sample(data, noise(1), nfe)
        spread.append(float((samples - torch.where(samples < 0, -0.6, 0.6)).std()))
    assert spread == pytest.approx([0.101, narrower], abs=6e-4)


@pytest.mark.parametrize("nfe", [5, 100])
def test_clipped_steps_of_reflow_take_from_the_rarer_mode(nfe: int) -> None:
    free, clipped = (Corners().share(built("reflow", clip).sample(Corners(), noise(2), nfe)) for clip in (False, True))
    assert free == pytest.approx(0.39, abs=0.02)
    assert clipped == pytest.approx(0.365, abs=0.015)
    assert free - clipped > 0.01
