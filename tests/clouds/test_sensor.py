"""The cloud sensor in both frames, and the picture for people."""

from __future__ import annotations

import numpy as np
import pytest

from omp_cli.core.clouds.camera import Camera
from omp_cli.core.clouds.crop import Box
from omp_cli.core.clouds.picture import Painter
from omp_cli.core.clouds.raycast import MARKER, Marker
from omp_cli.core.clouds.sensor import DP3_BOX, DP3_ROTATION, CloudConfig, CloudSensor
from omp_cli.core.config import validated
from omp_cli.core.errors import DataError, UsageError
from tests.clouds.scenes import front, scene

BOX = Box((-0.4, -0.4, 0.0), (0.8, 0.4, 0.9))


def sensor(config: CloudConfig, box: Box = BOX, camera: Camera | None = None) -> tuple[CloudSensor, object]:
    model, data = scene()
    return CloudSensor(model, camera or front(config.size), box, config, ["wall"], ["wood"]), data


def test_cloud_lies_on_the_things_inside_the_crop() -> None:
    eye, data = sensor(CloudConfig(points=256))
    cloud = eye.capture(data)
    assert cloud.shape == (256, 3)
    assert cloud.dtype == np.float32
    on_ball = np.abs(np.linalg.norm(cloud - [0.0, 0.0, 0.5], axis=1) - 0.2) < 1e-6
    on_cube = np.abs(np.abs(cloud - [0.5, 0.1, 0.1]).max(axis=1) - 0.1) < 1e-6
    assert (on_ball | on_cube).all()
    assert on_ball.any()
    assert on_cube.any()
    assert eye.filled == 0
    assert np.array_equal(cloud, eye.capture(data))


def test_casting_only_what_can_meet_the_crop_changes_nothing() -> None:
    eye, data = sensor(CloudConfig(points=64))
    points, _ = eye.cropped(data)
    everything, _ = CloudSensor(
        scene()[0], front(84), Box((-9, -9, -9), (9, 9, 9)), CloudConfig(), ["wall"], ["wood"]
    ).cropped(data)
    assert np.array_equal(points, everything[BOX.contains(everything)])


def test_a_marker_on_the_floor_of_the_crop_is_kept_whole() -> None:
    eye, data = sensor(CloudConfig(points=64), Box((-0.4, -0.4, 0.03), (0.8, 0.4, 0.9)))
    points, geom = eye.cropped(data, [Marker((-0.3, -0.2, 0.0), 0.05)])
    assert (points[geom == MARKER][:, 2] < 0.03).any()
    assert (points[geom != MARKER][:, 2] > 0.03).all()


def test_time_and_filling_are_counted() -> None:
    eye, data = sensor(CloudConfig(points=100, camera_size=42))
    have = len(eye.cropped(data)[0])
    assert 50 <= have < 100
    cloud = eye.capture(data)
    assert eye.filled == 100 - have
    assert len(np.unique(cloud, axis=0)) == have
    assert set(eye.seconds) == {"rays", "crop", "fps"}
    assert all(s > 0 for s in eye.seconds.values())
    assert eye.frames == 1


def test_too_few_points_name_the_camera_size() -> None:
    eye, data = sensor(CloudConfig(points=2048, camera_size=40))
    with pytest.raises(DataError) as caught:
        eye.capture(data)
    assert "40" in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, 84), ({"points": 100}, 84), ({"points": 513}, 128), ({"points": 1024}, 128), ({"points": 4096}, 256),
        ({"camera_size": 50}, 50), ({"frame": "dp3"}, 128), ({"frame": "dp3", "points": 1024}, 128),
    ],
)  # fmt: skip
def test_the_camera_grows_with_the_cloud(settings: dict[str, object], size: int) -> None:
    assert CloudConfig(**settings).size == size  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [{"points": 0}, {"camera_size": 1}, {"frame": "table"}, {"fps_backend": "magic"}])
def test_bad_settings_are_usage_errors(bad: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        validated(CloudConfig, bad)


def test_dp3_rotation_has_the_published_numbers() -> None:
    published = [[0.9925, 0.0, -0.1219], [0.1070, 0.4787, 0.8714], [0.0583, -0.8780, 0.4751]]
    assert np.allclose(DP3_ROTATION, published, atol=1e-4)
    assert DP3_BOX.low == (-0.5, -1.5, -0.795)
    assert DP3_BOX.high == (1.0, -0.4, 100.0)


def test_dp3_points_are_the_depth_seen_through_pixel_corners() -> None:
    model, data = scene()
    camera = front(40)
    box = Box((-9, -9, -9), (9, 9, 9))
    config = CloudConfig(points=64, camera_size=40, frame="dp3")
    ours, _ = CloudSensor(model, camera, box, config).cropped(data)
    # step by step as the public pipelines do it: depth image, pinhole with cx = W / 2 and integer pixels, rotation
    world, geom = CloudSensor(model, camera, box, CloudConfig(points=64, camera_size=40)).cropped(data)
    seen = camera.to_camera(world)
    row = np.round(-seen[:, 1] / -seen[:, 2] * camera.focal + 20 - 0.5)
    column = np.round(seen[:, 0] / -seen[:, 2] * camera.focal + 20 - 0.5)
    depth = -seen[:, 2]
    x, y = (column - 20) * depth / camera.focal, (row - 20) * depth / camera.focal
    expected = np.stack([x, -y, -depth], axis=1) @ DP3_ROTATION.T
    assert len(geom) == len(ours)
    assert np.allclose(ours, expected, atol=1e-9)


def test_picture_is_upright_coloured_and_shows_the_marker() -> None:
    model, data = scene()
    for size in (64, 65):
        painter = Painter(model, front(size), ["wall"])
        picture = painter.paint(data, [Marker((-0.5, 0.0, 0.5), 0.08, (0.0, 1.0, 0.0))])
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8
        red, green, blue = (picture[..., i].astype(int) for i in range(3))
        ball, marker, cube = red - green - blue > 40, green - red - blue > 40, blue - red - green > 40
        assert all(mask.sum() > 8 for mask in (ball, marker, cube))
        rows, columns = np.nonzero(ball)
        assert np.nonzero(cube)[0].mean() > rows.mean()  # the cube lies on the floor, below the ball
        assert np.nonzero(cube)[1].mean() > columns.mean() > np.nonzero(marker)[1].mean()
        assert picture[0].mean() > picture[-1].mean()  # bright sky above, wood below
