"""Rows of a rollout that PPO learns from at once, and what they say.

Legend: M rows, K jumps, H horizon, A action dimension, D embedding dimension, R target of the value function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from omp_cli.core.train.graph import mapped


@dataclass(frozen=True)
class Batch:
    """Rows of a rollout, all environments and decisions in one line: (M, ...).

    Attributes:
        obs: what was acted on.
        h: the policy's embeddings of it, where its encoder is frozen.
        points: chains, (M, K + 1, H, A).
        log_probs: log-probabilities under the policy that collected, by jump, (M, K).
        advantage: (M,).
        target: R, (M,).
        bc: where the pre-trained policy goes from the same z^0, (M, H, A); None without behaviour cloning.
    """

    obs: dict[str, Tensor]
    h: Tensor | None
    points: Tensor
    log_probs: Tensor
    advantage: Tensor
    target: Tensor
    bc: Tensor | None

    def __getitem__(self, index: Tensor) -> Batch:
        """The rows of an index."""
        rows: Batch = mapped(self, lambda x: x[index])
        return rows


def numbers(figures: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars as numbers, of which a GPU is asked once."""
    values = torch.stack([value.double() for value in figures.values()]).tolist()
    return dict(zip(figures, values, strict=True))
