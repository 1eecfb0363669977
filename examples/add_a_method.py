"""Add your own method: one file, no change to omp.

Here: plain regression of the mean velocity over the whole interval ("behaviour cloning through noise"). It learns
u(z_1, 0, 1) = z_1 - z_0 from t = 1 alone, so one step gives the conditional mean of the demonstrations. Use it:

    omp --plugin examples/add_a_method.py prepare toy --demos 20
    omp --plugin examples/add_a_method.py pretrain --method regression --steps 300
    omp --plugin examples/add_a_method.py eval

To make it part of omp, move the file to omp_cli/core/methods/: the contract tests then run over it as well.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from omp_cli.core.base.config import Settings
from omp_cli.core.methods import METHODS, Draws, Jump, LossReport, Method, VelocityField
from omp_cli.core.methods.base import Gather, same
from omp_cli.core.methods.path import path_jumps, velocity


class RegressionConfig(Settings):
    """Settings; what is declared here becomes ``--set method.<name>=<value>``."""

    name: Literal["regression"] = "regression"
    noise: float = 1.0


@METHODS.register("regression")
class Regression(Method):
    """Regress z_1 - z_0 from pure noise."""

    Config = RegressionConfig
    config: RegressionConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Noise (B, H, A), r = 0 and t = 1."""
        noise = self.config.noise * torch.randn(shape, generator=generator, device=generator.device)
        return Draws(noise, torch.zeros(shape[0]), torch.ones(shape[0]))

    def loss(self, u: VelocityField, z_0: Tensor, h: Tensor, draws: Draws, gather: Gather = same) -> LossReport:
        """Mean square of u(z_1, 0, 1) - (z_1 - z_0)."""
        draws = draws.to(z_0)
        error = u(draws.noise, draws.r, draws.t) - velocity(z_0, draws.noise)
        loss = error.square().mean()
        return LossReport(total=loss, parts={"regression": loss.detach()}, terms={"regression": loss})

    def jumps(self, nfe: int, eta: float = 0.0) -> tuple[Jump, ...]:
        """One step; more steps repeat what the net never saw, so they are refused nowhere but help no one."""
        return path_jumps(nfe)
