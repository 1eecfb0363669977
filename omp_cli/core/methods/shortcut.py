"""ShortCut models (arXiv 2410.12557): flow matching that also learns to take two steps as one.

Legend: z_0 data chunk, z_1 noise, z_t point of the path, v velocity, u mean velocity over [r, t], d = t - r step size;
B batch, H horizon, A action dimension. The papers' u(z, t, d) is our u(z, t - d, t).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from omp_cli.core.base.config import Count, Share
from omp_cli.core.methods.base import METHODS, Draws, Gather, Jump, LossReport, VelocityField, same
from omp_cli.core.methods.dispersion import DispersionConfig, dispersed
from omp_cli.core.methods.path import FlowConfig, at_least_float32, path_jumps, point, rows, velocity
from omp_cli.core.methods.teaching import Teaching
from omp_cli.core.methods.times import count_of


class ShortCutConfig(FlowConfig):
    """Settings of ShortCut; see also ``FlowConfig``."""

    name: Literal["shortcut"] = "shortcut"
    levels: Count = 7
    """Step sizes trained against their halves are 1, 1/2, ... 1/2^(levels - 1); below the last of them the velocity
    itself (d = 0) stands in for the half step.
    """
    consistency_share: Share = 0.25
    """Share of the rows that learn a long step; the others learn the velocity at r = t."""
    dispersion: DispersionConfig = DispersionConfig()
    """Dispersive regularisation."""

    def passed_over(self) -> dict[str, str]:
        """The sizes of long steps, where none is learned."""
        return {} if self.consistency_share else {"levels": "consistency_share is 0"}


@METHODS.register("shortcut")
class ShortCut(Teaching):
    """Regress u(z_t, r, t) onto v where r = t, elsewhere onto the mean of two half steps of its own."""

    Config = ShortCutConfig
    config: ShortCutConfig
    usual_nfe = 5
    """DMPO, table 2."""

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Noise (B, H, A) and times (B,), float32; long steps lie on the grid of their size, the rest is uniform."""
        batch, device = shape[0], generator.device
        noise = torch.randn(shape, generator=generator, device=device)
        t = torch.rand(batch, generator=generator, device=device)
        r = t.clone()
        order = torch.randperm(batch, generator=generator, device=device)
        long = order[: count_of(self.config.consistency_share, batch)]
        count = 2.0 ** torch.randint(self.config.levels, long.shape, generator=generator, device=device)
        start = (torch.rand(long.shape, generator=generator, device=device) * count).floor()
        r[long], t[long] = start / count, (start + 1) / count
        return Draws(noise, r, t)

    def loss(self, u: VelocityField, z_0: Tensor, h: Tensor, draws: Draws, gather: Gather = same) -> LossReport:
        """Mean square error against both kinds of targets, and lambda_Disp L_Disp; see ``Method.loss``."""
        draws = draws.to(z_0)
        r, t = draws.r, draws.t
        z_t, v = point(z_0, draws.noise, t), velocity(z_0, draws.noise)
        long = rows(t > r, v)
        target = torch.where(long, self._two_halves(u, z_t, r, t), v)
        hidden = self.config.dispersion.taps()
        squares = (at_least_float32(u(z_t, r, t, hidden)) - target).square()
        loss = squares.mean()
        parts = {"shortcut": loss.detach()}
        if self.config.consistency_share > 0:
            weight = long.expand_as(v).to(v)
            parts["consistency"] = (squares.detach() * weight).sum() / weight.sum().clamp_min(1)
        return dispersed({"shortcut": loss}, parts, self.config.dispersion, h, hidden, gather)

    def jumps(self, nfe: int, eta: float = 0.0) -> tuple[Jump, ...]:
        """K jumps on the step grid; see the base class."""
        return path_jumps(nfe, clip=self.config.clip_steps)

    @torch.no_grad()
    def _two_halves(self, u: VelocityField, z_t: Tensor, r: Tensor, t: Tensor) -> Tensor:
        """Mean velocity of two steps of d / 2, without gradient: (B, H, A).

        All rows go through it, for a field is bound to the observations of the whole batch; those with r = t are not
        used.
        """
        middle = (r + t) / 2
        finest = t - r < 1.5 * 2.0 ** (1 - self.config.levels)
        first = u(z_t, torch.where(finest, t, middle), t)
        z_middle = z_t - rows(t - middle, z_t) * first
        second = u(z_middle, torch.where(finest, middle, r), middle)
        return at_least_float32((first + second) / 2)
