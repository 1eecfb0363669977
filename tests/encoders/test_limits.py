"""The limits normaliser."""

from __future__ import annotations

import pytest
import torch

from omp_cli.core.encoders.base import ENCODERS, Limits, StateLimits
from omp_cli.core.spec import Quaternion, Spec


def test_limits_of_the_data_become_plus_and_minus_one() -> None:
    x = torch.randn(7, 50, 3, dtype=torch.float64) * torch.tensor([1.0, 20.0, 0.01]) + torch.tensor([0.0, 5.0, -3.0])
    limits = Limits(3).double()
    limits.fit(x)
    y = limits(x)
    torch.testing.assert_close(y.reshape(-1, 3).amin(0), -torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(y.reshape(-1, 3).amax(0), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(limits.inverse(y), x)


def test_a_constant_channel_is_centred_and_comes_back() -> None:
    x = torch.stack([torch.linspace(-2, 3, 20), torch.full((20,), 0.37), torch.full((20,), 0.5)], dim=1)
    x[3, 2] += 5e-5  # nearly constant
    limits = Limits(3)
    limits.fit(x)
    y = limits(x)
    assert limits.scale[1:].tolist() == [1, 1]
    assert y[:, 1].abs().max() < 1e-6
    assert y[:, 2].abs().max() < 5e-5
    torch.testing.assert_close(limits.inverse(y), x)


def test_an_action_that_never_changes_is_held_whatever_the_policy_says() -> None:
    """Of a robot whose motor stands still in all demonstrations, a policy's noise must not move it."""
    x = torch.stack([torch.linspace(-2, 3, 20), torch.full((20,), -2.9), torch.full((20,), 0.5)], dim=1)
    x[3, 2] += 5e-5  # nearly constant
    limits = Limits(3, hold=True)
    limits.fit(x)
    assert limits(x)[:, 1].abs().max() == 0, "what a constant number is trained on is exactly 0"
    assert limits(x).abs().max() <= 1 + 1e-3
    found = limits.inverse(torch.rand(50, 3) * 2 - 1)
    torch.testing.assert_close(found[:, 1], x[:1, 1].expand(50), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[:, 2], x[:1, 2].expand(50), atol=8e-5, rtol=0)
    torch.testing.assert_close(limits.inverse(limits(x)), x)


def test_a_far_action_is_held_in_half_precision_too() -> None:
    """A motor that stands at 90 degrees, and one at 0: no buffer leaves the numbers of float16."""
    x = torch.tensor([[90.0, 0.0]]).repeat(4, 1)
    limits = Limits(2, hold=True)
    limits.fit(x)
    for dtype in (torch.float32, torch.float16):
        found = limits.to(dtype).inverse(torch.tensor([[-1.0, -1.0], [1.0, 1.0]], dtype=dtype))
        torch.testing.assert_close(found.float(), x[:2], atol=1e-4, rtol=1e-3)


def test_before_fit_it_is_the_identity_and_fitting_is_saved() -> None:
    x = torch.rand(10, 2) * 4
    limits, loaded = Limits(2), Limits(2)
    assert torch.equal(limits(x), x)
    limits.fit(x)
    loaded.load_state_dict(limits.state_dict())
    assert torch.equal(loaded(x), limits(x))
    assert not list(limits.parameters())


AHEAD = (1.0, 0.0, 0.0, 0.0)


def spec(*places: int) -> Spec:
    known = {"suite": "own", "task": "pour", "action_dim": 2, "max_steps": 10, "control_hz": 10.0}
    return Spec(**known, state_dim=11, quaternions=tuple(Quaternion(first=place, side=AHEAD) for place in places))


def test_both_signs_of_a_quaternion_are_one_state() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 11)
    signs = torch.where(torch.rand(3, 5, 2) < 0.5, -1.0, 1.0)
    other = x.clone()
    other[..., 1:5] *= signs[..., :1]
    other[..., 6:10] *= signs[..., 1:]
    limits, plain = StateLimits(spec(1, 6)), StateLimits(spec())
    limits.fit(x)
    plain.fit(x)
    assert torch.equal(limits(x), limits(other))
    assert not torch.equal(plain(x), plain(other))
    one = limits.one_sign(other)
    assert torch.equal(one.abs(), x.abs())
    assert torch.equal(one[..., [0, 5, 10]], x[..., [0, 5, 10]])
    assert bool((one[..., [1, 6]] > 0).all())
    assert bool(limits(x).abs().amax() <= 1 + 1e-5)
    assert set(limits.state_dict()) == set(plain.state_dict())


@pytest.mark.parametrize("places", [(8,), (0, 3), (4, 0)])
def test_places_that_hold_no_quaternions_are_refused(places: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="are not places of four numbers each in a state of 11"):
        spec(*places)


def test_an_encoder_of_states_does_not_see_the_sign() -> None:
    torch.manual_seed(0)
    encoder = ENCODERS.build(ENCODERS.parse({"name": "state"}), spec(1), 2)
    state = torch.randn(4, 2, 11)
    other = state.clone()
    other[:, 1, 1:5] *= -1
    assert torch.equal(encoder({"state": state}), encoder({"state": other}))
