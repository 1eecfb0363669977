"""Consistency policy and OneDP against closed forms, and what flows and diffusion show them as teachers."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods import METHODS, Draws, Method, VelocityField
from omp_cli.core.methods.path import point
from omp_cli.core.methods.teaching import Teacher
from tests.methods.fields import Gaussian, ToPoint
from tests.methods.test_multistep import SPREAD, best_prediction

SHAPE = (512, 2, 3)
POSTERIOR = Gaussian(0.0, SPREAD)
"""The velocity whose diffusion posterior is ``best_prediction``."""


def built(name: str, **settings: object) -> Method:
    return METHODS.build(METHODS.parse({"name": name, **settings}))


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(method: Method, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Draws:
    return method.draw(shape, torch.Generator().manual_seed(seed)).to(doubles(1))


def ones(value: float, like: Tensor) -> Tensor:
    return like.new_full((len(like),), value)


# --- teachers


@pytest.mark.parametrize("prediction", ["noise", "sample"])
def test_a_diffusion_teacher_shows_the_velocity_of_the_linear_path(prediction: str) -> None:
    """Of the same posterior: exact at every trained step."""
    method = built("diffusion", prediction=prediction)
    t = torch.tensor(method.times(1000), dtype=torch.float64)
    assert len(t) == 101
    assert (t[0], t[-1]) == (0, 1)
    assert (t.diff() > 0).all()
    t, z = t[1:-1], 0.3 * doubles(99, 1, 1)
    v = method.flow(best_prediction(method, prediction))(z, t, t)
    torch.testing.assert_close(v, POSTERIOR.velocity(z, t), rtol=1e-9, atol=1e-9)


def test_steps_of_a_diffusion_teacher_are_its_ddim_steps() -> None:
    method, z = built("dp"), doubles(2000, 1, 1)
    v, wanted = method.flow(best_prediction(method, "noise")), method.sample(best_prediction(method, "noise"), z, 100)
    for r, t in pairwise(method.times(100)[::-1]):
        t, r = r, t
        z = z - (t - r) * v(z, ones(r, z), ones(t, z))
    torch.testing.assert_close(z.clamp(-1, 1), wanted, rtol=0, atol=1e-6)


def test_a_diffusion_teacher_takes_as_many_steps_as_it_knows() -> None:
    every = built("dp").times(100)
    assert built("dp").times(10)[1:] == (*every[10:100:10], 1.0)
    assert built("dp").times(1) == (0.0, 1.0)
    assert built("reflow").times(4) == (0.0, 0.25, 0.5, 0.75, 1.0)


def test_flow_matching_shows_its_velocity_and_the_others_their_mean_velocity() -> None:
    z, u = doubles(4, 2, 3), Gaussian()
    r, t = ones(0.25, z), ones(0.75, z)
    assert torch.equal(built("reflow").flow(u)(z, r, t), u.velocity(z, t))
    for name in ("meanflow", "shortcut", "consistency"):
        assert torch.equal(built(name).flow(u)(z, r, t), u(z, r, t))


@pytest.mark.parametrize("name", ["reflow", "shortcut", "dp", "dp3"])
def test_a_copy_fits_to_the_distribution_of_what_it_is_shown(name: str) -> None:
    method = built(name)
    best = POSTERIOR if name in ("reflow", "shortcut") else best_prediction(method, method.config.prediction)
    z_0, noise = SPREAD * doubles(4000, 1, 1), doubles(4000, 1, 1, seed=1)
    times = torch.tensor(method.times(100)[1:-1], dtype=torch.float64)
    t = times[torch.arange(4000) % len(times)]

    def loss(scale: float) -> float:
        return float(method.fit(lambda z, r, t, f=None: scale * best(z, r, t), z_0, noise, t))

    assert loss(1.0) < min(loss(0.9), loss(1.1))


def test_fit_of_a_diffusion_teacher_is_its_training_loss() -> None:
    method, z_0, noise = built("dp"), doubles(100, 1, 1), doubles(100, 1, 1, seed=1)
    k = torch.arange(99, dtype=torch.float64) / 100
    on_path = torch.tensor(method.times(100)[1:-1], dtype=torch.float64)

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        return z * t[:, None, None]

    report = method.loss(u, z_0[:99], z_0[:99, 0], Draws(noise[:99], k, k))
    torch.testing.assert_close(method.fit(u, z_0[:99], noise[:99], on_path), report.total)


# --- consistency policy


@pytest.mark.parametrize(("field", "teacher"), [(Gaussian(), "shortcut"), (ToPoint(torch.full((2, 3), 0.4)), "reflow")])
def test_the_exact_flow_map_is_consistent(field: VelocityField, teacher: str) -> None:
    """The teacher's steps are exact here: mean velocities of a curved flow, velocities of a straight one."""
    method, z_0 = built("consistency"), 0.2 + 0.1 * doubles(*SHAPE)
    draws = drawn(method)
    draws = replace(draws, t=draws.t.clamp_min(0.05))  # straight lines to a point have no velocity at t = 0

    def ctm(u: VelocityField) -> float:
        return float(method.loss(u, z_0, z_0[:, 0], draws, teacher=Teacher(built(teacher), field)).parts["ctm"])

    assert ctm(field) < 1e-24
    assert ctm(lambda z, r, t, f=None: 1.1 * field(z, r, t)) > 1e-4


