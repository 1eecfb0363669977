"""The distribution of (r, t)."""

from __future__ import annotations

import pytest
import torch

from omp_cli.core.base.config import validated
from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods.times import TimeConfig, draw_times, moving_rows


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("distribution", ["logit-normal", "uniform"])
@pytest.mark.parametrize("share", [0.0, 0.29, 0.5, 1.0])
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_r_is_not_after_t_and_the_equal_share_is_exact(distribution: str, share: float, batch: int) -> None:
    r, t = draw_times(batch, TimeConfig(distribution=distribution, equal_share=share), generator())
    assert r.shape == t.shape == (batch,)
    assert (r >= 0).all()
    assert (r <= t).all()
    assert (t <= 1).all()
    assert (r == t).sum() == (29 if (share, batch) == (0.29, 100) else int(share * batch))


def test_equal_rows_are_random_rows() -> None:
    picks = {tuple((r == t).tolist()) for r, t in (draw_times(16, TimeConfig(), generator(s)) for s in range(8))}
    assert len(picks) == 8


def test_inference_rows_stand_beside_the_equal_ones() -> None:
    r, t = draw_times(100, TimeConfig(equal_share=0.5, inference_share=0.1), generator())
    assert (r == t).sum() == 50
    assert ((t == 1) & (r == 0)).sum() == 10


def test_shares_may_not_exceed_the_batch() -> None:
    with pytest.raises(UsageError, match="more than 1"):
        validated(TimeConfig, {"equal_share": 0.7, "inference_share": 0.4})


def test_logit_normal_has_the_asked_for_moments() -> None:
    config = TimeConfig(mu_t=0.5, mu_r=0.5, sigma_t=0.7, sigma_r=0.7, equal_share=0)
    r, t = draw_times(50_000, config, generator())
    logits = torch.logit(torch.cat([r, t]))  # the two draws, sorted within each pair
    assert abs(logits.mean() - 0.5) < 0.02
    assert abs(logits.std() - 0.7) < 0.02


def test_each_draw_has_its_own_parameters() -> None:
    config = TimeConfig(mu_t=3.0, mu_r=-3.0, sigma_t=0.1, sigma_r=0.1, equal_share=0)
    r, t = draw_times(1000, config, generator())
    assert abs(torch.logit(t).mean() - 3) < 0.02
    assert abs(torch.logit(r).mean() + 3) < 0.02


def test_uniform_draws_are_order_statistics() -> None:
    r, t = draw_times(50_000, TimeConfig(distribution="uniform", equal_share=0), generator())
    assert abs(t.mean() - 2 / 3) < 0.01
    assert abs(r.mean() - 1 / 3) < 0.01


def test_a_seed_determines_the_draw() -> None:
    first, again = (draw_times(32, TimeConfig(), generator(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("share", [0.29, 0.5, 1.0])
def test_rows_that_move_are_those_with_an_interval(share: float) -> None:
    config = TimeConfig(equal_share=share)
    r, t = draw_times(100, config, generator())
    moving = moving_rows(r, t, config)
    assert moving is not None
    assert moving.tolist() == (r < t).nonzero().flatten().tolist()
    t[moving[:2]] = r[moving[:2]]  # two draws can be equal, and a CUDA graph's shapes may not depend on that
    again = moving_rows(r, t, config)
    assert again is not None
    assert len(again) == len(moving)
    assert set((r < t).nonzero().flatten().tolist()) <= set(again.tolist())


def test_without_an_equal_share_all_rows_move() -> None:
    config = TimeConfig(equal_share=0)
    assert moving_rows(*draw_times(8, config, generator()), config) is None
