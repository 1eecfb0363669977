"""OneDP (arXiv 2410.21257): a trained flow or diffusion policy distilled into a generator that takes one step.

Legend: z noise of the generator, A = G(z) its chunk, eps second noise, z_t = (1 - t) A + t eps the diffused chunk, v
velocity field, s score; B batch, H horizon, A action dimension.

The generator lowers KL(its chunks || the teacher's), both diffused, over all t. The gradient at A is
w(t) (1 - t) (s_generator - s_teacher)(z_t, t), in which s_generator is a second network that learns from A as the
teacher learned from data. The published teacher is a diffusion policy; any one whose velocity on the linear path is
known will do, for there s = -E[eps | z_t] / t = -(z_t + (1 - t) v) / t. With w = t^2 / (1 - t) the gradient is
t (1 - t) (v_teacher - v_generator), that is (1 - t) times the difference of the two denoised chunks.

OneDP-D, ``stochastic = false``: G has no noise, its diffused chunk is Gaussian around (1 - t) A and its score is known.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from omp_cli.core.base.config import Above0, Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods.base import METHODS, Draws, Gather, Jump, LossReport, Method, VelocityField, same
from omp_cli.core.methods.path import at_least_float32, constants, point, rows, velocity
from omp_cli.core.methods.teaching import Teacher

_TIMES = 100
"""Steps of the grid on which the scores are compared, or all that a diffusion teacher was trained with."""


class OneDpConfig(Settings):
    """Settings of OneDP."""

    name: Literal["onedp"] = "onedp"
    stochastic: bool = True
    """OneDP-S; false is OneDP-D, one chunk for an observation."""
    generator_rate: Above0 = 0.2
    """Learning rate of the generator beside a score network, in units of that one's (``train.lr``). The two follow each
    other, and where both are linear they swing unless this is at most 1/4.
    """
    warm_start: bool = True
    """Start the generator from the teacher's weights where net and encoder are the same. The score network always
    starts from the teacher's.
    """

    def passed_over(self) -> dict[str, str]:
        """The rate beside a score network, where there is none."""
        return {} if self.stochastic else {"generator_rate": "OneDP-D (stochastic = false) has no score network"}


@METHODS.register("onedp")
class OneDp(Method):
    """Score difference as the generator's gradient, and the loss of the score network beside it."""

    Config = OneDpConfig
    config: OneDpConfig
    distils = True

    def __init__(self, config: OneDpConfig) -> None:
        super().__init__(config)
        self.needs_score = config.stochastic
        self.warm_start = config.warm_start
        self.policy_rate = config.generator_rate if config.stochastic else 1.0

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Noise and second noise (B, H, A), times t = r (B,), float32; the loss moves t to the teacher's grid."""
        noise, second = (torch.randn(shape, generator=generator, device=generator.device) for _ in range(2))
        t = torch.rand(shape[0], generator=generator, device=generator.device)
        return Draws(noise, t, t, second)

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
        """Both networks' losses, each of which reaches its own; the data serve for their observations alone.

        The generator's is half the mean square of its gradient, which has that gradient. See ``Method.loss``.
        """
        draws = draws.to(z_0)
        assert draws.second is not None
        assert teacher is not None
        times = constants(teacher.method.times(_TIMES), z_0)[1:]
        t = times[(draws.t * len(times)).long().clamp_max(len(times) - 1)]
        chunk = at_least_float32(self._generated(u, draws.noise))
        pull = self._pull(teacher, chunk.detach(), draws.second, t)
        terms = {"generator": (chunk - (chunk.detach() - pull)).square().mean() / 2}
        if teacher.score is not None:
            terms["score"] = teacher.method.fit(teacher.score, chunk.detach(), draws.second, t)
        parts = {name: term.detach() for name, term in terms.items()}
        return LossReport(torch.stack(list(terms.values())).sum(), parts, terms)

    def jumps(self, nfe: int, eta: float = 0.0) -> tuple[Jump, ...]:
        """One jump, to the generator's chunk; UsageError for more."""
        if nfe != 1:
            raise UsageError(f"nfe: a onedp policy takes 1 step (got {nfe})")
        return (Jump(1.0, self._generated),)

    def _generated(self, u: VelocityField, noise: Tensor) -> Tensor:
        """z - u(z, 1, 1), (B, H, A): where a flow teacher's weights lead in one Euler step, so the start is sound."""
        z = noise if self.config.stochastic else torch.zeros_like(noise)
        one = z.new_ones(len(z))
        return z - u(z, one, one)

    @torch.no_grad()
    def _pull(self, teacher: Teacher, chunk: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """t (1 - t) (v_teacher - v_generator) at the diffused chunk, (B, H, A)."""
        z_t, flow = point(chunk, noise, t), teacher.method.flow
        own = velocity(chunk, noise) if teacher.score is None else at_least_float32(flow(teacher.score)(z_t, t, t))
        return rows(t * (1 - t), chunk) * (at_least_float32(flow(teacher.u)(z_t, t, t)) - own)
