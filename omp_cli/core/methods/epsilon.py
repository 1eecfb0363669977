"""How good is the central difference at which half width, and which half width to take.

``dde`` has a truncation error of O(eps^2), which the curvature of u along the path sets, and a rounding error of
O(machine / eps), which the precision sets: between the two lies a best eps that belongs to a network and its weights.

Legend: z_t (B, H, A) a point of the path, r and t (B,) interval start and end, v (B, H, A) velocity of the path,
u(z, r, t) mean velocity, du/dt its total derivative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from omp_cli.core.base.errors import UsageError, machine_error, one_line
from omp_cli.core.methods.base import VelocityField
from omp_cli.core.methods.derivative import value_and_derivative

GRID = (0.1, 0.05, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 1e-5)
"""Half widths that are tried."""


@dataclass(frozen=True)
class EpsilonChoice:
    """A measured half width.

    Attributes:
        epsilon: the choice, an entry of the grid.
        error: relative error of du/dt there.
        errors: relative error at each entry of the grid.
        grid: half widths that were tried, falling.
    """

    epsilon: float
    error: float
    errors: tuple[float, ...]
    grid: tuple[float, ...]


def relative_error(x: Tensor, exact: Tensor) -> float:
    """|x - exact| / |exact| over all entries, in float64; infinite where x is not finite."""
    difference = (x.double() - exact.double()).norm()
    error = float(difference / exact.double().norm().clamp_min(torch.finfo(torch.float64).tiny))
    return error if math.isfinite(error) else math.inf


def dde_errors(
    u: VelocityField, z_t: Tensor, r: Tensor, t: Tensor, v: Tensor, exact: Tensor, grid: Sequence[float]
) -> list[float]:
    """Relative error of the central difference for each half width of ``grid``.

    Args:
        u: velocity field with the condition bound in.
        z_t: points of the path, (B, H, A).
        r: interval starts, (B,).
        t: interval ends, (B,).
        v: tangents of z_t, (B, H, A).
        exact: du/dt, (B, H, A).
        grid: half widths.
    """
    with torch.no_grad():
        return [relative_error(value_and_derivative(u, z_t, r, t, v, "dde", e)[1], exact) for e in grid]


def pick_epsilon(u: VelocityField, z_t: Tensor, r: Tensor, t: Tensor, v: Tensor) -> EpsilonChoice:
    """The half width with the smallest error against the exact derivative by forward mode, both in float32.

    Float32 is exact enough: forward mode errs by some 1e-6 there, the best difference by 1e-4; a float64 copy of a
    large network would cost more memory than the step. Errors are smoothed over neighbours of the grid (a mean of
    logarithms, 1 : 2 : 1), so that one lucky cancellation does not decide; the choice is deterministic.

    Raises:
        UsageError: the network has no forward-mode derivative, or du/dt is zero or not finite.
    """
    try:
        with torch.no_grad():
            exact = value_and_derivative(u, z_t, r, t, v, "forward", epsilon=1.0)[1]
    except (NotImplementedError, RuntimeError) as error:
        if (refused := machine_error(error, "epsilon auto")) is not None:
            raise refused from error
        message = f"epsilon auto: this network has no forward-mode derivative to compare with ({one_line(error, 120)})"
        raise UsageError(message, "give a number: --epsilon 0.005") from None
    if not (exact.isfinite().all() and exact.any()):
        raise UsageError(
            "epsilon auto: du/dt is zero or not finite on the first batch", "give a number: --epsilon 0.005"
        )
    errors = dde_errors(u, z_t, r, t, v, exact, GRID)
    logs = [math.log(max(error, 1e-300)) for error in errors]
    last = len(logs) - 1
    smooth = [logs[max(i - 1, 0)] + 2 * logs[i] + logs[min(i + 1, last)] for i in range(len(logs))]
    best = min(range(len(GRID)), key=smooth.__getitem__)
    return EpsilonChoice(GRID[best], errors[best], tuple(errors), GRID)
