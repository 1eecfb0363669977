"""``epsilon = auto``: the half width of the central difference, measured on the run's own network and first batch.

Once, at the start: over a training of the light preset the best half width stays on one entry of the grid, and fresh
weights miss that of trained ones by one entry at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import torch
from torch import Tensor

from omp_cli.core.methods import Draws
from omp_cli.core.methods.epsilon import EpsilonChoice
from omp_cli.core.methods.meanflow import AUTO, MeanFlow
from omp_cli.core.policy import Policy
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.distributed import World


def to_be_measured(config: PretrainConfig) -> bool:
    """Whether the run asks for a measurement: ``dde`` with epsilon "auto"."""
    return getattr(config.method, "derivative", None) == "dde" and getattr(config.method, "epsilon", None) == AUTO


@torch.no_grad()
def measure_epsilon(
    policy: Policy, obs: Mapping[str, Tensor], actions: Tensor, draws: Draws, precision: str, world: World
) -> EpsilonChoice:
    """Measure on a batch; all processes take what the first one found.

    Args:
        policy: of a method of the MeanFlow family.
        obs: raw observations, (B, T, ...).
        actions: raw chunks, (B, H, A).
        draws: m rows per window, (m B, ...).
        precision: of the run; under "bf16" the condition is computed under autocast, as in a step.
        world: this process among its peers.
    """
    assert isinstance(policy.method, MeanFlow)
    with torch.autocast(actions.device.type, torch.bfloat16) if precision == "bf16" else nullcontext():
        h = policy.encoder(obs)
    repeats = len(draws.t) // len(h)
    z_0 = policy.action_limits(actions).repeat_interleave(repeats, 0)
    choice = policy.method.measure_epsilon(policy.field(h.repeat_interleave(repeats, 0)), z_0, draws)
    if world.size == 1:
        return choice
    index = torch.tensor(choice.grid.index(choice.epsilon), device=actions.device)
    torch.distributed.broadcast(index, 0)
    best = int(index)
    return EpsilonChoice(choice.grid[best], choice.errors[best], choice.errors, choice.grid)


def with_epsilon(config: PretrainConfig, policy: Policy, epsilon: float) -> PretrainConfig:
    """The run's configuration with a number for epsilon, which the policy takes over."""
    method = config.method.model_copy(update={"epsilon": epsilon})
    config = config.model_copy(update={"method": method})
    policy.config, policy.method.config = config.policy(), method
    return config
