"""The linear path between data and noise, the one step grid, and sampling (math.md sections 1 and 5).

Legend: z_0 data, z_1 noise, z_t a point of the path, v instantaneous velocity, u mean velocity, B batch, H horizon,
A action dimension, K function evaluations (NFE). Time: t = 0 is data, t = 1 is noise, 0 <= r <= t <= 1.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods.base import Jump, VelocityField


class FlowConfig(Settings):
    """Settings of every method that goes down the step grid."""

    clip_steps: bool = False
    """Clip to [-1, 1] where each jump leads, as the public code of DMPO and ReinFlow does in sampling and in the mean
    of a fine-tuned chain's jump; else the last one alone, in sampling. Points of the path are data *and noise*: those
    beyond the bounds are moved although they were right. With the exact mean velocity of two modes at -0.6 and 0.6,
    deviation 0.100, samples have 0.095, 0.086 and 0.081 in 2, 5 and 20 steps (0.101 unclipped); with ReFlow a mode of
    40 % keeps 37 % in 5 steps or more. One step gives the same samples. A clipped entry of a chain's mean has no
    gradient.
    """


def constants(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Numbers as a tensor (N,) of the dtype and on the device of ``like``, which is one and the same at every call.

    A step that makes a tensor of numbers anew copies them from the host, and such a step cannot be a CUDA graph.
    """
    return _constants(values, like.dtype, like.device)


@lru_cache(maxsize=64)
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # else training could not use what a decision made first
        return torch.tensor(values, dtype=dtype, device=device)


def rows(t: Tensor, like: Tensor) -> Tensor:
    """t (B,) shaped (B, 1, ..., 1), so that it multiplies ``like`` (B, ...) row by row."""
    return t.reshape(-1, *[1] * (like.dim() - 1))


def point(z_0: Tensor, z_1: Tensor, t: Tensor) -> Tensor:
    """z_t = (1 - t) z_0 + t z_1: z_0, z_1 (B, H, A), t (B,) -> (B, H, A)."""
    t = rows(t, z_0)
    return (1 - t) * z_0 + t * z_1


def velocity(z_0: Tensor, z_1: Tensor) -> Tensor:
    """v = dz_t/dt = z_1 - z_0, the same all along the path; the OMP paper calls it v_0. (B, H, A) -> (B, H, A)."""
    return z_1 - z_0


def check_nfe(nfe: int) -> None:
    """UsageError where no function evaluation is left."""
    if nfe < 1:
        raise UsageError(f"nfe: at least 1 function evaluation is needed (got {nfe})")


def step_grid(nfe: int) -> tuple[float, ...]:
    """t_k = 1 - k/K for k = 0..K: from 1.0 (noise) down to exactly 0.0 (data).

    The only grid there is: sampling, log-probabilities and evaluation all take it from here.
    """
    check_nfe(nfe)
    return tuple(1 - k / nfe for k in range(nfe + 1))


def step(u: VelocityField, z: Tensor, t: float, r: float) -> Tensor:
    """One jump z_r = z_t - (t - r) u(z_t, r, t): z (B, H, A) -> (B, H, A)."""
    batch = z.shape[:1]
    return z - (t - r) * u(z, z.new_full(batch, r), z.new_full(batch, t))


def path_jumps(
    nfe: int, field: Callable[[VelocityField], VelocityField] = lambda u: u, clip: bool = False
) -> tuple[Jump, ...]:
    """K jumps on the step grid along ``field`` of u (u itself: the mean velocity of each interval).

    Args:
        nfe: K.
        field: what of u is followed.
        clip: see ``FlowConfig.clip_steps``.
    """

    def jump(t: float, r: float) -> Jump:
        return Jump(t, lambda u, z: step(field(u), z, t, r))

    jumps = (jump(t, r) for t, r in pairwise(step_grid(nfe)))
    return tuple(clipped(jump) if clip else jump for jump in jumps)


def clipped(jump: Jump) -> Jump:
    """The jump with its mean clipped to [-1, 1]."""
    return replace(jump, mean=lambda u, z: jump.mean(u, z).clamp(-1, 1))


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32, or in its own dtype when that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Turns autocast off on the device of x, where it has one: for differences of nearly equal numbers."""
    if not torch.amp.is_autocast_available(x.device.type):  # meta tensors
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
