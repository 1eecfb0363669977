"""What lies out of a camera's sight is not drawn, and its picture is the same."""

from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest

from omp_cli.core.base.errors import MissingDependency
from omp_cli.core.clouds import opengl
from omp_cli.core.clouds.opengl import Renderer, in_sight

CAMERAS = {
    "ahead": 'pos="0 0 0" fovy="40"',
    "wide": 'pos="0.3 -0.2 0.4" euler="20 70 -30" fovy="100"',
    "shifted": 'pos="0 0 0.2" euler="0 30 0" resolution="100 100" sensorsize="0.01 0.01" focal="0.012 0.01" '
    'principal="0.002 -0.001"',
}


def looking(**changed: Any) -> list[SimpleNamespace]:
    """A camera in the origin that looks along -z with y above, 90 degrees wide and high."""
    usual = {"pos": [0, 0, 0], "forward": [0, 0, -1], "up": [0, 1, 0], "frustum_center": 0.0, "frustum_width": 0.0}
    usual |= {"frustum_bottom": -0.1, "frustum_top": 0.1, "frustum_near": 0.1}
    return [SimpleNamespace(**{**usual, **changed})] * 2


@pytest.mark.parametrize(
    ("place", "radius", "seen"),
    [
        ([0, 0, -2], 0.1, True),
        ([0, 0, 2], 0.1, False),
        ([0, 0, 0.05], 0.1, True),  # around the eye
        ([3, 0, -2], 0.7, False),  # its nearest point is 1/sqrt(2) from the edge at 45 degrees
        ([3, 0, -2], 0.72, True),
        ([-3, 0, -2], 0.72, True),
        ([0, 3, -2], 0.7, False),
        ([0, -3, -2], 0.72, True),
        ([9, 9, 9], 0.0, True),  # a plane
    ],
)
def test_what_is_in_sight(place: list[float], radius: float, seen: bool) -> None:
    assert in_sight(looking(), np.array([place], float), np.array([radius])).tolist() == [seen]


def test_a_picture_that_is_narrower_and_shifted() -> None:
    """Half as wide as high, its centre at 45 degrees to the right: from 26.6 to 56.3 degrees."""
    shifted = looking(frustum_width=0.05, frustum_center=0.1)
    rays = np.deg2rad([25.0, 28.0, 45.0, 55.0, 58.0])
    places = 4 * np.stack([np.sin(rays), 0 * rays, -np.cos(rays)], axis=1)
    assert in_sight(shifted, places, np.full(5, 0.01)).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_picture_is_the_same(camera: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        opengl.working_backend()
    except MissingDependency as missing:
        pytest.skip(missing.message)
    random = np.random.default_rng(1)
    kinds = ("sphere", "box", "capsule", "ellipsoid", "cylinder")
    geoms = "".join(
        f'<geom type="{kinds[i % 5]}" size="{" ".join(map(str, random.uniform(0.02, 0.2, 3)))}" '
        f'pos="{" ".join(map(str, random.uniform(-1.5, 1.5, 3)))}" euler="{i} {7 * i} {3 * i}" '
        f'rgba="{" ".join(map(str, random.uniform(0, 1, 3)))} {1 - i % 3 * 0.3}"/>'
        for i in range(120)
    )
    cameras = "".join(f'<camera name="{name}" {where}/>' for name, where in CAMERAS.items())
    floor = '<geom type="plane" size="0 0 1" pos="0 0 -1.5"/>'
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><worldbody><light pos='0 0 3'/>{floor}{cameras}{geoms}</worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = Renderer(model, camera, 64)
    counted: list[int] = []

    def counting(*known: Any) -> np.ndarray:
        found = in_sight(*known)
        counted.append(int(found.sum()))
        return found

    monkeypatch.setattr(opengl, "in_sight", counting)
    shown = renderer.render(data)
    monkeypatch.setattr(opengl, "in_sight", lambda cameras, places, radii: np.ones(len(radii), bool))
    np.testing.assert_array_equal(shown, renderer.render(data))
    renderer.close()
    assert 5 < counted[0] < 80, "some are seen, and not all"
    assert shown.std() > 10
