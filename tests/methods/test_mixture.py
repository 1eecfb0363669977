"""Two modes in one dimension: with its exact field every method samples the mixture, and its loss wants that field.

Both have closed forms (``fields.Mixture``), so nothing is trained here; a new method is picked up by its registration.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from omp_cli.core.methods import METHODS, Method, VelocityField
from tests.methods.fields import Mixture

N = 4000
EVEN, UNEVEN = (0.5, 0.5), (0.4, 0.6)
GENERATIVE = [name for name in METHODS.names() if METHODS.get(name).generative]
EXACT = {"reflow": (100,), "edm": (100,), "flowpolicy": (2,), "onedp": (1,)}
EXACT |= dict.fromkeys(("dp", "dp3", "diffusion"), (50,))
"""Evaluations with which the exact field samples the data; any number for mean velocities."""


def built(name: str, **settings: Any) -> Method:
    return METHODS.build(METHODS.parse({"name": name, **settings}))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact(method: Method, data: Mixture) -> VelocityField:
    """What a perfect network of the method computes."""
    name = method.config.name  # type: ignore[attr-defined]
    if name == "onedp":
        return lambda z, r, t, f=None: data(z, torch.zeros_like(t), t)
    if name == "edm":
        return raw(method, data)
    return posterior(method, data) if name in ("dp", "dp3", "diffusion") else data


def raw(method: Any, data: Mixture) -> VelocityField:
    """EDM's F at its input c_in x, from D = E[z_0 | x] = c_skip x + c_out F (table 1)."""
    spread = method.config.sigma_data

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        sigma = (t / (1 - t))[:, None, None]
        total = sigma**2 + spread**2
        x = total.sqrt() * z
        clean = data.clean(x / (1 + sigma), t)
        return (clean - spread**2 / total * x) * total.sqrt() / (sigma * spread)

    return u


def posterior(method: Any, data: Mixture) -> VelocityField:
    """E[z_0 | z_k] or E[eps | z_k] of the trained steps k: those of the linear path, scaled."""
    signal = torch.tensor(method.alpha_bar, dtype=torch.float64).sqrt()
    noise = (1 - signal**2).sqrt()

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        k = (t * len(signal)).round().long()
        a, b = signal[k], noise[k]
        clean = data.clean(z / (a + b)[:, None, None], b / (a + b))
        a, b = a[:, None, None], b[:, None, None]
        return clean if method.config.prediction == "sample" else (z - a * clean) / b

    return u


def sampled(method: Method, field: VelocityField, nfe: int) -> Tensor:
    return method.sample(field, torch.randn(N, 1, 1, generator=generator(1), dtype=torch.float64), nfe).flatten()


def p_value(samples: Tensor, data: Mixture) -> float:
    """Of the two-sample Kolmogorov-Smirnov test against draws from the mixture."""
    from scipy.stats import ks_2samp

    return float(ks_2samp(samples.numpy(), data.draw(N, generator(2)).flatten().numpy()).pvalue)


def left(samples: Tensor) -> float:
    return float((samples < 0).double().mean())


@pytest.mark.parametrize("weights", [EVEN, UNEVEN])
@pytest.mark.parametrize("name", GENERATIVE)
def test_samples_are_the_mixture_and_keep_its_modes(name: str, weights: tuple[float, float]) -> None:
    method, data = built(name), Mixture(weights)
    for nfe in EXACT.get(name, (1, 5)):
        samples = sampled(method, exact(method, data), nfe)
        assert p_value(samples, data) > 0.01
        assert abs(left(samples) - weights[0]) < 3 * (0.25 / N) ** 0.5


def test_the_test_tells_wrong_weights_and_a_filled_gap_apart() -> None:
    data = Mixture(UNEVEN)
    assert p_value(Mixture(EVEN).draw(N, generator(1)).flatten(), data) < 1e-6
    assert p_value(sampled(built("reflow"), data, 1), data) < 1e-6
    assert sampled(built("reflow"), data, 1).std() < 1e-3, "one step of flow matching is the mean of the data"


def test_one_step_of_flowpolicy_needs_one_segment() -> None:
    """Two, as published, go on straight past the middle of the path: most of the samples lie between the modes."""
    data = Mixture(UNEVEN)
    assert p_value(sampled(built("flowpolicy", segments=1), data, 1), data) > 0.01
    samples = sampled(built("flowpolicy"), data, 1)
    assert p_value(samples, data) < 1e-6
    assert (samples.abs() < 0.3).double().mean() > 0.8


def test_a_method_that_is_not_generative_has_the_mean_alone() -> None:
    data = Mixture(UNEVEN)
    mean = sum(w * m for w, m in zip(data.weights, data.means, strict=True))
    samples = sampled(built("gaussian"), lambda z, r, t, f=None: torch.full_like(z, mean), 1)
    assert samples.unique().tolist() == [mean]


def slopes(method: Method, field: VelocityField, data: Mixture, theta: float, batches: int = 8) -> Tensor:
    """Slopes of the loss in theta at field + theta phi, one per batch, phi a fixed function of the network's inputs.

    phi is not even in z: du/dt is nearly odd, and a target without it would have no slope along an even one.
    """
    found = []
    for batch in range(batches):
        g = generator(10 + batch)
        z_0, draws = data.draw(400, g), method.draw((400, 1, 1), g)
        off = torch.tensor(theta, dtype=torch.float64, requires_grad=True)

        def u(z: Tensor, r: Tensor, t: Tensor, f: list[Tensor] | None = None, off: Tensor = off) -> Tensor:
            return field(z, r, t) + off * (1.5 * z + 1).cos() * (0.5 + t[:, None, None])

        found += torch.autograd.grad(method.loss(u, z_0, z_0[:, 0], draws).total, off)
    return torch.stack(found)


LOSSES: dict[str, dict[str, Any]] = {
    **{name: {"derivative": "dde", "epsilon": 1e-3, "adaptive": {"p": 0}} for name in ("meanflow", "imf")},
    "mp1": {"derivative": "dde", "epsilon": 1e-3, "adaptive": {"p": 0}, "dispersion": {"weight": 0}},
    "shortcut": {},
    "reflow": {},
    "flowpolicy": {"delta": 1e-3},
    "dp": {},
    "dp3": {},
    "edm": {},
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_expected_slope_of_the_loss_is_zero_at_the_exact_field_and_leads_back_to_it(name: str) -> None:
    method, data = built(name, **LOSSES[name]), Mixture(UNEVEN, std=0.25)
    at, beside = (slopes(method, exact(method, data), data, theta) for theta in (0.0, 0.5))
    error = at.std() / len(at) ** 0.5
    assert abs(at.mean()) < 4 * error
    assert beside.mean() > 8 * error
