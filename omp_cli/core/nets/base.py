"""The contract of a velocity network. Legend: B batch, H horizon, A action dimension, D condition dimension."""

from __future__ import annotations

from typing import ClassVar

import torch
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
    untrained: ClassVar[str] = ""
    """Why some of its parameters are not trained, as the end of a sentence, where that is so."""

    def __init__(self, config: Settings, horizon: int, action_dim: int, cond_dim: int) -> None:
        super().__init__()
        self.config = config
        self.horizon, self.action_dim, self.cond_dim = horizon, action_dim, cond_dim

    def forward(self, z: Tensor, r: Tensor, t: Tensor, c: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """z (B, H, A), r (B,), t (B,), c (B, D) -> (B, H, A); appends hidden features (B, ...) to ``features``."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")


class InPrecision(Net):
    """A network that computes in another dtype than that of what goes in and comes out.

    Args:
        net: cast in place.
        dtype: in which it computes.
    """

    def __init__(self, net: Net, dtype: torch.dtype) -> None:
        super().__init__(net.config, net.horizon, net.action_dim, net.cond_dim)
        self._net, self._dtype = net.to(dtype), dtype

    def forward(self, z: Tensor, r: Tensor, t: Tensor, c: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """See ``Net``; the result is of z's dtype."""
        return self._net(*(x.to(self._dtype) for x in (z, r, t, c)), features).to(z.dtype)
