"""Behaviour cloning with one mean per observation: what Gaussian PPO (DPPO's baseline) starts from.

Legend: z_0 data chunk, B batch, H horizon, A action dimension. The network is asked at one point only, u(0, 0, 1), and
its answer is the mean chunk; noise plays no part, so two ways of doing a task are averaged.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods.base import METHODS, Draws, Gather, Jump, LossReport, Method, VelocityField, same
from omp_cli.core.methods.path import at_least_float32


class GaussianConfig(Settings):
    """Behaviour cloning has no settings."""

    name: Literal["gaussian"] = "gaussian"


@METHODS.register("gaussian")
class Gaussian(Method):
    """Regress the chunk itself: the mean of a Gaussian whose spread fine-tuning adds."""

    Config = GaussianConfig
    generative = False

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Nothing is random: noise (B, H, A) of zeros, r = 0 and t = 1, (B,)."""
        batch, device = shape[0], generator.device
        return Draws(
            torch.zeros(shape, device=device), torch.zeros(batch, device=device), torch.ones(batch, device=device)
        )

    def loss(self, u: VelocityField, z_0: Tensor, h: Tensor, draws: Draws, gather: Gather = same) -> LossReport:
        """Mean square of mean - z_0; see ``Method.loss``."""
        loss = (at_least_float32(_mean(u, z_0)) - z_0).square().mean()
        return LossReport(total=loss, parts={"regression": loss.detach()}, terms={"regression": loss})

    def jumps(self, nfe: int, eta: float = 0.0) -> tuple[Jump, ...]:
        """One jump, to the mean, wherever it starts; UsageError for more."""
        if nfe != 1:
            raise UsageError(f"nfe: a gaussian policy takes 1 step (got {nfe})")
        return (Jump(1.0, _mean),)


def _mean(u: VelocityField, z: Tensor) -> Tensor:
    batch = z.shape[:1]
    return u(torch.zeros_like(z), z.new_zeros(batch), z.new_ones(batch))
