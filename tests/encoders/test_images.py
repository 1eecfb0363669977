"""Picture encoders: pixels, random shift, cameras."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from omp_cli.core.base.errors import UsageError
from omp_cli.core.encoders import ENCODERS
from omp_cli.core.encoders.images import random_shift, to_floats
from omp_cli.core.spec import Spec

SPEC = Spec(
    suite="toy", task="toy", action_dim=2, state_dim=4, end_effector=(0, 1, 2), max_steps=9, control_hz=9.0,
    image=(32, 32, 3),
)  # fmt: skip


def observation(seed: int = 0, cameras: int = 1) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    img = torch.randint(0, 256, (2, 1, 32, 32, 3 * cameras), generator=g, dtype=torch.uint8)
    return {"state": torch.rand(2, 1, 4, generator=g), "img": img}


def test_pixels() -> None:
    img = torch.tensor([[[[0, 255, 51]]]], dtype=torch.uint8)
    out = to_floats(img, torch.zeros(1))
    assert out.shape == (1, 3, 1, 1)
    torch.testing.assert_close(out.flatten(), torch.tensor([-0.5, 0.5, -0.3]))


def test_every_shift_is_a_crop_of_the_padded_picture() -> None:
    x = torch.rand(64, 2, 7, 5)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
    torch.manual_seed(0)
    seen = set()
    for before, after in zip(padded, random_shift(x, 2), strict=True):
        matches = [(i, j) for i in range(5) for j in range(5) if torch.equal(after, before[:, i : i + 7, j : j + 5])]
        assert len(matches) == 1, "all channels of a picture move together"
        seen.update(matches)
    assert len(seen) > 15


@pytest.mark.parametrize("name", ["light-vit", "resnet18"])
def test_augments_in_training_only_and_can_be_turned_off(name: str) -> None:
    torch.manual_seed(0)
    encoder, obs = ENCODERS.build(ENCODERS.parse({"name": name}), SPEC, 1), observation()
    assert not torch.allclose(encoder.train()(obs), encoder(obs))
    assert torch.equal(encoder.eval()(obs), encoder(obs))
    plain = ENCODERS.build(ENCODERS.parse({"name": name, "shift": 0}), SPEC, 1).train()
    assert torch.equal(plain(obs), plain(obs))


def test_resnet_sees_each_camera_with_its_own_weights() -> None:
    torch.manual_seed(0)
    spec = SPEC.model_copy(update={"image": (32, 32, 6)})
    encoder, obs = ENCODERS.build(ENCODERS.parse({"name": "resnet18"}), spec, 1).eval(), observation(cameras=2)
    changed = obs["img"].clone()
    changed[..., 3:] = 255 - changed[..., 3:]
    before, after = encoder(obs), encoder({**obs, "img": changed})
    assert torch.equal(before[:, :512], after[:, :512])
    assert not torch.allclose(before[:, 512:1024], after[:, 512:1024])
    assert before.shape == (2, 2 * 512 + 4)


@pytest.mark.parametrize("name", ["light-vit", "resnet18"])
def test_needs_a_picture(name: str) -> None:
    with pytest.raises(UsageError, match="picture"):
        ENCODERS.build(ENCODERS.parse({"name": name}), SPEC.model_copy(update={"image": None}), 1)


def test_settings_that_cannot_work() -> None:
    with pytest.raises(UsageError, match="does not divide"):
        ENCODERS.parse({"name": "light-vit", "width": 30})
    with pytest.raises(UsageError, match="too small"):
        ENCODERS.build(ENCODERS.parse({"name": "light-vit"}), SPEC.model_copy(update={"image": (12, 32, 3)}), 1)
