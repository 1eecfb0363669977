"""The point-cloud encoder: exactness of the two-pass form, frames, and points used."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from omp_cli.core.base.device import autocast
from omp_cli.core.base.errors import UsageError
from omp_cli.core.encoders import ENCODERS, Encoder
from omp_cli.core.encoders.pointnet import PointNet, argmax_over_points
from omp_cli.core.spec import Spec
from tests.encoders.test_contract import SPEC
from tests.methods.cached_casts import CachedCasts


def net(two_pass: bool, channels: tuple[int, ...] = (16, 32, 48)) -> PointNet:
    torch.manual_seed(0)
    return PointNet(channels, 8, two_pass).double()


def clouds(kind: str, points: int) -> Tensor:
    """Five clouds (5, N, 3): random, with every point there twice or more, all one point, or partly zero padding."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(5, points, 3, generator=g, dtype=torch.float64)
    if kind == "repeated":
        x = x[:, torch.randint(points // 3, (points,), generator=g)]
    elif kind == "one point":
        x = x[:, :1].expand(-1, points, -1)
    elif kind == "padded":
        x = torch.cat([x[:, : points // 2], torch.zeros(5, points - points // 2, 3, dtype=torch.float64)], dim=1)
    return x


def test_relu_after_the_max_is_the_published_network() -> None:
    encoder, x = net(False), clouds("random", 64)
    with torch.no_grad():
        encoder.layers[-1].bias[::2] -= 2  # so that the ReLU has something to cut
    published = encoder.project[1:](encoder.layers(x).relu().max(1).values)
    torch.testing.assert_close(encoder(x), published)


@pytest.mark.parametrize("kind", ["random", "repeated", "one point", "padded"])
@pytest.mark.parametrize("points", [64, 37, 3000])
def test_two_passes_have_the_value_and_the_gradient_of_one(kind: str, points: int) -> None:
    x, results = clouds(kind, points), []
    w = torch.randn(5, 8, dtype=torch.float64)
    for two_pass in (False, True):
        encoder = net(two_pass)
        out = encoder(x)
        results.append([out, *torch.autograd.grad((out * w).sum(), list(encoder.parameters()))])
    for plain, two in zip(*results, strict=True):
        torch.testing.assert_close(two, plain, rtol=1e-10, atol=1e-12)


def test_two_passes_give_the_gradient_in_the_cloud_as_well() -> None:
    gradients = []
    for two_pass in (False, True):
        x = clouds("random", 64).requires_grad_()
        gradients.append(torch.autograd.grad(net(two_pass)(x).square().sum(), x)[0])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("older", [False, True], ids=["this torch", "older torch"])
def test_two_passes_in_bfloat16_have_the_gradient_of_one(older: bool) -> None:
    """An older torch would give the recorded pass the casts of the unrecorded one, which have no graph."""
    x, w, found = clouds("random", 64).float(), torch.randn(5, 8), []
    for two_pass in (False, True):
        encoder = net(two_pass).float()
        with autocast("bf16", torch.device("cpu")), CachedCasts() if older else nullcontext():
            out = encoder(x)
        (out.float() * w).sum().backward()
        assert all(p.grad is not None for p in encoder.parameters())
        found.append(torch.cat([p.grad.flatten() for p in encoder.parameters()]))  # type: ignore[union-attr]
    assert (found[1] - found[0]).norm() < 0.05 * found[0].norm()


def test_channels_that_the_relu_silences_are_handled() -> None:
    """A channel below zero on all points contributes nothing, whichever point is called its maximum."""
    x, results = clouds("random", 64), []
    for two_pass in (False, True):
        encoder = net(two_pass)
        with torch.no_grad():
            encoder.layers[-1].bias[::2] -= 20
        results.append(torch.autograd.grad(encoder(x).square().sum(), list(encoder.parameters())))
    for plain, two in zip(*results, strict=True):
        torch.testing.assert_close(two, plain, rtol=1e-10, atol=1e-12)


def test_two_passes_keep_a_fraction_for_the_backward_pass() -> None:
    sizes = {}
    for two_pass in (False, True):
        kept: list[int] = []

        def pack(x: Tensor, kept: list[int] = kept) -> Tensor:
            kept.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            net(two_pass)(clouds("random", 512))
        sizes[two_pass] = sum(kept)
    assert sizes[True] < 0.3 * sizes[False]


def test_without_gradients_there_is_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, x = net(True), clouds("random", 64)
    expected = encoder(x)
    monkeypatch.setattr(PointNet, "_max_of_critical", None)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), expected)


@pytest.mark.parametrize("points", [1, 5, 32, 48, 512])
def test_argmax_over_points(points: int) -> None:
    x = torch.randn(3, points, 7)
    assert torch.equal(x.gather(1, argmax_over_points(x)[:, None]).squeeze(1), x.amax(1))


def encoder_of(spec: Spec = SPEC, **settings: Any) -> Encoder:
    torch.manual_seed(0)
    config = ENCODERS.parse({"name": "pointcloud", "channels": [16, 32], "out": 8, "state": 8, **settings})
    encoder = ENCODERS.build(config, spec, 2).double()
    encoder.fit({"state": observation(64)["state"][:, 0], "point_cloud": observation(64)["point_cloud"][:, 0]})
    return encoder


def observation(batch: int = 3) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(3)
    return {
        "state": torch.rand(batch, 2, 9, generator=g, dtype=torch.float64),
        "point_cloud": torch.rand(batch, 2, 40, 3, generator=g, dtype=torch.float64),
    }


def cloud_part(out: Tensor) -> Tensor:
    """The clouds' half of an embedding, (B, T, 8)."""
    return out.unflatten(1, (2, 16))[..., :8]


def test_embedding_is_cloud_then_state_frame_by_frame() -> None:
    encoder, obs = encoder_of(), observation()
    out = encoder(obs).unflatten(1, (2, 16))
    torch.testing.assert_close(out[..., 8:], encoder.state(encoder.state_limits(obs["state"])))
    moved = {**obs, "point_cloud": obs["point_cloud"].clone()}
    moved["point_cloud"][:, 1] *= 2
    changed = (encoder(moved).unflatten(1, (2, 16)) - out).abs().amax(0) > 1e-9
    assert not changed[0].any()
    assert changed[1, :8].any()
    assert not changed[1, 8:].any()


def test_gripper_frame_moves_with_each_frames_end_effector() -> None:
    encoder, obs = encoder_of(origin="gripper"), observation()
    shift = torch.randn(3, 2, 3, dtype=torch.float64)
    state = obs["state"].clone()
    state[..., :3] += shift
    moved = {"state": state, "point_cloud": obs["point_cloud"] + shift[:, :, None]}
    torch.testing.assert_close(cloud_part(encoder(moved)), cloud_part(encoder(obs)))
    assert not torch.allclose(cloud_part(encoder({**moved, "state": obs["state"]})), cloud_part(encoder(obs)))


def test_gripper_frame_is_in_units_of_the_scale() -> None:
    obs = observation()
    placed = encoder_of(scale=0.5)._placed(obs["point_cloud"], obs["state"])
    torch.testing.assert_close(placed[1, 0, 7], (obs["point_cloud"][1, 0, 7] - obs["state"][1, 0, :3]) / 0.5)


def test_world_frame_uses_the_limits_of_the_data() -> None:
    encoder, obs = encoder_of(origin="world"), observation(64)
    placed = encoder._placed(obs["point_cloud"], obs["state"])[:, 0]
    torch.testing.assert_close(placed.reshape(-1, 3).amax(0), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(placed.reshape(-1, 3).amin(0), -torch.ones(3, dtype=torch.float64))


def test_only_the_first_points_are_used() -> None:
    obs = observation()
    first = {**obs, "point_cloud": obs["point_cloud"][:, :, :10]}
    torch.testing.assert_close(encoder_of(points=10)(obs), encoder_of()(first))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": None}, "no point cloud"),
        ({"cloud_in_world": False}, "world frame"),
        ({"end_effector": None}, "no end-effector"),
        ({"cloud_in_fps_order": False}, "no sample"),
    ],
)
def test_what_the_task_does_not_have_is_a_usage_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ENCODERS.build(ENCODERS.parse({"name": "pointcloud", "points": 10}), SPEC.model_copy(update=change), 2)


def test_the_world_frame_needs_no_end_effector() -> None:
    config = ENCODERS.parse({"name": "pointcloud", "origin": "world"})
    encoder = ENCODERS.build(config, SPEC.model_copy(update={"end_effector": None}), 2)
    obs = {name: values.float() for name, values in observation().items()}
    assert encoder(obs).isfinite().all()


def test_a_smaller_cloud_is_used_whole() -> None:
    torch.manual_seed(0)
    obs = observation()
    torch.testing.assert_close(encoder_of(points=999)(obs), encoder_of()(obs))


MOVABLE = SPEC.model_copy(update={"positions": ((0, 1, 2), (6, 7, 8))})


def seen_in_training(encoder: Encoder, obs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """State (B, T, S) in metres and clouds (B T, N, 3) in the encoder's frame, as the networks get them in training."""
    seen: list[Tensor] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        for module in (encoder.cloud, encoder.state_limits)
    ]
    encoder.train()(obs)
    for hook in hooks:
        hook.remove()
    return seen[1], seen[0]


@pytest.mark.parametrize("origin", ["gripper", "world"])
def test_translation_moves_cloud_and_positions_together(origin: str) -> None:
    encoder, obs = encoder_of(MOVABLE, origin=origin, translate=0.2), observation()
    state, cloud = seen_in_training(encoder, obs)
    moved = (state - obs["state"]).unflatten(-1, (3, 3))
    assert not moved[:, :, 1].any(), "what is no position stays"
    shift = moved[:, 0, 0]  # (B, 3)
    torch.testing.assert_close(moved[:, :, (0, 2)], shift[:, None, None].expand(3, 2, 2, 3))
    assert shift.unique().numel() == 9
    assert 0.02 < shift.abs().max() <= 0.2
    still = seen_in_training(encoder_of(MOVABLE, origin=origin), obs)[1]
    expected = (
        still if origin == "gripper" else still + (shift * encoder.cloud_limits.scale).repeat_interleave(2, 0)[:, None]
    )
    torch.testing.assert_close(cloud, expected)


def test_jitter_is_noise_in_metres_on_every_coordinate() -> None:
    obs = observation(200)
    still, noisy = (seen_in_training(encoder_of(jitter=j, scale=0.5), obs)[1] for j in (0.0, 0.01))
    noise = (noisy - still) * 0.5
    assert noise.std().item() == pytest.approx(0.01, rel=0.02)
    assert abs(noise.mean().item()) < 2e-4


def test_nothing_is_moved_outside_of_training() -> None:
    obs = observation()
    plain, augmented = encoder_of(MOVABLE), encoder_of(MOVABLE, translate=0.2, jitter=0.01)
    torch.testing.assert_close(augmented.eval()(obs), plain.eval()(obs))
    assert not torch.equal(augmented.train()(obs), augmented(obs))


@pytest.mark.parametrize("spec", [SPEC, MOVABLE.model_copy(update={"cloud_in_world": False})])
def test_translation_is_refused_where_it_would_be_wrong(spec: Spec) -> None:
    with pytest.raises(UsageError, match=r"encoder\.translate"):
        encoder_of(spec, origin="world", translate=0.1)
