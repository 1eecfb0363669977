"""Flow matching and diffusion against closed forms: Gaussian data of known spread."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods import METHODS, Draws, Method
from omp_cli.core.methods.base import VelocityField
from omp_cli.core.methods.diffusion import ddim_steps, squared_cosine

SPREAD = 0.2
N = 20_000


def built(name: str, **settings: object) -> Method:
    return METHODS.build(METHODS.parse({"name": name, **settings}))


def noise() -> Tensor:
    return torch.randn(N, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def best_velocity(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
    """E[v | z_t] for z_0 ~ N(0, SPREAD^2): cov(v, z_t) / var(z_t) z_t, v = z_1 - z_0."""
    t = t[:, None, None]
    return z * (t - (1 - t) * SPREAD**2) / ((1 - t) ** 2 * SPREAD**2 + t**2)


def best_prediction(method: Method, prediction: str) -> VelocityField:
    """E[eps | z_t] or E[z_0 | z_t] under the method's schedule."""
    alpha_bar = torch.tensor(method.alpha_bar, dtype=torch.float64)  # type: ignore[attr-defined]

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        share = alpha_bar[(t * len(alpha_bar)).round().long()][:, None, None]
        variance = share * SPREAD**2 + 1 - share
        return z * ((1 - share).sqrt() if prediction == "noise" else share.sqrt() * SPREAD**2) / variance

    return u


def test_reflow_loss_is_the_mean_square_against_the_velocity() -> None:
    g = torch.Generator().manual_seed(0)
    z_0, draws = torch.rand(6, 2, 3, generator=g), built("reflow").draw((6, 2, 3), g)
    assert torch.equal(draws.r, draws.t)
    report = built("reflow").loss(lambda z, r, t, f=None: z * 0 + t[:, None, None], z_0, z_0[:, 0], draws)
    by_hand = (draws.t[:, None, None] - (draws.noise - z_0)).square().mean()
    torch.testing.assert_close(report.total, by_hand)


def test_reflow_draws_one_time_of_the_law_that_is_asked_for() -> None:
    """Uniform by default: as many times near the data as near noise."""
    t = built("reflow").draw((50_000, 1, 1), torch.Generator().manual_seed(0)).t
    assert abs(t.mean() - 0.5) < 0.005
    assert [abs((part).float().mean() - 0.1) < 0.005 for part in (t < 0.1, t > 0.9)] == [True, True]
    method = built("reflow", times={"distribution": "logit-normal", "mu": 0.5, "sigma": 0.7})
    logits = torch.logit(method.draw((50_000, 1, 1), torch.Generator().manual_seed(0)).t)
    assert abs(logits.mean() - 0.5) < 0.02
    assert abs(logits.std() - 0.7) < 0.02


def test_reflow_asks_for_the_velocity_at_the_start_of_each_step() -> None:
    asked: list[tuple[float, float]] = []

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        asked.append((float(r[0]), float(t[0])))
        return torch.zeros_like(z)

    built("reflow").sample(u, torch.zeros(1, 1, 1), 4)
    assert asked == [(1.0, 1.0), (0.75, 0.75), (0.5, 0.5), (0.25, 0.25)]


def test_reflow_reaches_the_data_with_many_steps_and_the_mean_with_one() -> None:
    assert built("reflow").sample(best_velocity, noise(), 1).abs().max() < 1e-12
    spread = built("reflow").sample(best_velocity, noise(), 200).std()
    assert math.isclose(spread, SPREAD, rel_tol=0.03)


