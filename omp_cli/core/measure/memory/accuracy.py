"""Relative error of du/dt against float64 over epsilon, for each derivative and precision.

Legend: B windows, H horizon, A action dimension, D condition dimension; c condition embeddings (B, D).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from omp_cli.core.methods import VelocityField
from omp_cli.core.methods.derivative import value_and_derivative
from omp_cli.core.methods.epsilon import dde_errors, relative_error
from omp_cli.core.methods.path import point, velocity
from omp_cli.core.nets.base import Net
from omp_cli.core.policy import Policy

FLOAT32, FLOAT64 = "float32", "float64"
BF16, BF16_INSIDE = "bf16 autocast", "bf16 inside the difference"
"""As in training, where only the condition is computed under autocast; and what it would be without that care."""


@torch.no_grad()
def epsilon_analysis(
    policy: Policy, obs: Mapping[str, Tensor], actions: Tensor, epsilons: Sequence[float], seed: int = 0
) -> list[dict[str, Any]]:
    """Errors of ``dde`` for each epsilon, and of ``forward`` and ``jvp``, which have none.

    The reference is forward mode in float64 on a copy of the network, at the same points and the same condition.

    Args:
        policy: the policy whose net and encoder are used.
        obs: raw observations, (B, T, ...).
        actions: raw chunks, (B, H, A).
        epsilons: half widths of the central difference.
        seed: seed of noise and times.

    Returns:
        One row per precision: ``precision``, ``dde`` (errors in the order of ``epsilons``), ``forward`` and ``jvp``
        (None where there is no such derivative).
    """
    g = torch.Generator().manual_seed(seed)
    z_0 = policy.normalised(actions, obs)
    rows, horizon, learned = z_0.shape
    draws = policy.method.draw((rows, horizon, learned), g).to(actions)
    device = z_0.device.type
    exact_net = copy.deepcopy(policy.net).double()

    def row(precision: str, net: Net, c: Tensor, dtype: torch.dtype, inside: bool = False) -> dict[str, Any]:
        z_1, r, t = (x.to(dtype) for x in (draws.noise, draws.r, draws.t))
        z_t, v = point(z_0.to(dtype), z_1, t), velocity(z_0.to(dtype), z_1)
        reference = _bound(exact_net, c.double())
        exact = value_and_derivative(reference, z_t.double(), r.double(), t.double(), v.double(), "forward", 1.0)[1]
        u = _bound(net, c, device if inside else None)
        found = {how: None if inside else _error(u, z_t, r, t, v, how, exact) for how in ("forward", "jvp")}
        return {"precision": precision, "dde": dde_errors(u, z_t, r, t, v, exact, epsilons), **found}

    c = policy.encoder(obs)
    with torch.autocast(device, torch.bfloat16):
        low = policy.encoder(obs)
    return [
        row(FLOAT64, exact_net, c.double(), torch.float64),
        row(FLOAT32, policy.net, c, torch.float32),
        row(BF16, policy.net, low, torch.float32),
        row(BF16_INSIDE, policy.net, low, torch.float32, inside=True),
    ]


def _error(u: VelocityField, z_t: Tensor, r: Tensor, t: Tensor, v: Tensor, how: Any, exact: Tensor) -> float:
    return relative_error(value_and_derivative(u, z_t, r, t, v, how, 1.0)[1], exact)


def _bound(net: Net, c: Tensor, autocast: str | None = None) -> VelocityField:
    """The velocity field of a net and a condition; under bfloat16 autocast on the device named by ``autocast``."""

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        if autocast is None:
            return net(z, r, t, c, features)
        with torch.autocast(autocast, torch.bfloat16):
            return net(z, r, t, c, features)

    return u
