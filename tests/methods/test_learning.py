"""The whole method learns: a bimodal target in one dimension, sampled with one evaluation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from omp_cli.core.methods import METHODS
from omp_cli.core.nets import NETS

MODES = (-0.7, 0.5)  # with weights 0.3 and 0.7
SPREAD = 0.05


def target(n: int, g: torch.Generator) -> Tensor:
    low = torch.rand(n, 1, 1, generator=g) < 0.3
    return torch.where(low, *MODES) + SPREAD * torch.randn(n, 1, 1, generator=g)


@pytest.mark.parametrize("how", ["forward", "dde"])
def test_one_step_samples_have_both_modes(how: str) -> None:
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    method = METHODS.build(METHODS.parse({"name": "meanflow", "derivative": how}))
    net = NETS.build(NETS.parse({"name": "film-mlp", "hidden": 64, "depth": 2}), 1, 1, 1)
    steps, batch = 1200, 256
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    c = torch.zeros(batch, 1)
    for _ in range(steps):
        report = method.loss(
            lambda z, r, t, f=None: net(z, r, t, c, f), target(batch, g), c, method.draw((batch, 1, 1), g)
        )
        optimizer.zero_grad()
        report.total.backward()
        optimizer.step()
        schedule.step()

    n = 4000
    with torch.no_grad():
        drawn = method.sample(lambda z, r, t: net(z, r, t, torch.zeros(n, 1)), torch.randn(n, 1, 1, generator=g), 1)
    drawn = drawn.flatten()
    wasserstein = (drawn.sort().values - target(n, g).flatten().sort().values).abs().mean()
    print(how, wasserstein, (drawn<-0.1).float().mean(), [((drawn-m).abs()<3*SPREAD).float().mean() for m in MODES])
