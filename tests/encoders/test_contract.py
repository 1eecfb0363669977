"""What every registered encoder must do; a new encoder is picked up by its registration."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from omp_cli.core.encoders import ENCODERS, Encoder
from omp_cli.core.spec import Rotation, Spec

B, T = 3, 2
SPEC = Spec(
    suite="toy",
    task="toy",
    action_dim=4,
    state_dim=9,
    points=40,
    end_effector=(0, 1, 2),
    max_steps=10,
    control_hz=10.0,
    image=(24, 24, 6),
)
SHAPES = {"state": (9,), "point_cloud": (40, 3), "img": (24, 24, 6)}

pytestmark = pytest.mark.parametrize("name", ENCODERS.names())


def arrays(encoder: Encoder, *lead: int, seed: int = 1) -> dict[str, Tensor]:
    """Random observations with the given leading dimensions."""
    g = torch.Generator().manual_seed(seed)
    found = {key: torch.rand(*lead, *SHAPES[key], generator=g) for key in encoder.keys}
    return {key: (255 * x).to(torch.uint8) if key == "img" else x for key, x in found.items()}


def built(name: str, n_obs: int = T) -> Encoder:
    torch.manual_seed(0)
    encoder = ENCODERS.build(ENCODERS.parse({"name": name}), SPEC, n_obs)
    encoder.fit(arrays(encoder, 50, seed=2))
    return encoder.eval()  # while training, augmentation may change what an encoder sees


@pytest.mark.parametrize("n_obs", [1, 2, 3])
def test_shape_and_dtype(name: str, n_obs: int) -> None:
    encoder = built(name, n_obs)
    out = encoder(arrays(encoder, B, n_obs))
    assert out.shape == (B, encoder.out_dim)
    assert out.dtype == torch.float32


def test_gradient_reaches_every_parameter(name: str) -> None:
    encoder = built(name)
    out = encoder(arrays(encoder, 8, T))
    (out * torch.randn_like(out)).sum().backward()
    assert not [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]


def test_recording_gradients_changes_nothing(name: str) -> None:
    encoder = built(name)
    obs = arrays(encoder, B, T)
    with torch.no_grad():
        expected = encoder(obs)
    torch.testing.assert_close(encoder(obs), expected)


def test_rows_do_not_see_each_other(name: str) -> None:
    encoder = built(name).double()
    obs = {key: x if x.dtype == torch.uint8 else x.double() for key, x in arrays(encoder, B, T).items()}
    torch.testing.assert_close(encoder(obs)[1:2], encoder({key: x[1:2] for key, x in obs.items()}))


def test_the_order_of_frames_matters(name: str) -> None:
    encoder = built(name)
    obs = arrays(encoder, B, T)
    assert not torch.allclose(encoder(obs), encoder({key: x.flip(1) for key, x in obs.items()}))


def test_fitted_limits_are_part_of_the_state(name: str) -> None:
    encoder, other = built(name), ENCODERS.build(ENCODERS.parse({"name": name}), SPEC, T).eval()
    other.load_state_dict(encoder.state_dict())
    obs = arrays(encoder, B, T)
    assert torch.equal(encoder(obs), other(obs))


@pytest.mark.parametrize("scale", [0.5, 48.0])
def test_the_embedding_has_the_scale_that_is_asked_for(name: str, scale: float) -> None:
    plain = built(name)
    torch.manual_seed(0)
    scaled = ENCODERS.build(ENCODERS.parse({"name": name, "output_scale": scale}), SPEC, T).eval()
    scaled.load_state_dict(plain.state_dict())
    obs = arrays(plain, B, T)
    torch.testing.assert_close(scaled(obs), scale * plain(obs))


def test_two_ways_to_write_a_rotation_are_the_same(name: str) -> None:
    """Half a turn and a little, in the one direction and in the other."""
    turned = SPEC.model_copy(update={"state_rotations": (Rotation(first=4, kind="axis-angle"),)})
    torch.manual_seed(0)
    encoder = ENCODERS.build(ENCODERS.parse({"name": name}), turned, T).double()
    encoder.fit({key: x.double() for key, x in arrays(encoder, 50, seed=2).items()})
    encoder.eval()
    obs = {key: x if x.dtype == torch.uint8 else x.double() for key, x in arrays(encoder, B, T).items()}
    axis = torch.nn.functional.normalize(obs["state"][..., 4:7], dim=-1)
    one, other, third = ({**obs, "state": obs["state"].clone()} for _ in range(3))
    for shown, angle in ((one, 3.2), (other, 3.2 - 2 * math.pi), (third, 3.1)):
        shown["state"][..., 4:7] = angle * axis
    torch.testing.assert_close(encoder(one), encoder(other))
    assert not torch.allclose(encoder(one), encoder(third))


def test_every_array_is_used(name: str) -> None:
    encoder = built(name)
    obs = arrays(encoder, B, T)
    for key in encoder.keys:
        assert not torch.allclose(encoder(obs), encoder({**obs, key: obs[key].flip(0)}))
