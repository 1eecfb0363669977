"""Sizes of the networks against the published ones, and settings that cannot work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from omp_cli.core.encoders import ENCODERS
from omp_cli.core.errors import UsageError
from omp_cli.core.nets import NETS
from omp_cli.core.nets.embedding import Sinusoidal
from omp_cli.core.spec import Spec

META_WORLD = Spec(
    suite="metaworld",
    task="assembly",
    action_dim=4,
    state_dim=9,
    points=512,
    end_effector=(0, 1, 2),
    max_steps=200,
    control_hz=80.0,
)
VAR_EST = 512 * 512 + 512 + 512 * 512 + 512 + 512 + 1  # dead MLP in the published U-Nets, left out of ours
R_EMBEDDING = 128 * 512 + 512 + 512 * 128 + 128


def policy_size(**net: Any) -> int:
    """Parameters of the papers' encoder (2 observations) and a net (horizon 4) on Meta-World, without memory."""
    with torch.device("meta"):
        encoder = ENCODERS.build(ENCODERS.parse({"name": "pointcloud"}), META_WORLD, 2)
        parts: list[nn.Module] = [encoder, NETS.build(NETS.parse(net), 4, 4, encoder.out_dim)]
    return sum(p.numel() for part in parts for p in part.parameters())


def test_paper_policy() -> None:
    size = policy_size(name="unet1d")
    assert size == 255_270_020
    assert round((size + VAR_EST) / 1e6, 1) == 255.8  # MP1
    assert round((size + VAR_EST - R_EMBEDDING) / 1e6, 1) == 255.7  # FlowPolicy: one time
    assert round((size - R_EMBEDDING) / 1e6, 1) == 255.1  # DP3: one time, no var_est


def test_simple_dp3_policy() -> None:
    size = policy_size(name="unet1d", dims=[128, 256, 384], blocks=1)
    assert round((size - R_EMBEDDING) / 1e6, 1) == 7.4


def test_light_policy() -> None:
    assert policy_size(name="film-mlp") == 1_209_744


def test_unet_taps_are_the_levels_before_downsampling() -> None:
    net = NETS.build(NETS.parse({"name": "unet1d", "dims": [16, 32, 64]}), 8, 3, 5)
    taps: list[torch.Tensor] = []
    net(torch.randn(2, 8, 3), torch.zeros(2), torch.ones(2), torch.randn(2, 5), taps)
    assert [tuple(tap.shape) for tap in taps] == [(2, 16, 8), (2, 32, 4)]


@pytest.mark.parametrize("horizon", [2, 5, 6])
def test_unet_horizon_must_be_halved_twice(horizon: int) -> None:
    with pytest.raises(UsageError, match="divisible by 4"):
        NETS.build(NETS.parse({"name": "unet1d", "dims": [8, 8, 8]}), horizon, 3, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"kernel": 4}, "odd"), ({"dims": [20, 40], "groups": 8}, "does not divide"), ({"dims": []}, "dims")],
)
def test_unet_sizes_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        NETS.parse({"name": "unet1d", **settings})


def test_sinusoids() -> None:
    embed = Sinusoidal(8, scale=2.0, period=1000.0)
    t = torch.tensor([0.0, 0.5, -0.3])
    out = embed(t)
    w = 2.0 * torch.tensor([1.0, 0.1, 0.01, 0.001])
    torch.testing.assert_close(out, torch.cat([torch.sin(t[:, None] * w), torch.cos(t[:, None] * w)], dim=1))


def test_time_scale_multiplies_the_times() -> None:
    torch.manual_seed(0)
    raw, scaled = (NETS.build(NETS.parse({"name": "unet1d", "dims": [8], "time_scale": s}), 4, 2, 3) for s in (1, 10))
    scaled.load_state_dict(raw.state_dict())
    z, c, r, t = torch.randn(2, 4, 2), torch.randn(2, 3), torch.tensor([0.1, 0.2]), torch.tensor([0.5, 0.9])
    torch.testing.assert_close(scaled(z, r, t, c), raw(z, 10 * r, 10 * t, c))