def test_the_solution_of_the_teacher_s_own_steps_is_consistent() -> None:
    """A diffusion teacher: the student that repeats its DDIM chain has no CTM loss, and the chain is not the flow."""
    diffusion = built("dp", train_steps=8)
    teacher = Teacher(diffusion, best_prediction(diffusion, "noise"))
    times, v = diffusion.times(8), diffusion.flow(teacher.u)

    def chain(z: Tensor, s: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        start, now = z, t.clone()
        for below, above in reversed(list(pairwise(times))):
            moves = (now > below + 1e-9) & (s < above - 1e-9)
            step = (above - below) * v(z, ones(below, z), ones(above, z))
            z, now = torch.where(moves[:, None, None], z - step, z), torch.where(moves, below, now)
        length = (t - s)[:, None, None]
        return torch.where(length > 0, (start - z) / torch.where(length > 0, length, 1), 0)

    method, z_0 = built("consistency", bins=40), SPREAD * doubles(*SHAPE)
    for field, low, high in ((chain, 0.0, 1e-20), (POSTERIOR, 1e-6, 1.0)):
        ctm = float(method.loss(field, z_0, z_0[:, 0], drawn(method), teacher=teacher).parts["ctm"])
        assert low <= ctm < high


def test_the_target_by_hand() -> None:
    """Four bins; the teacher goes from t to w with 3, the student from w to s with z_w, and on the data v = -1."""
    asked: list[tuple[float, float]] = []

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        asked.append((float(r[0]), float(t[0])))
        return z

    z_0, draws = doubles(1, 1, 1) * 0 + 1, Draws(doubles(1, 1, 1) * 0, torch.tensor([0.3]), torch.tensor([0.9]))
    teacher = Teacher(built("reflow"), lambda z, r, t, f=None: 0 * z + 3 * t[:, None, None])
    method = built("consistency", bins=4, dsm_weight=0.5)
    report = method.loss(u, z_0, z_0[:, 0], draws, teacher=teacher)
    assert asked == [(0.25, 0.75), (0.25, 1.0), (1.0, 1.0)]
    z_w = 0 - 0.25 * 3
    target = (0.25 * 3 + 0.5 * z_w) / 0.75
    assert report.parts["ctm"] == pytest.approx(target**2)
    assert report.parts["dsm"] == pytest.approx(1)
    assert report.total == pytest.approx(target**2 + 0.5)


def test_times_lie_on_the_teacher_s_grid() -> None:
    method, seen = built("consistency", bins=10, end_share=0.25), []
    for teacher in (built("reflow"), built("dp", train_steps=20)):
        s, w, t = method._on_grid(teacher, drawn(method, (4000, 1, 1)))
        grid = torch.tensor(teacher.times(10), dtype=torch.float64)
        index = [torch.searchsorted(grid, x) for x in (s, w, t)]
        assert all(torch.equal(grid[i], x) for i, x in zip(index, (s, w, t), strict=True))
        assert (s <= w).all()
        assert torch.equal(index[1] + 1, index[2])
        assert set(index[2].tolist()) == set(range(1, 11))
        seen.append(float((s == 0).double().mean()))
    assert 0.25 < seen[0] == seen[1] < 0.6


def test_the_target_carries_no_gradient() -> None:
    theta, seen = torch.ones((), dtype=torch.float64, requires_grad=True), []

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        seen.append(torch.is_grad_enabled())
        return theta * z

    method, z = built("consistency"), doubles(4, 1, 1)
    method.loss(u, z, z[:, 0], drawn(method, (4, 1, 1)), teacher=Teacher(built("reflow"), u)).total.backward()
    assert seen == [False, False, True, True]


# --- OneDP


def generator(mean: Tensor | float, std: Tensor | float) -> VelocityField:
    """A = mean + std z, as the field that the method evaluates."""
    return lambda z, r, t, f=None: z - (mean + std * z)


def loss_of(mean: Tensor, std: Tensor, teacher: Gaussian, **settings: object) -> Tensor:
    """The generator's term where its score is known."""
    method = built("onedp", **settings)
    score = Gaussian(mean.detach(), std.detach()) if method.needs_score else None
    draws = drawn(method, (4096, 1, 1))
    z_0 = torch.zeros_like(draws.noise)
    found = method.loss(generator(mean, std), z_0, z_0[:, 0], draws, teacher=Teacher(built("reflow"), teacher, score))
    return found.terms["generator"]


def leaf(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def test_nothing_pulls_where_generator_and_teacher_agree() -> None:
    mean, std = leaf(0.2), leaf(0.1)
    gradient = torch.autograd.grad(loss_of(mean, std, Gaussian(0.2, 0.1)), (mean, std))
    assert max(abs(float(g)) for g in gradient) < 1e-15


def test_the_pull_is_the_gradient_of_the_divergence() -> None:
    """Gaussians of one spread: KL of the diffused is (1 - t)^2 (m - m')^2 / (2 sigma_t^2), its weight t^2 / (1 - t)."""
    mean, std, teacher = leaf(0.5), leaf(0.1), Gaussian(0.2, 0.1)
    found = torch.autograd.grad(loss_of(mean, std, teacher), mean)[0]
    draws = drawn(built("onedp"), (4096, 1, 1))
    times = torch.tensor(built("reflow").times(100)[1:], dtype=torch.float64)
    t = times[(draws.t * 100).long()]
    variance = (1 - t) ** 2 * 0.1**2 + t**2
    torch.testing.assert_close(found, (t**2 * (1 - t) * (0.5 - 0.2) / variance).mean(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("std", "sign"), [(0.05, -1), (0.2, 1)])
def test_the_spread_is_pulled_towards_the_teacher_s(std: float, sign: int) -> None:
    mean, spread = leaf(0.2), leaf(std)
    gradient = torch.autograd.grad(loss_of(mean, spread, Gaussian(0.2, 0.1)), spread)[0]
    assert float(gradient) * sign > 1e-3


@pytest.mark.parametrize(("mean", "sign"), [(0.1, -1), (0.2, 0), (0.3, 1)])
def test_the_deterministic_one_goes_to_the_teacher_s_mode(mean: float, sign: int) -> None:
    found = leaf(mean)
    gradient = float(torch.autograd.grad(loss_of(found, leaf(0.7), Gaussian(0.2, 0.1), stochastic=False), found)[0])
    assert abs(gradient) < 5e-3 if sign == 0 else gradient * sign > 2e-2


@pytest.mark.parametrize("teacher", ["reflow", "dp"])
def test_generator_and_score_find_the_teacher_together(teacher: str) -> None:
    """Two numbers each, mean and spread, learn at once from a teacher of each kind, given in closed form.

    The generator follows the score's error, and the score the generator: at one rate the two go round in circles.
    """
    method, school = built("onedp"), built(teacher)

    def field(mean: Tensor | float, std: Tensor | float) -> VelocityField:
        if teacher == "reflow":
            return Gaussian(mean, std)
        alpha_bar = torch.tensor(school.alpha_bar, dtype=torch.float64)

        def noise(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
            share = alpha_bar[(t * 100).round().long()][:, None, None]
            return (1 - share).sqrt() * (z - share.sqrt() * mean) / (share * std**2 + 1 - share)

        return noise

    ours = [leaf(-0.3), leaf(0.6)]
    score = [leaf(0.2), leaf(0.3)]
    groups = [{"params": ours, "lr": 0.02}, {"params": score, "lr": 0.1}]
    optimizer = torch.optim.Adam(groups, betas=(0.0, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    for step in range(200):
        draws = drawn(method, (256, 1, 1), seed=step)
        z_0 = torch.zeros_like(draws.noise)
        bound = Teacher(school, field(0.2, 0.3), field(*score))
        optimizer.zero_grad()
        method.loss(generator(*ours), z_0, z_0[:, 0], draws, teacher=bound).total.backward()
        optimizer.step()
        schedule.step()
    assert float(ours[0].detach()) == pytest.approx(0.2, abs=0.05)
    assert float(ours[1].detach().abs()) == pytest.approx(0.3, abs=0.05)


def test_each_term_reaches_its_own_network() -> None:
    ours, score, method = leaf(0.1), leaf(0.3), built("onedp")
    draws = drawn(method, (64, 1, 1))
    z_0 = torch.zeros_like(draws.noise)
    bound = Teacher(built("reflow"), Gaussian(), Gaussian(score, 0.2))
    terms = method.loss(generator(ours, 0.2), z_0, z_0[:, 0], draws, teacher=bound).terms
    for term, own, other in ((terms["generator"], ours, score), (terms["score"], score, ours)):
        assert torch.autograd.grad(term, own, retain_graph=True)[0] != 0
        assert torch.autograd.grad(term, other, retain_graph=True, allow_unused=True)[0] is None


def test_the_data_s_chunks_do_not_matter_to_onedp_and_the_second_noise_does() -> None:
    method, draws = built("onedp"), drawn(built("onedp"), (8, 1, 1))
    bound = Teacher(built("reflow"), Gaussian(), Gaussian(0.3, 0.2))

    def total(z_0: Tensor, draws: Draws) -> Tensor:
        return method.loss(generator(0.1, 0.5), z_0, z_0[:, 0], draws, teacher=bound).total

    z_0 = doubles(8, 1, 1)
    assert torch.equal(total(z_0, draws), total(-z_0, draws))
    assert draws.second is not None
    assert not torch.equal(total(z_0, draws), total(z_0, replace(draws, second=-draws.second)))
    assert torch.equal(draws.part(2, 5).second, draws.second[2:5])


def test_sampling_takes_one_step_and_with_or_without_noise() -> None:
    noise = doubles(6, 2, 3)
    chunks = built("onedp").sample(generator(0.1, 0.2), noise, 1)
    torch.testing.assert_close(chunks, (0.1 + 0.2 * noise).clamp(-1, 1))
    still = built("onedp", stochastic=False).sample(generator(0.1, 0.2), noise, 1)
    torch.testing.assert_close(still, torch.full_like(noise, 0.1))
    with pytest.raises(UsageError, match="takes 1 step"):
        built("onedp").sample(generator(0.1, 0.2), noise, 2)


def test_points_of_both_paths_coincide_up_to_scale() -> None:
    """What ``Diffusion.flow`` relies on, written out for one step."""
    method, z_0, noise = built("dp"), doubles(5, 1, 1), doubles(5, 1, 1, seed=1)
    share = method.alpha_bar[30]
    t = method.times(100)[31]
    scaled = (math.sqrt(share) + math.sqrt(1 - share)) * point(z_0, noise, ones(t, z_0))
    torch.testing.assert_close(scaled, math.sqrt(share) * z_0 + math.sqrt(1 - share) * noise)
