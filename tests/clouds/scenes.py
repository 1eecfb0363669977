"""A small analytic scene: floor, ball, box, and a wall body that can be hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.clouds.camera import Camera, look_at

BALL = ((0.0, 0.0, 0.5), 0.2)
CUBE = ((0.5, 0.1, 0.1), 0.1)
XML = """
<mujoco>
  <asset><material name="wood" rgba="0.5 0.4 0.3 1"/></asset>
  <worldbody>
    <body name="table"><geom type="plane" size="3 3 0.1" material="wood"/></body>
    <body name="ball" pos="0 0 0.5"><geom name="ball" type="sphere" size="0.2" rgba="1 0 0 1"/></body>
    <body name="cube" pos="0.5 0.1 0.1"><geom name="cube" type="box" size="0.1 0.1 0.1" rgba="0 0 1 1"/></body>
    <body name="wall" pos="0 -0.6 0.3"><geom name="wall" type="box" size="1 0.02 0.3"/></body>
    <body name="ghost" pos="0 -1 0.5"><geom type="box" size="1 0.02 1" group="4"/></body>
  </worldbody>
</mujoco>
"""


def scene() -> tuple[Any, Any]:
    """Model and data of the scene, at rest."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(XML)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def front(size: int = 64) -> Camera:
    """A camera in front of the wall that looks at the ball from above."""
    return look_at((0.1, -2.0, 1.2), (0.0, 0.0, 0.4), 50.0, size)


def first_hit(origin: NDArray[np.float64], rays: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances (M,) to the nearest of floor, ball and cube, worked out by hand; infinite where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = np.where(rays[:, 2] < 0, -origin[2] / rays[:, 2], np.inf)
        floor = np.where(np.abs(origin + floor[:, None] * rays)[:, :2].max(axis=1) <= 3.0, floor, np.inf)
        to_ball = origin - np.array(BALL[0])
        b = rays @ to_ball
        root = b * b - (to_ball @ to_ball - BALL[1] ** 2)
        ball = np.where(root >= 0, -b - np.sqrt(np.maximum(root, 0.0)), np.inf)
        low = (np.array(CUBE[0]) - CUBE[1] - origin) / rays
        high = (np.array(CUBE[0]) + CUBE[1] - origin) / rays
        enter, leave = np.minimum(low, high).max(axis=1), np.maximum(low, high).min(axis=1)
        cube = np.where(leave >= np.maximum(enter, 0.0), enter, np.inf)
    return np.minimum(np.minimum(floor, ball), cube)
