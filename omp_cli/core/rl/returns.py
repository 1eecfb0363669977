"""Advantages and the scale of rewards. Legend: T decisions, N environments; gamma and lambda act per decision."""

from __future__ import annotations

import torch
from gymnasium.wrappers.utils import update_mean_var_count_from_moments
from torch import Tensor


def gae(
    reward: Tensor, value: Tensor, next_value: Tensor, ends: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16) that never looks across an episode's end.

    Args:
        reward: (T, N).
        value: V of the observation that was acted on, (T, N).
        next_value: V of the observation that the *same* episode showed next, (T, N): of the final observation where it
            was truncated, 0 where it terminated.
        ends: whether the next row belongs to another episode, (T, N) bool.
        gamma: discount.
        lam: lambda.

    Returns:
        Advantages and value targets (advantage + value), (T, N) each.
    """
    advantage = torch.zeros_like(reward)
    following = torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        delta = reward[t] + gamma * next_value[t] - value[t]
        following = advantage[t] = delta + gamma * lam * torch.where(ends[t], 0.0, 1.0) * following
    return advantage, advantage + value


class RewardScale:
    """Divides rewards by the running standard deviation of the discounted return (as DPPO, ReinFlow and DMPO do).

    Args:
        envs: N, the number of environments.
        gamma: discount per decision.
        limit: scaled rewards are clipped to +- this.
    """

    def __init__(self, envs: int, gamma: float, limit: float = 10.0) -> None:
        self.gamma, self.limit = gamma, limit
        self.state = torch.zeros(3, dtype=torch.float64)
        """Count, mean and sum of squared deviations of the discounted returns so far."""
        self._running = torch.zeros(envs, dtype=torch.float64)

    @property
    def std(self) -> float:
        """Standard deviation of the discounted returns; 1 before there are two of them."""
        count, _, squares = self.state.tolist()
        return (squares / count) ** 0.5 if count > 1 and squares > 0 else 1.0

    def __call__(self, reward: Tensor, ends: Tensor) -> Tensor:
        """Learn from rewards (T, N) of episodes that end where ``ends`` (T, N) says, and scale them."""
        for row, over in zip(reward.double(), ends, strict=True):
            self._running = self._running * self.gamma + row
            self._learn(self._running)
            self._running = torch.where(over, 0.0, self._running)
        return (reward / self.std).clamp(-self.limit, self.limit)

    def _learn(self, values: Tensor) -> None:
        """Merge the discounted returns of one decision, (N,)."""
        count, mean, squares = self.state.tolist()
        mean, variance, count = update_mean_var_count_from_moments(
            mean, squares / max(count, 1), count, float(values.mean()), float(values.var(correction=0)), len(values)
        )
        self.state = torch.tensor([count, mean, count * variance], dtype=torch.float64)
