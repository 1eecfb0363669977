"""Points of a real camera's depth pictures are those of the simulated camera that sees the same."""

import numpy as np

from omp_cli.core.clouds.camera import look_at
from omp_cli.core.clouds.depth import DepthCamera

FLIP = np.diag([1.0, -1.0, -1.0])
"""MuJoCo's camera axes (y up, z backward) to OpenCV's (y down, z forward)."""


def test_depth_of_the_simulated_camera_gives_the_points_that_its_rays_met() -> None:
    camera = look_at((1.0, -0.6, 0.8), (0.1, 0.0, 0.1), 50.0, 24)
    distance = np.random.default_rng(0).uniform(0.5, 2.0, 24 * 24)
    met = camera.position + distance[:, None] * camera.directions()
    depth = -camera.to_camera(met)[:, 2].reshape(24, 24)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = camera.rotation @ FLIP, camera.position
    real = DepthCamera((camera.focal, camera.focal), (11.5, 11.5), pose)
    np.testing.assert_allclose(real.points(depth), met, atol=1e-9)


def test_pixels_without_depth_give_no_point() -> None:
    camera = DepthCamera((10.0, 20.0), (1.0, 0.0), np.eye(4))
    depth = np.array([[0.0, np.nan, 2.0], [np.inf, -1.0, 4.0]])
    np.testing.assert_allclose(camera.points(depth), [[0.2, 0.0, 2.0], [0.4, 0.2, 4.0]])
