"""EDM's denoiser, grid and Heun step, and a student of it, for Gaussian data whose ODE is solved in closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods import Draws, VelocityField
from omp_cli.core.methods.edm import heun
from omp_cli.core.methods.teaching import Teacher
from tests.methods.fields import Gaussian
from tests.methods.test_distillation import built, doubles, ones

MEAN, STD = 0.2, 0.3
DATA = Gaussian(MEAN, STD)


def network(data: float = 0.5) -> VelocityField:
    """F of the exact denoiser of N(MEAN, STD^2): D(x; sigma) = (STD^2 x + sigma^2 MEAN) / (STD^2 + sigma^2)."""

    def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        sigma = (t / (1 - t))[:, None, None]
        total = sigma**2 + data**2
        x = z * total.sqrt()
        clean = (STD**2 * x + sigma**2 * MEAN) / (STD**2 + sigma**2)
        return (clean - data**2 / total * x) / (sigma * data / total.sqrt())

    return u


def solved(x: Tensor, sigma: float, to: float) -> Tensor:
    """dx/dsigma = (x - D) / sigma keeps quantiles: x - MEAN scales with sqrt(STD^2 + sigma^2)."""
    return MEAN + (x - MEAN) * math.sqrt((STD**2 + to**2) / (STD**2 + sigma**2))


def test_the_grid_is_equation_5() -> None:
    """sigma_max, then (80^(1/7) + i/(N-1) (0.02^(1/7) - 80^(1/7)))^7, then 0; by hand for N = 3."""
    times = built("edm").times(3)
    levels = [t / (1 - t) for t in times[:-1]]
    middle = ((80 ** (1 / 7) + 0.02 ** (1 / 7)) / 2) ** 7
    assert (times[0], times[-1]) == (0.0, 1.0)
    assert levels == pytest.approx([0.0, 0.02, middle])
    assert len(built("edm").times(80)) == 81
    assert built("edm").times(1) == (0.0, 1.0)


def test_the_velocity_is_that_of_the_linear_path_and_pure_noise_is_the_largest_level() -> None:
    method, z = built("edm"), doubles(20, 2, 3)
    t = torch.linspace(0.02, 0.98, 20, dtype=torch.float64)
    torch.testing.assert_close(method.flow(network())(z, t, t), DATA.velocity(z, t), rtol=1e-9, atol=1e-9)
    one = ones(1.0, z)
    clean = (STD**2 * 81 * z + 6400 * MEAN) / (STD**2 + 6400)
    torch.testing.assert_close(method.flow(network())(z, one, one), z - clean, rtol=1e-9, atol=1e-9)


def test_the_loss_is_equation_8_and_the_exact_denoiser_is_its_minimum() -> None:
    method, z_0, noise = built("edm"), MEAN + STD * doubles(4000, 1, 1), doubles(4000, 1, 1, seed=1)
    draws = method.draw((4000, 1, 1), torch.Generator().manual_seed(0))
    t = draws.t.double()
    sigma = (t / (1 - t))[:, None, None]
    assert float(sigma.log().median()) == pytest.approx(-1.2, abs=0.1)
    assert float(sigma.min()) >= 0.02 * (1 - 1e-5)
    x = z_0 + sigma * noise
    clean = (STD**2 * x + sigma**2 * MEAN) / (STD**2 + sigma**2)
    wanted = ((sigma**2 + 0.25) / (0.5 * sigma) ** 2 * (clean - z_0) ** 2).mean()
    report = method.loss(network(), z_0, z_0[:, 0], Draws(noise, t, t))
    torch.testing.assert_close(report.total, wanted, rtol=1e-6, atol=0)

    def scaled(scale: float) -> float:
        return float(method.fit(lambda z, r, t, f=None: scale * network()(z, r, t), z_0, noise, t))

    assert scaled(1.0) < min(scaled(0.9), scaled(1.1))


def test_a_step_of_heun_by_hand() -> None:
    """From sigma = 2 to 0.5 at x = 1: both slopes of algorithm 1 from the closed form of D."""
    z, t, w = ones(1 / 3, doubles(1, 1, 1))[:, None, None], 2 / 3, 1 / 3
    found = heun(DATA.velocity, z, ones(w, z), ones(t, z), 80.0)

    def d(x: float, sigma: float) -> float:
        return (x - (STD**2 * x + sigma**2 * MEAN) / (STD**2 + sigma**2)) / sigma

    first = d(1.0, 2.0)
    second = d(1.0 - 1.5 * first, 0.5)
    assert float(found) * 1.5 == pytest.approx(1.0 - 1.5 * (first + second) / 2, abs=1e-12)
    last = heun(DATA.velocity, z, ones(0.0, z), ones(t, z), 80.0)
    assert float(last) == pytest.approx(1.0 - 2.0 * first, abs=1e-12), "to 0 it is Euler's step: the denoised chunk"


@pytest.mark.parametrize("largest", [40.0, 80.0, 160.0])
def test_the_teacher_s_own_largest_sigma_is_where_heun_begins(largest: float) -> None:
    """Data in one point: D = m whatever x is, slopes are straight, and one step of Heun from pure noise is exact."""
    method = built("edm", sigma_max=largest)
    point = torch.full((1, 1, 1), 0.3, dtype=torch.float64)

    def denoised(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """F of a denoiser that answers the point: (m - c_skip x) / c_out."""
        sigma = (t / (1 - t)).view(-1, 1, 1)
        x = z * (sigma.square() + 0.25).sqrt()
        skip, out = method._skip_and_out(sigma)
        return (point - skip * x) / out

    flow, z = method.flow(denoised), torch.full((1, 1, 1), -0.7, dtype=torch.float64)
    w = ones(0.5, z)
    found = heun(lambda z, time: flow(z, time, time), z, w, ones(1.0, z), method.largest_sigma)
    noise = ((1 + largest) * z - point) / largest
    torch.testing.assert_close(found, (point + noise) / 2, rtol=1e-12, atol=0)


def walked(count: int, second_order: bool) -> float:
    """Largest error of a chain from sigma = 80 to 0.02 against the solved ODE."""
    method, x = built("edm"), 80.0 * doubles(50, 1, 1)
    times = [t if t < 1 else 80 / 81 for t in reversed(method.times(count)) if t > 0]
    z = x / 81
    for t, w in pairwise(times):
        if second_order:
            z = heun(DATA.velocity, z, ones(w, z), ones(t, z), 80.0)
        else:
            z = z - (t - w) * DATA.velocity(z, ones(t, z))
    return float((z * 1.02 - solved(x, 80.0, 0.02)).abs().max())


def test_heun_is_of_second_order_and_euler_of_first() -> None:
    errors = {order: [walked(count, order) for count in (40, 80, 160)] for order in (False, True)}
    for order, ratio in ((False, 2.0), (True, 4.0)):
        for coarse, fine in pairwise(errors[order]):
            assert coarse / fine == pytest.approx(ratio, rel=0.15)
    assert errors[True][1] < errors[False][1] / 10


def test_a_student_that_repeats_the_teacher_s_heun_steps_is_consistent() -> None:
    """The chain of Heun steps on the teacher's grid has no CTM loss; the chain of Euler's has some."""
    method, student = built("edm"), built("consistency", bins=8, solver="heun", dsm_weight=0)
    times, flow = method.times(8), method.flow(network())

    def chain(z: Tensor, s: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        now = z
        for upper, lower in pairwise(reversed(times)):
            up, low = ones(upper, z), ones(lower, z)
            moved = heun(lambda z, time: flow(z, time, time), now, low, up, 80.0)
            now = torch.where(((t >= up) & (low >= s))[:, None, None], moved, now)
        length = (t - s)[:, None, None]
        return torch.where(length > 0, (z - now) / torch.where(length > 0, length, 1.0), 0.0)

    z_0 = MEAN + STD * doubles(200, 1, 1)
    draws = student.draw((200, 1, 1), torch.Generator().manual_seed(0)).to(z_0)
    teacher = Teacher(method, network())
    assert float(student.loss(chain, z_0, z_0[:, 0], draws, teacher=teacher).parts["ctm"]) < 1e-20
    other = built("consistency", bins=8, dsm_weight=0)
    assert float(other.loss(chain, z_0, z_0[:, 0], draws, teacher=teacher).parts["ctm"]) > 1e-6


def test_a_one_step_generator_learns_from_it_too() -> None:
    """OneDP's pull is 0 for chunks of the data's own distribution."""
    method, chunk, noise = built("edm"), MEAN + STD * doubles(2000, 1, 1), doubles(2000, 1, 1, seed=1)
    student = built("onedp")
    t = torch.tensor(method.times(100)[1:-1], dtype=torch.float64).repeat(21)[:2000]
    pull = student._pull(Teacher(method, network(), network()), chunk, noise, t)
    assert float(pull.abs().max()) < 1e-12


def test_what_cannot_be_is_one_line() -> None:
    with pytest.raises(UsageError, match="sigma_min has to be less than sigma_max"):
        built("edm", sigma_min=3.0, sigma_max=2.0)
    with pytest.raises(UsageError, match="at least 1 function evaluation"):
        built("edm").jumps(0)
