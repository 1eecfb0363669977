"""The pinhole camera and the crop box."""

from __future__ import annotations

import numpy as np
import pytest

from omp_cli.core.clouds.camera import Camera, look_at
from omp_cli.core.clouds.crop import Box


def test_look_at_is_an_upright_rotation() -> None:
    camera = look_at((1.0, -2.0, 1.5), (0.2, 0.1, 0.3), 60.0, 8)
    assert np.allclose(camera.rotation.T @ camera.rotation, np.eye(3))
    assert np.linalg.det(camera.rotation) == pytest.approx(1.0)
    assert not camera.upside_down()
    ahead = camera.to_camera(np.array([[0.2, 0.1, 0.3]]))[0]
    assert np.allclose(ahead[:2], 0.0)
    assert ahead[2] < 0.0


@pytest.mark.parametrize("size", [2, 5, 84])
def test_rays_pass_through_pixel_centres(size: int) -> None:
    camera = look_at((0.0, -1.0, 0.5), (0.0, 0.0, 0.5), 60.0, size)
    rays = camera.directions()
    assert np.allclose(np.linalg.norm(rays, axis=1), 1.0)
    local = rays @ camera.rotation
    # the picture is symmetric about its axis, and its outer pixel borders lie at half the opening angle
    grid = (local[:, :2] / -local[:, 2:]).reshape(size, size, 2)
    assert np.allclose(grid, -grid[::-1, ::-1])
    half_pixel = 0.5 / camera.focal
    assert grid[0, 0, 0] - half_pixel == pytest.approx(-np.tan(np.radians(30.0)))
    assert grid[0, 0, 1] + half_pixel == pytest.approx(np.tan(np.radians(30.0)))


def test_first_row_is_the_top_and_first_column_the_left() -> None:
    camera = look_at((0.0, -1.0, 0.5), (0.0, 0.0, 0.5), 60.0, 4)  # looks along +y: right is +x, up is +z
    rays = camera.directions().reshape(4, 4, 3)
    assert (rays[0, :, 2] > 0).all()
    assert (rays[-1, :, 2] < 0).all()
    assert (rays[:, 0, 0] < 0).all()
    assert (rays[:, -1, 0] > 0).all()


def test_corner_offset_shifts_by_half_a_pixel() -> None:
    camera = look_at((0.0, -1.0, 0.5), (0.0, 0.0, 0.5), 60.0, 6)
    shift = camera.slopes() - camera.slopes(offset=0.0)
    assert np.allclose(shift, [0.5 / camera.focal, -0.5 / camera.focal, 0.0])


def test_upside_down_camera_is_noticed() -> None:
    upright = look_at((0.0, -1.0, 0.5), (0.0, 0.0, 0.5), 60.0, 4)
    rolled = Camera(upright.position, upright.rotation @ np.diag([-1.0, -1.0, 1.0]), 60.0, 4)
    assert rolled.upside_down()


def test_box_is_open() -> None:
    box = Box((0.0, 0.0, 0.0), (1.0, 2.0, 3.0))
    points = np.array([[0.5, 1.0, 1.5], [0.0, 1.0, 1.5], [0.5, 2.0, 1.5], [0.5, 1.0, 3.1], [1e-9, 1.0, 1.5]])
    assert box.contains(points).tolist() == [True, False, False, False, True]
    assert box.contains(points[:0]).shape == (0,)


def test_rays_that_miss_the_box_have_no_point_in_it() -> None:
    random = np.random.default_rng(0)
    box = Box((-0.3, -0.2, -0.1), (0.3, 0.2, 0.1))
    rays = random.normal(size=(3000, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    rays[:3] = np.eye(3)  # parallel to the faces
    for origin in (np.array([1.0, 0.3, 0.2]), np.zeros(3), np.array([0.3, -2.0, 0.05])):
        along = origin + np.linspace(0.0, 4.0, 2001)[:, None, None] * rays[None]
        inside = np.stack([box.contains(step) for step in along]).any(axis=0)
        meets = box.meets(origin, rays)
        assert (inside <= meets).all()  # nothing that matters is left out
        assert meets.sum() <= inside.sum() + 0.02 * len(rays)  # and little is cast in vain


def test_box_behind_the_camera_is_not_met() -> None:
    box = Box((1.0, -1.0, -1.0), (2.0, 1.0, 1.0))
    rays = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    assert box.meets(np.zeros(3), rays).tolist() == [True, False]
