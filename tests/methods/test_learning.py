"""The whole method learns: a bimodal target in one dimension, sampled with one evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from omp_cli.core.methods import METHODS
from omp_cli.core.nets import NETS

MODES = (-0.6, 0.6)
SPREAD = 0.05
STEPS, BATCH, SAMPLES = 400, 128, 4000


def data(n: int, g: torch.Generator) -> Tensor:
    """(n, 1, 1) from an even mixture of two narrow Gaussians."""
    low = torch.rand(n, 1, 1, generator=g) < 0.5
    return torch.where(low, *MODES) + SPREAD * torch.randn(n, 1, 1, generator=g)


def test_one_step_samples_have_both_modes_and_little_between() -> None:
    """Regression to the mean, or one Euler step of flow matching, would put everything at 0."""
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    method = METHODS.build(METHODS.parse({"name": "meanflow", "derivative": "dde"}))
    net = NETS.build(NETS.parse({"name": "film-mlp", "hidden": 64, "depth": 2}), 1, 1, 1)
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS, pct_start=0.05)

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return net(z, r, t, torch.zeros(len(z), 1), features)

    for _ in range(STEPS):
        report = method.loss(u, data(BATCH, g), torch.zeros(BATCH, 1), method.draw((BATCH, 1, 1), g))
        optimizer.zero_grad()
        report.total.backward()
        optimizer.step()
        schedule.step()

    with torch.no_grad():
        drawn = method.sample(u, torch.randn(SAMPLES, 1, 1, generator=g), nfe=1).flatten()
    wasserstein = (drawn.sort().values - data(SAMPLES, g).flatten().sort().values).abs().mean()
    assert 0.4 < (drawn < 0).float().mean() < 0.6
    assert (drawn.abs() - MODES[1]).abs().lt(3 * SPREAD).float().mean() > 0.85
    assert wasserstein < 0.15
