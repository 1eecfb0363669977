"""Advantages by hand, and the scale of rewards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omp_cli.core.rl.returns import RewardScale, gae


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_gae_with_termination_and_truncation_in_one_rollout() -> None:
    """gamma 0.5, lambda 0.5. Row 1 terminates, row 3 is truncated (its final observation is worth 8), row 4 goes on."""
    reward = column(1, 2, 3, 4, 5)
    value = column(10, 20, 30, 40, 50)
    next_value = column(20, 0, 40, 8, 60)
    ends = torch.tensor([False, True, False, True, False])[:, None]
    advantage, target = gae(reward, value, next_value, ends, 0.5, 0.5)
    delta_4 = 5 + 0.5 * 60 - 50  # -15
    delta_3 = 4 + 0.5 * 8 - 40  # -32: bootstraps from its own episode's end
    delta_2 = 3 + 0.5 * 40 - 30  # -7
    delta_1 = 2 + 0 - 20  # -18: nothing follows
    delta_0 = 1 + 0.5 * 20 - 10  # 1
    by_hand = column(delta_0 + 0.25 * delta_1, delta_1, delta_2 + 0.25 * delta_3, delta_3, delta_4)
    assert torch.equal(advantage, by_hand)
    assert advantage.squeeze().tolist() == [-3.5, -18.0, -15.0, -32.0, -15.0]
    assert torch.equal(target, by_hand + value)


def test_advantages_never_cross_an_episode() -> None:
    torch.manual_seed(0)
    reward, value, next_value = torch.randn(3, 8, 4, dtype=torch.float64)
    ends = torch.zeros(8, 4, dtype=torch.bool)
    ends[3] = True
    before, _ = gae(reward, value, next_value, ends, 0.99, 0.95)
    reward[4:], value[4:], next_value[4:] = torch.randn(3, 4, 4, dtype=torch.float64)
    after, _ = gae(reward, value, next_value, ends, 0.99, 0.95)
    assert torch.equal(before[:4], after[:4])
    assert not torch.equal(before[4:], after[4:])


def test_lambda_1_is_the_discounted_return_and_lambda_0_the_td_error() -> None:
    reward, value = column(1, 1, 1), column(3, 2, 1)
    following, ends = column(2, 1, 0), torch.tensor([False, False, True])[:, None]
    monte_carlo, _ = gae(reward, value, following, ends, 0.9, 1.0)
    torch.testing.assert_close(monte_carlo[0, 0], torch.tensor(1 + 0.9 + 0.81 - 3, dtype=torch.float64))
    one_step, _ = gae(reward, value, following, ends, 0.9, 0.0)
    assert torch.equal(one_step, reward + 0.9 * following - value)


def test_rewards_are_divided_by_the_deviation_of_the_discounted_returns_so_far() -> None:
    scale = RewardScale(envs=2, gamma=0.5)
    assert scale.std == 1
    reward = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    ends = torch.tensor([[False, True], [False, False], [True, False]])
    scaled = scale(reward, ends)
    returns = [1.0, 2.0, 3.5, 4.0, 6.75, 8.0]  # the second environment starts again after its first reward
    assert scale.std == pytest.approx(np.std(returns))
    torch.testing.assert_close(scaled, reward / float(np.std(returns)))
    scale(reward[:1], ends[:1])
    assert scale.std == pytest.approx(np.std([*returns, 1.0, 6.0]))


def test_scaled_rewards_are_bounded() -> None:
    scale = RewardScale(envs=1, gamma=0.9, limit=3)
    reward = torch.zeros(100, 1)
    reward[50] = 1e6
    assert float(scale(reward, torch.zeros(100, 1, dtype=torch.bool)).max()) == 3
