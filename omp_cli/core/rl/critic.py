"""The value function, the two critics of chunks, and what a critic sees.

Legend: B batch, T observation steps, S state dimension, D embedding dimension, F features, E executed actions, A action
dimension.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from omp_cli.core.base.config import Depth, Settings, Width
from omp_cli.core.encoders.base import Limits, StateLimits
from omp_cli.core.nets.residual_mlp import ResidualBlock
from omp_cli.core.policy import Policy

Sees = Literal["state", "own", "shared"]


class CriticConfig(Settings):
    """Settings of the value function."""

    sees: Sees | None = None
    """"state" (the normalised state alone), "own" (an encoder of its own, which begins as a copy of the policy's),
    "shared" (the policy's embedding, through which it also learns); None for "state" where the policy sees nothing
    else, else "own".
    """
    train_encoder: bool = True
    """Whether an encoder of its own learns."""
    hidden: Width = 256
    """Width of the hidden layers."""
    depth: int = Field(1, ge=0, le=1000)
    """Number of residual blocks after the first layer."""

    def passed_over(self) -> dict[str, str]:
        """Whether an encoder learns that there is not."""
        return {} if self.sees in (None, "own") else {"train_encoder": f"sees is {self.sees}, not own"}


class QConfig(CriticConfig):
    """Settings of the two critics."""

    sees: Literal["state", "own"] | None = None
    """"state" (the normalised state alone) or "own" (an encoder of their own, which begins as a copy of the policy's);
    None for "state" where the policy sees nothing else, else "own".
    """
    depth: Depth = 2
    """Number of hidden layers."""


class View(nn.Module):
    """What a critic sees of an observation.

    Args:
        sees: see ``CriticConfig``.
        train_encoder: whether an encoder of its own learns.
        policy: the policy that is fine-tuned; its normalisation is taken over.

    Attributes:
        sees: resolved.
        out_dim: F, numbers per observation.
    """

    def __init__(self, sees: Sees | None, train_encoder: bool, policy: Policy) -> None:
        super().__init__()
        self.sees: Sees = sees or ("state" if policy.keys == ("state",) else "own")
        self.encoder: nn.Module | None = None
        self.out_dim = policy.encoder.out_dim
        if self.sees == "state":
            self.out_dim = policy.chunk.n_obs * policy.spec.seen_state_dim
            self.limits = _limits_of(policy)
        elif self.sees == "own":
            self.encoder = copy.deepcopy(policy.encoder).requires_grad_(train_encoder)

    def forward(self, obs: Mapping[str, Tensor], h: Tensor | None = None) -> Tensor:
        """Raw observations (B, T, ...) -> (B, F); ``h`` (B, D) is the policy's embedding, where that is shared."""
        if self.sees == "shared":
            assert h is not None
            return h
        if self.encoder is None:
            return self.limits(obs["state"]).flatten(1)
        return self.encoder(obs)


class Critic(nn.Module):
    """V(o): a residual MLP (DPPO's and DMPO's: 256 wide) over what it sees.

    Args:
        config: the critic's settings.
        policy: the policy that is fine-tuned.
    """

    def __init__(self, config: CriticConfig, policy: Policy) -> None:
        super().__init__()
        self.view = View(config.sees, config.train_encoder, policy)
        self.sees = self.view.sees
        width = config.hidden
        self.inlet = nn.Linear(self.view.out_dim, width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(config.depth))
        self.outlet = nn.Linear(width, 1)
        nn.init.zeros_(self.outlet.weight)  # knows nothing yet: advantages begin as returns
        nn.init.zeros_(self.outlet.bias)

    def forward(self, obs: Mapping[str, Tensor], h: Tensor | None = None) -> Tensor:
        """Raw observations (B, T, ...) -> (B,); ``h`` (B, D) is the policy's embedding, for a critic that shares it."""
        x = self.inlet(self.view(obs, h))
        for block in self.blocks:
            x = block(x)
        return self.outlet(nn.functional.mish(x)).squeeze(-1)


class Critics(nn.Module):
    """Two Q(o, a) of executed chunks, normalised; multilayer perceptrons with GELU and LayerNorm.

    Args:
        config: the critics' settings.
        policy: the policy that is fine-tuned.
    """

    def __init__(self, config: QConfig, policy: Policy) -> None:
        super().__init__()
        self.view = View(config.sees, config.train_encoder, policy)
        inputs = self.view.out_dim + policy.chunk.execute * policy.spec.learned_action_dim
        self.heads = nn.ModuleList(_head(inputs, config) for _ in range(2))

    def forward(self, obs: dict[str, Tensor], action: Tensor) -> Tensor:
        """Raw observations (B, T, ...), chunks (B, E, A) -> (2, B)."""
        x = torch.cat([self.view(obs), action.flatten(1)], dim=1)
        return torch.stack([head(x).squeeze(1) for head in self.heads])


def _head(inputs: int, config: QConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in [config.hidden] * config.depth:
        layers += [nn.Linear(inputs, width), nn.GELU(), nn.LayerNorm(width)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 1))


def _limits_of(policy: Policy) -> Limits:
    """A copy of the policy's normalisation of the state, wherever its encoder keeps it."""
    for module in policy.encoder.modules():
        if isinstance(module, Limits) and module.scale.shape == (policy.spec.seen_state_dim,):
            return copy.deepcopy(module)
    return StateLimits(policy.spec)
