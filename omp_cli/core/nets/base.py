"""The contract of a velocity network. Legend: B batch, H horizon, A action dimension, D condition dimension."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from omp_cli.core.base.config import Settings
from omp_cli.core.families import NETS as NETS


class Net(nn.Module):
    """u(z, r, t | c). Smooth in z, r and t (forward-mode AD runs through it) and a little outside 0 <= r <= t <= 1.

    Args:
        config: settings of the member.
        horizon: H.
        action_dim: A.
        cond_dim: D.
    """

    Config: ClassVar[type[Settings]]

    def __init__(self, config: Settings, horizon: int, action_dim: int, cond_dim: int) -> None:
        super().__init__()
        self.config = config
        self.horizon, self.action_dim, self.cond_dim = horizon, action_dim, cond_dim

    def forward(self, z: Tensor, r: Tensor, t: Tensor, c: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """z (B, H, A), r (B,), t (B,), c (B, D) -> (B, H, A); appends hidden features (B, ...) to ``features``."""
        raise NotImplementedError
