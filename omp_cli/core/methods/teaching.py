"""What a trained method shows to one that distils it: its velocity on the linear path, and how a copy of it learns.

Legend: z_0 data chunk, z_1 noise, z_t point of the path, v velocity, u network; B batch, H horizon, A action dimension.
Every Gaussian path is the linear one, scaled: a diffusion teacher too is followed along z_t = (1 - t) z_0 + t z_1, and
there its DDIM step is Euler's (Song et al. 2021, equation 13).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from omp_cli.core.methods.base import Method, VelocityField
from omp_cli.core.methods.path import at_least_float32, point, step_grid, velocity


class Teaching(Method):
    """A method that another one can distil; as written here, one whose field is a mean velocity of the linear path."""

    @property
    def largest_sigma(self) -> float:
        """The noise level sigma = t / (1 - t) that stands for t = 1: EDM's and Consistency Policy's, unless told."""
        return 80.0

    def flow(self, u: VelocityField) -> VelocityField:
        """From u, the mean velocity over [r, t] that this method's own step from t to r has; r = t: the velocity at t.

        Both on the linear path, 0 <= r <= t <= 1 and t > 0; t one of ``times`` where a method knows no others.
        """
        return u

    def times(self, count: int) -> tuple[float, ...]:
        """A grid of ``count`` steps, or as many as the method can take, from 0 (data) up to 1 (noise)."""
        return tuple(reversed(step_grid(count)))

    def fit(self, u: VelocityField, z_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Loss (a scalar) under which ``flow(u)`` at r = t becomes the velocity, or score, of z_0's distribution.

        Args:
            u: velocity field with the condition bound in.
            z_0: samples of the distribution, (B, H, A).
            noise: (B, H, A).
            t: (B,), of ``times``.
        """
        v = velocity(z_0, noise)
        return (at_least_float32(u(point(z_0, noise, t), t, t)) - v).square().mean()


@dataclass(frozen=True)
class Teacher:
    """A trained policy with the observations of a batch bound in, and a copy of its network that goes on learning.

    Attributes:
        method: the policy's.
        u: the teacher's velocity field, frozen.
        score: the score of the copy, for the methods that ask for one (``needs_score``).
    """

    method: Teaching
    u: VelocityField
    score: VelocityField | None = None
