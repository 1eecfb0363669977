"""Plain flow matching along straight lines (rectified flow): the floor of cost and the multi-step baseline.

Legend: z_0 data chunk, z_1 noise, z_t point of the path, v velocity, u network; B batch, H horizon, A action dimension.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from omp_cli.core.methods.base import METHODS, Draws, Gather, Jump, LossReport, VelocityField, same
from omp_cli.core.methods.dispersion import DispersionConfig, dispersed
from omp_cli.core.methods.path import FlowConfig, at_least_float32, path_jumps, point, velocity
from omp_cli.core.methods.teaching import Teaching
from omp_cli.core.methods.times import OneTimeConfig, draw_time


class ReFlowConfig(FlowConfig):
    """Settings of flow matching: the distribution of t, dispersive regularisation; see also ``FlowConfig``."""

    name: Literal["reflow"] = "reflow"
    times: OneTimeConfig = OneTimeConfig()
    dispersion: DispersionConfig = DispersionConfig()


@METHODS.register("reflow")
class ReFlow(Teaching):
    """Regress u(z_t, t, t | c) onto v = z_1 - z_0; Euler steps on the step grid."""

    Config = ReFlowConfig
    config: ReFlowConfig
    usual_nfe = 20
    """DMPO, table 2."""

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Noise (B, H, A) and times (B,) with r = t, float32 on the generator's device."""
        noise = torch.randn(shape, generator=generator, device=generator.device)
        times = self.config.times
        t = draw_time(shape[0], times.distribution, times.mu, times.sigma, generator)
        return Draws(noise, t, t)

    def loss(self, u: VelocityField, z_0: Tensor, h: Tensor, draws: Draws, gather: Gather = same) -> LossReport:
        """Mean of |u - v|^2, and lambda_Disp L_Disp; see ``Method.loss`` for the arguments."""
        draws = draws.to(z_0)
        z_t, v = point(z_0, draws.noise, draws.t), velocity(z_0, draws.noise)
        hidden = self.config.dispersion.taps()
        loss = (at_least_float32(instantaneous(u)(z_t, draws.t, draws.t, hidden)) - v).square().mean()
        return dispersed({"reflow": loss}, {"reflow": loss.detach()}, self.config.dispersion, h, hidden, gather)

    def jumps(self, nfe: int, eta: float = 0.0) -> tuple[Jump, ...]:
        """K Euler steps on the step grid; see the base class."""
        return path_jumps(nfe, instantaneous, self.config.clip_steps)

    def flow(self, u: VelocityField) -> VelocityField:
        """The velocity at t, which an Euler step follows all the way to r."""
        return instantaneous(u)


def instantaneous(u: VelocityField) -> VelocityField:
    """The velocity at the start of an interval, whatever its end: the only one that flow matching trains."""

    def v(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return u(z, t, t, features)

    return v