def test_schedule() -> None:
    alpha_bar = squared_cosine(100)

    def f(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    assert len(alpha_bar) == 100
    assert alpha_bar[0] == pytest.approx(f(0.01) / f(0))
    assert alpha_bar[49] == pytest.approx(f(0.5) / f(0))
    assert alpha_bar[99] == pytest.approx(alpha_bar[98] * 0.001), "beta is capped at 0.999"
    assert all(a > b for a, b in pairwise(alpha_bar))


def test_ddim_visits_multiples_of_the_stride() -> None:
    assert ddim_steps(100, 10) == [90, 80, 70, 60, 50, 40, 30, 20, 10, 0]
    assert ddim_steps(100, 16)[:2] == [90, 84]
    assert ddim_steps(100, 100) == list(range(99, -1, -1))
    with pytest.raises(UsageError, match="takes 1 to 100"):
        ddim_steps(100, 101)


@pytest.mark.parametrize(("name", "prediction"), [("dp", "epsilon"), ("dp3", "sample")])
def test_schedule_and_steps_are_those_of_diffusers(name: str, prediction: str) -> None:
    """With the settings of DP3's configuration: 100 steps to train with, 10 to sample with, and 7, 16, 100."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler(
        num_train_timesteps=100,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=True,
        set_alpha_to_one=True,
        steps_offset=0,
        prediction_type=prediction,
    )
    method = built(name)
    ours = torch.tensor(method.alpha_bar, dtype=torch.float64)  # type: ignore[attr-defined]
    torch.testing.assert_close(ours, theirs.alphas_cumprod.double(), rtol=2e-5, atol=0)  # theirs are float32
    u, start = best_prediction(method, method.config.prediction), noise()[:500]  # type: ignore[attr-defined]
    theirs.alphas_cumprod = ours
    for nfe in (10, 7, 16, 100):
        theirs.set_timesteps(nfe)
        assert theirs.timesteps.tolist() == ddim_steps(100, nfe)
        for eta in (0.0, 1.0):
            z = start
            for k, jump in zip(theirs.timesteps, method.jumps(nfe, eta), strict=True):
                t = z.new_full((len(z),), k / 100)
                step = theirs.step(
                    u(z, t, t), k, z, eta=eta, use_clipped_model_output=True, variance_noise=torch.zeros_like(z)
                ).prev_sample
                torch.testing.assert_close(jump.mean(u, z), step, rtol=1e-9, atol=1e-9)
                following = k - 100 // nfe
                assert jump.std == pytest.approx(eta * float(theirs._get_variance(k, following)) ** 0.5, abs=1e-9)
                z = step


def anywhere(count: int) -> tuple[Tensor, Tensor]:
    """Points up to 3 and predictions up to 2 from 0: most imply a clean chunk beyond [-1, 1], many do not."""
    g = torch.Generator().manual_seed(3)
    z, predicted = (2 * torch.rand(count, 2, 1, generator=g, dtype=torch.float64) - 1 for _ in range(2))
    return 3 * z, 2 * predicted


def constant(predicted: Tensor) -> VelocityField:
    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return predicted

    return u


@pytest.mark.parametrize(("prediction", "their_name"), [("noise", "epsilon"), ("sample", "sample")])
def test_clipped_steps_are_those_of_diffusers(prediction: str, their_name: str) -> None:
    """Every step of DDPM, and DDIM's with a clipped noise, at points where the clean chunk is clipped and where not."""
    diffusers = pytest.importorskip("diffusers")
    settings = {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2", "clip_sample": True}
    ddpm = diffusers.DDPMScheduler(**settings, prediction_type=their_name)
    ddim = diffusers.DDIMScheduler(**settings, prediction_type=their_name)
    method = built("diffusion", prediction=prediction)
    ddim.alphas_cumprod = ddpm.alphas_cumprod = torch.tensor(method.alpha_bar, dtype=torch.float64)  # type: ignore[attr-defined]
    ddpm.alphas = ddpm.alphas_cumprod / torch.cat([torch.ones(1), ddpm.alphas_cumprod[:-1]])
    ddpm.set_timesteps(100)
    z, predicted = anywhere(400)
    ddpm._get_variance = lambda *_, **__: torch.zeros(())  # the mean alone
    clipped = 0
    for k, jump in zip(ddpm.timesteps, method.jumps(100, eta=1.0), strict=True):
        step = ddpm.step(predicted, k, z)
        clipped += int((step.pred_original_sample.abs() == 1).sum())
        torch.testing.assert_close(jump.mean(constant(predicted), z), step.prev_sample, rtol=1e-8, atol=1e-8)
    assert 0.2 < clipped / (100 * z.numel()) < 0.95
    for nfe, eta in ((10, 0.0), (10, 0.5), (16, 1.0)):
        ddim.set_timesteps(nfe)
        for k, jump in zip(ddim.timesteps, method.jumps(nfe, eta), strict=True):
            step = ddim.step(predicted, k, z, eta, use_clipped_model_output=True, variance_noise=torch.zeros_like(z))
            torch.testing.assert_close(jump.mean(constant(predicted), z), step.prev_sample, rtol=1e-8, atol=1e-8)


def test_a_clipped_step_of_ddpm_by_hand() -> None:
    """T = 100, k = 90, z = 1.5, predicted noise 0: the clean chunk is 1, and the posterior mean of it and z 1.375."""
    jump = built("dp").jumps(100, eta=1.0)[9]
    z = torch.full((1, 1, 1), 1.5, dtype=torch.float64)
    assert jump.t == 0.90
    assert float(jump.mean(constant(torch.zeros_like(z)), z)) == pytest.approx(1.375, abs=5e-4)
    bar = squared_cosine(100)
    here, there, kept = bar[90], bar[89], bar[90] / bar[89]
    posterior = math.sqrt(there) * (1 - kept) / (1 - here) + 1.5 * math.sqrt(kept) * (1 - there) / (1 - here)
    assert float(jump.mean(constant(torch.zeros_like(z)), z)) == pytest.approx(posterior, abs=1e-12)


@pytest.mark.parametrize("prediction", ["noise", "sample"])
def test_ddim_is_eulers_step_along_its_flow_also_where_it_clips(prediction: str) -> None:
    """What a distilling method follows is what the policy itself would do."""
    method = built("diffusion", prediction=prediction)
    z, predicted = anywhere(400)
    times = (*method._linear_times, 0.0)  # type: ignore[attr-defined]
    steps = ddim_steps(100, 10)
    for k, following, jump in zip(steps, [*steps[1:], None], method.jumps(10), strict=True):
        t, r = times[k], 0.0 if following is None else times[following]
        norm, after = (
            (b**0.5 + (1 - b) ** 0.5)
            for b in (method.alpha_bar[k], 1.0 if following is None else method.alpha_bar[following])
        )  # type: ignore[attr-defined]
        v = method.flow(constant(predicted))(z / norm, z.new_full((400,), t), z.new_full((400,), t))  # type: ignore[attr-defined]
        torch.testing.assert_close(after * (z / norm - (t - r) * v), jump.mean(constant(predicted), z))


def test_the_diffused_chunk_is_that_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs, seen = diffusers.DDIMScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2"), []

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        seen.append(z)
        return z

    k, z_0, z_1 = torch.arange(100), noise()[:100].float(), noise()[100:200].float()
    built("dp").loss(u, z_0, z_0[:, 0], Draws(z_1, k / 100, k / 100))
    torch.testing.assert_close(seen[0], theirs.add_noise(z_0, z_1, k), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prediction", ["noise", "sample"])
def test_ddim_reaches_the_data(prediction: str) -> None:
    method = built("diffusion", prediction=prediction)
    samples = method.sample(best_prediction(method, prediction), noise(), 100)
    assert math.isclose(samples.std(), SPREAD, rel_tol=0.05)
    assert abs(float(samples.mean())) < 0.01


def test_both_predictions_of_one_posterior_give_one_sample() -> None:
    noise_, sample = (built("diffusion", prediction=p) for p in ("noise", "sample"))
    z = noise() / 4  # nothing is clipped here
    a = noise_.sample(best_prediction(noise_, "noise"), z, 10)
    b = sample.sample(best_prediction(sample, "sample"), z, 10)
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("prediction", ["noise", "sample"])
def test_the_conditional_mean_minimises_the_diffusion_loss(prediction: str) -> None:
    method, g = built("diffusion", prediction=prediction), torch.Generator().manual_seed(1)
    z_0, draws = SPREAD * noise(), method.draw((N, 1, 1), g)
    best = best_prediction(method, prediction)

    def loss(scale: float) -> float:
        def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
            return scale * best(z, r, t)

        return float(method.loss(u, z_0, z_0[:, 0], draws).total)

    assert loss(1.0) < min(loss(0.9), loss(1.1))


def test_the_diffused_point_has_the_variance_of_the_schedule() -> None:
    method, seen = built("diffusion"), []

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        seen.append(z)
        return z

    t = torch.full((N,), 0.5)
    method.loss(u, SPREAD * noise(), noise()[:, 0], Draws(noise().flip(0), t, t))
    share = squared_cosine(100)[50]
    assert math.isclose(seen[0].var(), share * SPREAD**2 + 1 - share, rel_tol=0.03)
