"""Consistency policy (arXiv 2405.07503): a trained flow or diffusion policy distilled into jumps of any length.

Legend: z_0 data chunk, z_1 noise, z_t point of the path, u mean velocity (the student), v velocity; B batch, H horizon,
A action dimension. Times 0 <= s <= w < t <= 1 lie on the teacher's grid, w next to t. The student's jump is
G(z_t, t, s) = z_t - (t - s) u(z_t, s, t); it is the consistency trajectory model (CTM, arXiv 2310.02279) in our time.

* CTM: G(z_t, t, s) should be where the student gets to from z_w, one step of the teacher below z_t. Divided by t - s:
  u(z_t, s, t) -> sg[ (t - w)/(t - s) v_teacher + (w - s)/(t - s) u(z_w, s, w) ].
* DSM, denoising score matching: u(z_t, t, t) -> z_1 - z_0, flow matching on the data.

The target comes from the student's present weights, as in the published configuration (moving average with decay 0):
with s = w it is the teacher alone, from which the rest follows. Other than there: the difference is taken at s, in
velocities, instead of after two further jumps to 0, so that both terms have one unit; several jumps go down the step
grid and draw no new noise between. The teacher's step is Euler's (for diffusion DDIM's) unless ``solver`` is "heun":
then it is the published one (of an ``edm`` teacher, with ``bins`` 80, on the published grid), and v_teacher is what
that step comes to, (z_t - z_w) / (t - w).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from omp_cli.core.base.config import AtLeast0, Count, Share
from omp_cli.core.methods.base import METHODS, Draws, Gather, Jump, LossReport, VelocityField, same
from omp_cli.core.methods.edm import heun
from omp_cli.core.methods.path import FlowConfig, at_least_float32, constants, path_jumps, point, rows
from omp_cli.core.methods.teaching import Teacher, Teaching
from omp_cli.core.methods.times import count_of


class ConsistencyConfig(FlowConfig):
    """Settings of consistency policy; see also ``FlowConfig``."""

    name: Literal["consistency"] = "consistency"
    bins: Count = 20
    """Steps of the teacher from noise to data; a diffusion teacher has no more than it was trained with."""
    solver: Literal["euler", "heun"] = "euler"
    """The teacher's step from t to w: "heun" is EDM's algorithm 1 (arXiv 2206.00364), with a second evaluation of the
    teacher; it follows velocities, also of a teacher that knows mean ones.
    """
    end_share: Share = 0.25
    """Share of the rows that jump all the way to data, s = 0; in the others s is uniform below t."""
    dsm_weight: AtLeast0 = 0.1
    """Weight of DSM beside CTM's 1. Published is 1, between chunks; between velocities the spread of z_1 - z_0 around
    its mean would then drown the difference to the teacher.
    """
    warm_start: bool = True
    """Start from the teacher's weights where net and encoder are the same."""


@METHODS.register("consistency")
class Consistency(Teaching):
    """CTM and DSM; jumps on the step grid. NFE 1 and 3 are the papers' rows CP-1 and CP-3."""

    Config = ConsistencyConfig
    config: ConsistencyConfig
    distils = True

    def __init__(self, config: ConsistencyConfig) -> None:
        super().__init__(config)
        self.warm_start = config.warm_start

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Noise (B, H, A) and times (B,), float32; the loss moves t up and r = s down to the teacher's grid."""
        batch, device = shape[0], generator.device
        noise = torch.randn(shape, generator=generator, device=device)
        t = torch.rand(batch, generator=generator, device=device)
        r = t * torch.rand(batch, generator=generator, device=device)
        order = torch.randperm(batch, generator=generator, device=device)
        r[order[: count_of(self.config.end_share, batch)]] = 0
        return Draws(noise, r, t)

    def loss(
        self,
        u: VelocityField,
        z_0: Tensor,
        h: Tensor,
        draws: Draws,
        gather: Gather = same,
        *,
        teacher: Teacher | None = None,
    ) -> LossReport:
        """CTM + dsm_weight DSM; see ``Method.loss`` for the arguments."""
        assert teacher is not None
        draws = draws.to(z_0)
        s, w, t = self._on_grid(teacher.method, draws)
        z_t = point(z_0, draws.noise, t)
        target = self._target(u, teacher, z_t, s, w, t)
        ctm = (at_least_float32(u(z_t, s, t)) - target).square().mean()
        dsm = self.fit(u, z_0, draws.noise, t)
        terms = {"ctm": ctm, "dsm": self.config.dsm_weight * dsm}
        parts = {"ctm": ctm.detach(), "dsm": dsm.detach()}
        return LossReport(torch.stack(list(terms.values())).sum(), parts, terms)

    def jumps(self, nfe: int, eta: float = 0.0) -> tuple[Jump, ...]:
        """K jumps on the step grid; see the base class."""
        return path_jumps(nfe, clip=self.config.clip_steps)

    def _on_grid(self, method: Teaching, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """s, w and t, each (B,)."""
        times = constants(method.times(self.config.bins), draws.t)
        count = len(times) - 1
        upper = (draws.t * count).long().clamp_max(count - 1) + 1
        return times[(draws.r * count).long().minimum(upper - 1)], times[upper - 1], times[upper]

    @torch.no_grad()
    def _target(self, u: VelocityField, teacher: Teacher, z_t: Tensor, s: Tensor, w: Tensor, t: Tensor) -> Tensor:
        """Mean velocity over [s, t] by the teacher down to w and the student from there, (B, H, A)."""
        flow, length = teacher.method.flow(teacher.u), rows(t - w, z_t)
        if self.config.solver == "heun":
            v_at, largest = (lambda z, time: at_least_float32(flow(z, time, time))), teacher.method.largest_sigma
            z_w = heun(v_at, z_t, w, t, largest)
            v = (z_t - z_w) / length
        else:
            v = at_least_float32(flow(z_t, w, t))
            z_w = z_t - length * v
        share = rows((t - w) / (t - s), v)
        return share * v + (1 - share) * at_least_float32(u(z_w, s, w))
