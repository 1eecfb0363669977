"""FlowPolicy (arXiv 2412.04987): consistency flow matching (arXiv 2407.02398) in a few segments of the path.

Legend: z_0 data chunk, z_1 noise, z_t point of the path, s start of t's segment (its end nearer to the data), w = t -
delta, u network, f where the straight line along u leaves the segment; B batch, H horizon, A action dimension. The
papers' time is ours turned round: their t is 1 - t.

The segments are ](k - 1)/K, k/K]. All points of a path within one should leave it at the same place,
f(z_t, t) = z_t - (t - s) u(z_t, s, t), so u is the mean velocity over [s, t]; at t = s f is the point itself, which is
what ties it to the data. As delta goes to 0 that is the MeanFlow identity at r = s.

The model knows where each segment ends and nothing beyond: exact are as many steps as there are segments. A longer
step goes on straight past the end of its segment, as published: one step of two segments gives 2 z_{1/2} - z_1, which
is no sample of the data unless paths are straight. ``segments = 1`` is what one step is exact for.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from omp_cli.core.base.config import AtLeast0, Count
from omp_cli.core.methods.base import METHODS, Draws, Gather, Jump, LossReport, Method, VelocityField, same
from omp_cli.core.methods.path import FlowConfig, at_least_float32, clipped, path_jumps, point, rows, step_grid

RELEASED_END = 1e-2
"""How far from pure noise the public code stays, in training and in sampling."""
ROUNDING = 1e-5
"""A time so little above a boundary lies on it."""


class FlowPolicyConfig(FlowConfig):
    """Settings of FlowPolicy; the numbers are the published ones. See also ``FlowConfig``."""

    name: Literal["flowpolicy"] = "flowpolicy"
    segments: Count = 2
    """K, number of segments of [0, 1]."""
    delta: float = Field(1e-2, gt=0, lt=1)
    """Distance of the two times that are compared."""
    velocity_weight: AtLeast0 = 1e-5
    """Alpha, weight of the equal velocities beside that of the equal ends, 1."""
    as_released: bool = False
    """Repeat the public code where it leaves its paper: the gradient goes through both times' velocities; w may lie in
    the next segment; the network is given one time; t never exceeds 0.99, yet sampling steps over the whole of [0, 1].
    (Its factor 99 on the time is ``net.time_scale``.).
    """


@METHODS.register("flowpolicy")
class FlowPolicy(Method):
    """Regress where a line leaves the segment onto where the line from a little further down leaves it."""

    Config = FlowPolicyConfig
    config: FlowPolicyConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Noise (B, H, A), uniform times t (B,), and r = s; float32 on the generator's device."""
        noise = torch.randn(shape, generator=generator, device=generator.device)
        t = torch.rand(shape[:1], generator=generator, device=generator.device)
        if self.config.as_released:
            t = (1 - RELEASED_END) * t
        return Draws(noise, self._start(t), t)

    def loss(self, u: VelocityField, z_0: Tensor, h: Tensor, draws: Draws, gather: Gather = same) -> LossReport:
        """Mean of |f(z_t) - sg f(z_w)|^2, and alpha |u(z_t) - sg u(z_w)|^2 where w is in the segment's inside."""
        config, draws = self.config, draws.to(z_0)
        z_1, s, t = draws.noise, draws.r, draws.t
        w = (t - config.delta).clamp_min(0) if config.as_released else torch.maximum(t - config.delta, s)
        z_t, z_w = point(z_0, z_1, t), point(z_0, z_1, w)
        u_t = at_least_float32(self._ask(u, z_t, s, t))
        with nullcontext() if config.as_released else torch.no_grad():
            u_w = at_least_float32(self._ask(u, z_w, s, w))
        f_t, f_w = z_t - rows(t - s, z_t) * u_t, z_w - rows(w - s, z_w) * u_w
        ends = (f_t - f_w).square().mean()
        inside = rows(t - s > 1.01 * config.delta, u_t)
        velocities = ((u_t - u_w).square() * inside).mean()
        terms = {"ends": ends, "velocities": config.velocity_weight * velocities}
        parts = {"ends": ends.detach(), "velocities": velocities.detach()}
        return LossReport(torch.stack(list(terms.values())).sum(), parts, terms)

    def jumps(self, nfe: int, eta: float = 0.0) -> tuple[Jump, ...]:
        """K jumps on the step grid, each along the velocity of the segment in which it starts; see the module."""
        if not self.config.as_released:
            return path_jumps(nfe, self._of_segment, self.config.clip_steps)
        jumps = (_released_jump((1 - RELEASED_END) * t, 1 / nfe) for t in step_grid(nfe)[:-1])
        return tuple(clipped(jump) if self.config.clip_steps else jump for jump in jumps)

    def _start(self, t: Tensor) -> Tensor:
        """s < t, the nearer end to the data of the segment in which each time lies: (B,) -> (B,)."""
        count = self.config.segments
        return ((t * count - ROUNDING).ceil() - 1).clamp_min(0) / count

    def _ask(self, u: VelocityField, z: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """u over [s, t], or as released at t alone: (B, H, A)."""
        return u(z, t if self.config.as_released else s, t)

    def _of_segment(self, u: VelocityField) -> VelocityField:
        """The mean velocity from t to its segment's start, wherever the jump ends."""

        def field(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
            return u(z, self._start(t), t, features)

        return field


def _released_jump(t: float, length: float) -> Jump:
    def mean(u: VelocityField, z: Tensor) -> Tensor:
        times = z.new_full(z.shape[:1], t)
        return z - length * u(z, times, times)

    return Jump(t, mean)
