"""Sizes of the networks against the published ones, and settings that cannot work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from omp_cli.core.base import config as c
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.layers import Layer, merge
from omp_cli.core.base.presets import preset_document, preset_layer
from omp_cli.core.encoders import ENCODERS
from omp_cli.core.encoders.resnet18 import resnet18
from omp_cli.core.nets import NETS
from omp_cli.core.nets.embedding import Sinusoidal
from omp_cli.core.policy import Policy
from omp_cli.core.spec import Spec
from omp_cli.core.train.config import PretrainConfig

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


def preset_size(preset: str, settings: dict[str, Any]) -> int:
    """Parameters of a preset, with other settings on top, at the observation and action of its ``[bench]`` table."""
    spec = c.validated(Spec, preset_document("pretrain", preset)["bench"]["spec"])
    values, _ = merge([preset_layer("pretrain", preset), Layer("other", settings)])
    with torch.device("meta"):
        return sum(p.numel() for p in Policy(c.validated(PretrainConfig, values).policy(), spec).parameters())


FINE_TUNING = {"encoder.hidden": 64, "encoder.out": 16, "net.hidden": 512}
"""What DMPO's files for fine-tuning say of Ant and Humanoid, and cannot load what those for pre-training have made."""


@pytest.mark.parametrize(
    ("preset", "settings", "expected"),
    [
        ("dmpo", {}, 1_776_636),
        ("dmpo", {"net.hidden": 512}, 1_062_908),
        ("dmpo-transport", {}, 1_938_384),
        ("dmpo-hopper", {}, 566_652),
        ("dmpo-walker2d", {}, 579_336),
        ("dmpo-ant", FINE_TUNING, 593_552),
        ("dmpo-humanoid", FINE_TUNING, 647_412),
        ("dmpo-kitchen", {}, 167_220),
        # not published: 128, 32 before a head of 512 (Ant) and 768 (Humanoid), as the files for pre-training say
        ("dmpo-ant", {}, 612_000),
        ("dmpo-humanoid", {}, 1_390_148),
    ],
)
def test_dmpo_presets_have_the_published_sizes(preset: str, settings: dict[str, Any], expected: int) -> None:
    assert preset_size(preset, settings) == expected


def test_resnet18_has_the_published_size() -> None:
    with torch.device("meta"):
        assert (
            sum(p.numel() for p in resnet18().parameters()) == 11_689_512 - 513_000
        )  # torchvision's, without its head


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
