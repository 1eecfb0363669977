"""State only. Legend: B batch, T observation steps, S state dimension, D embedding dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from omp_cli.core.base.config import Width
from omp_cli.core.encoders.base import ENCODERS, Encoder, EncoderConfig, StateLimits
from omp_cli.core.spec import Spec


class StateConfig(EncoderConfig):
    """Settings of the state encoder: width of its hidden layer and D (DMPO: 64 and 16, 128 and 32, 32 and 16)."""

    name: Literal["state"] = "state"
    hidden: Width = 128
    """Width of the hidden layer."""
    out: Width = 128
    """D, width of the embedding."""


@ENCODERS.register("state")
class StateEncoder(Encoder):
    """Normalised states of T steps, flattened, through Linear, Mish, Linear."""

    Config = StateConfig
    keys = ("state",)

    def __init__(self, config: StateConfig, spec: Spec, n_obs: int) -> None:
        super().__init__(config, spec, n_obs)
        self.out_dim = config.out
        self.limits = StateLimits(spec)
        self.mlp = nn.Sequential(
            nn.Linear(n_obs * spec.seen_state_dim, config.hidden), nn.Mish(), nn.Linear(config.hidden, config.out)
        )

    def fit(self, arrays: Mapping[str, Tensor]) -> None:
        """Take the limits from the state."""
        self.limits.fit(arrays["state"])

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """state (B, T, S) -> (B, D)."""
        return self.scaled(self.mlp(self.limits(obs["state"]).flatten(1)))
