"""The MeanFlow target of every preset's own network and encoder, in float64 against finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from omp_cli.core.base import config as c
from omp_cli.core.base.layers import Layer, merge
from omp_cli.core.base.presets import preset_layer, preset_names
from omp_cli.core.measure.latency.subjects import from_preset
from omp_cli.core.methods import Draws, VelocityField
from omp_cli.core.methods.derivative import value_and_derivative
from omp_cli.core.methods.meanflow import MeanFlowConfig
from omp_cli.core.policy import Policy
from omp_cli.core.train.config import PretrainConfig

B = 2
NARROW = {"unet1d": {"net.dims": [16, 16, 32]}}
"""The U-Nets have up to 256 M parameters and are built narrow; all else has its own size."""


def settings_of(preset: str) -> PretrainConfig:
    layer = preset_layer("pretrain", preset)
    narrow = Layer("narrow", NARROW.get(layer.values["net.name"], {}))
    return c.validated(PretrainConfig, merge([layer, narrow])[0])


PRESETS = [name for name in preset_names("pretrain") if isinstance(settings_of(name).method, MeanFlowConfig)]


def case(preset: str) -> tuple[Policy, Tensor, Draws]:
    """Policy, condition embeddings (without gradient) and draws with 0 < r < t < 1."""
    settings, spec = settings_of(preset), from_preset(preset).spec
    torch.manual_seed(0)
    policy = Policy(settings.policy(), spec).double().eval()
    shapes = {"state": (spec.state_dim,), "point_cloud": (spec.points, 3), "img": spec.image}
    obs = {key: torch.rand(B, settings.chunk.n_obs, *shapes[key]).double() for key in policy.keys}
    if "img" in obs:
        obs["img"] = (255 * obs["img"]).to(torch.uint8)
    noise = torch.randn(B, settings.chunk.horizon, spec.action_dim, dtype=torch.float64)
    with torch.no_grad():
        h = policy.encoder(obs)
    return policy, h, Draws(noise, torch.tensor([0.1, 0.4]).double(), torch.tensor([0.7, 0.9]).double())


def difference(u: VelocityField, z_t: Tensor, r: Tensor, t: Tensor, v: Tensor, step: float = 1e-4) -> Tensor:
    """du/dt along (v, 0, 1) by the five-point rule, its error O(step^4)."""

    def along(s: float) -> Tensor:
        return u(z_t + s * v, r, t + s)

    with torch.no_grad():
        return (8 * (along(step) - along(-step)) - (along(2 * step) - along(-2 * step))) / (12 * step)


def test_there_are_presets_of_the_family() -> None:
    assert {"light", "omp-paper", "mp1-paper", "dmpo", "dmpo-transport", "dmpo-hopper", "dmpo-state"} <= set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_target(preset: str) -> None:
    """du/dt is the derivative along (v, 0, 1), and the gradient that of a target which is a constant."""
    policy, h, draws = case(preset)
    config: Any = policy.config.method
    u, parameters = policy.field(h), [p for p in policy.net.parameters() if p.requires_grad]
    z_0 = torch.rand_like(draws.noise) * 2 - 1
    r, t = draws.r[:, None, None], draws.t[:, None, None]
    z_t, v = (1 - t) * z_0 + t * draws.noise, draws.noise - z_0
    with torch.no_grad():
        v_tilde = config.gain * v + (1 - config.gain) * u(z_t, draws.t, draws.t)
    dudt = difference(u, z_t, draws.r, draws.t, v_tilde)
    assert dudt.norm() > 1e-3

    squares = (u(z_t, draws.r, draws.t) - (v_tilde - (t - r) * dudt)).square().mean((1, 2))
    weights = (squares.detach() + config.adaptive.c) ** -config.adaptive.p
    expected = torch.autograd.grad((weights * squares).mean(), parameters)
    for how in ("forward", "jvp"):
        _, exact = value_and_derivative(u, z_t, draws.r, draws.t, v_tilde, how, epsilon=0.0)
        torch.testing.assert_close(exact, dudt, rtol=1e-7, atol=1e-9)
        method = type(policy.method)(config.model_copy(update={"derivative": how}))
        report = method.loss(u, z_0, h, draws)
        torch.testing.assert_close(report.parts["meanflow"], squares.detach().mean(), rtol=1e-7, atol=0)
        for found, wanted in zip(torch.autograd.grad(report.terms["meanflow"], parameters), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)
