"""The total derivative du/dt along the path, in three ways (math.md section 2).

Legend: z_t (B, H, A) a point of the path, r and t (B,) interval start and end, v (B, H, A) velocity of the path,
u(z, r, t) mean velocity, du/dt = (d_z u) v + d_t u: the directional derivative with tangent (v, 0, 1) for (z, r, t).

The target of the loss is stop-gradient, so all three return du/dt detached and u recorded for autograd once. They
differ in exactness and in what the step keeps for the backward pass:

* ``jvp``      exact; u and du/dt from one recorded forward-mode pass. The tangents are recorded too, for nothing:
               this is the papers' OMP-JVP and MP1, and the memory their tables report.
* ``forward``  exact; the forward-mode pass is unrecorded, u comes from an ordinary recorded pass.
* ``dde``      central difference of two unrecorded passes (OMP's differential derivation equation), error O(eps^2).

A derivative is computed in float32 with autocast off, and so is the u of ``jvp``, which comes from the same pass.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from omp_cli.core.base.device import tf32
from omp_cli.core.methods.base import Conditioned, VelocityField
from omp_cli.core.methods.path import at_least_float32, full_precision, rows

Derivative = Literal["jvp", "forward", "dde"]


def value_and_derivative(
    u: VelocityField,
    z_t: Tensor,
    r: Tensor,
    t: Tensor,
    v: Tensor,
    how: Derivative,
    epsilon: float,
    features: list[Tensor] | None = None,
    moving: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """u(z_t, r, t), recorded for autograd, and du/dt, detached.

    Args:
        u: velocity field with the condition bound in; the condition has zero tangent.
        z_t: points of the path, (B, H, A).
        r: interval starts, (B,).
        t: interval ends, (B,).
        v: tangent of z_t, (B, H, A), not differentiated.
        how: which of the three ways.
        epsilon: half width of the difference; ``dde`` only.
        features: receives the hidden layers of the recorded pass.
        moving: rows (M,) for which du/dt is wanted, as in ``Draws``; None for all. ``forward`` and ``dde`` leave the
            others out where the condition has rows, and their du/dt is 0.

    Returns:
        (u, dudt), each (B, H, A).
    """
    if how == "jvp":
        value, dudt, hidden = _forward_mode(u, z_t, r, t, v, keep_hidden=features is not None)
        if features is not None:
            features.extend(hidden)
        return value, dudt.detach()
    with torch.no_grad():
        if moving is None or not isinstance(u, Conditioned):
            dudt = _unrecorded(u, z_t, r, t, v, how, epsilon)
        else:
            z_m, r_m, t_m, v_m = (x.index_select(0, moving) for x in (z_t, r, t, v))
            dudt = torch.zeros_like(z_t, dtype=torch.promote_types(z_t.dtype, torch.float32))
            if len(moving):
                dudt.index_copy_(0, moving, _unrecorded(u.of_rows(moving), z_m, r_m, t_m, v_m, how, epsilon))
    return u(z_t, r, t, features), dudt


def _unrecorded(
    u: VelocityField, z_t: Tensor, r: Tensor, t: Tensor, v: Tensor, how: Derivative, epsilon: float
) -> Tensor:
    """du/dt by ``forward`` or ``dde``: (B, H, A)."""
    if how == "forward":
        return _forward_mode(u, z_t, r, t, v, keep_hidden=False)[1]
    return _central_difference(u, z_t, r, t, v, epsilon)


def _forward_mode(
    u: VelocityField, z_t: Tensor, r: Tensor, t: Tensor, v: Tensor, keep_hidden: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """u, du/dt and hidden layers by forward-mode AD. r is closed over: a zero tangent would only cost time."""

    def along(z: Tensor, s: Tensor) -> tuple[Tensor, list[Tensor]]:
        hidden: list[Tensor] = []
        return u(z, r, s, hidden if keep_hidden else None), hidden

    unrecorded = not torch.is_grad_enabled()
    # Convolutions have no forward-mode derivative under autocast either.
    with full_precision(z_t), _InputTangents() if unrecorded else nullcontext():
        z_t, r, t, v = (at_least_float32(x) for x in (z_t, r, t, v))
        tangents = (v, torch.ones_like(t))
        return torch.func.jvp(along, (z_t, t), tangents, has_aux=True)  # type: ignore[return-value]  # has_aux: three


class _InputTangents(TorchFunctionMode):
    """Linear layers of a forward-mode pass without the work for a tangent that weights do not have.

    torch's rule for W x is W dx + dW x, with a dW of zeros made and multiplied: a third of the pass, and a copy of the
    weights. The result is the same. Only for passes that are not recorded: ``jvp`` stays what the papers measured.
    """

    _LAYERS = frozenset({functional.linear, torch.conv1d, torch.conv2d, torch.conv_transpose1d})

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in self._LAYERS and not kwargs:
            x, weight, bias, *more = args if len(args) > 2 else (*args, None)
            primal, tangent = forward_ad.unpack_dual(x)
            if tangent is not None and forward_ad.unpack_dual(weight).tangent is None:
                return forward_ad.make_dual(
                    _layer(func, primal, weight, bias, *more), _layer(func, tangent, weight, None, *more)
                )
        return func(*args, **(kwargs or {}))


def _layer(func: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Tensor | None, *more: Any) -> Tensor:
    """func(x, weight, bias, ...), matrices for ``linear``: of more dimensions it may copy the weights per row."""
    if func is functional.linear and x.dim() > 2:
        return func(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])
    return func(x, weight, bias, *more)


def _central_difference(u: VelocityField, z_t: Tensor, r: Tensor, t: Tensor, v: Tensor, epsilon: float) -> Tensor:
    """[u(z_{t+eps}, r, t+eps) - u(z_{t-eps}, r, t-eps)] / (2 eps) with z_{t±eps} = z_t ± eps v: (B, H, A).

    t ± eps may leave [r, 1]; clamping one side would silently make the difference one-sided.
    """
    # In bfloat16, and with dde's usual half widths in TF32, the difference is rounding noise.
    with full_precision(z_t), tf32(False):
        z_t, r, t, v = (at_least_float32(x) for x in (z_t, r, t, v))
        after, before = t + epsilon, t - epsilon
        if isinstance(u, Conditioned):  # both sides in one pass: half as many calls
            both = u.of_rows(torch.arange(len(t), device=t.device).repeat(2))
            z = torch.cat([z_t + epsilon * v, z_t - epsilon * v])
            one, other = both(z, r.repeat(2), torch.cat([after, before])).chunk(2)
            difference = one - other
        else:
            difference = u(z_t + epsilon * v, r, after) - u(z_t - epsilon * v, r, before)
        # Divide by the distance that rounding left between the two times, not by the one asked for.
        return difference / rows(after - before, difference)
