"""Settings that a method measures on the run's own network and first batch (``Method.to_measure``).

Once, at the start. Of epsilon: over a training of the light preset the best half width stays on one entry of the grid,
and fresh weights miss that of trained ones by one entry at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from omp_cli.core.base.device import autocast
from omp_cli.core.methods import Draws
from omp_cli.core.methods.base import Measured
from omp_cli.core.policy import Policy
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.distributed import World


@torch.no_grad()
def measure(
    policy: Policy, obs: Mapping[str, Tensor], actions: Tensor, draws: Draws, precision: str, world: World
) -> Measured:
    """Measure on a batch; all processes take what the first one found.

    Args:
        policy: the policy whose method has settings to measure.
        obs: raw observations, (B, T, ...).
        actions: raw chunks, (B, H, A).
        draws: m rows per window, (m B, ...).
        precision: precision of the run; under "bf16" the condition is computed under autocast, as in a step.
        world: this process among its peers.
    """
    with autocast(precision, actions.device):
        h = policy.encoder(obs)
    repeats = len(draws.t) // len(h)
    z_0 = policy.normalised(actions, obs).repeat_interleave(repeats, 0)
    found = policy.method.measure(policy.field(h.repeat_interleave(repeats, 0)), z_0, draws)
    return replace(found, settings=world.of_the_first(found.settings, actions.device))


def settled(config: PretrainConfig, policy: Policy, settings: Mapping[str, Any]) -> PretrainConfig:
    """The run's configuration with measured settings of its method, which the policy takes over."""
    policy.method = policy.method.with_settings(settings)
    config = config.model_copy(update={"method": policy.method.config})
    policy.config = config.policy()
    return config
