"""Pictures of a scene for people, by ray casting: no OpenGL, no display."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.clouds.camera import Camera
from omp_cli.core.clouds.raycast import Marker, RayCaster

_BACKGROUND = np.array([0.93, 0.94, 0.96])
_LIGHT = np.array([0.45, -0.35, 0.82])  # towards the light, world frame; normalised below
_AMBIENT = 0.45


class Painter:
    """Paints one scene from one camera.

    Args:
        model: ``mujoco.MjModel``.
        camera: an upright camera; its size is the picture's.
        hidden: bodies to leave out.
    """

    def __init__(self, model: Any, camera: Camera, hidden: Iterable[str] = ()) -> None:
        self.size = camera.size
        self._camera = camera
        self._colours = geom_colours(model)
        self._caster = RayCaster(model, camera.position, camera.directions(), hidden)
        self._light = _LIGHT / np.linalg.norm(_LIGHT)

    def paint(self, data: Any, markers: Sequence[Marker] = ()) -> NDArray[np.uint8]:
        """RGB picture (size, size, 3) of the present state of ``data``."""
        hits = self._caster.cast(data, markers)
        met = np.isfinite(hits.distance)
        points = np.where(met[:, None], self._caster.points(hits), 0.0)
        palette = np.concatenate([self._colours, np.array([m.colour for m in markers]).reshape(-1, 3)])
        surface = np.where(hits.marker >= 0, len(self._colours) + hits.marker, hits.geom)
        normals = self._normals(points, surface)
        facing = np.abs(np.einsum("ij,ij->i", normals, -self._caster.directions))
        lit = np.clip(normals @ self._light, 0.0, 1.0)
        shade = _AMBIENT + 0.25 * facing + 0.40 * lit
        colour = np.where(met[:, None], palette[surface] * shade[:, None], _BACKGROUND)
        return (np.clip(colour, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8).reshape(self.size, self.size, 3)

    def _normals(self, points: NDArray[np.float64], surface: NDArray[Any]) -> NDArray[np.float64]:
        """Unit normals (M, 3) that face the camera, from neighbouring points on the same surface."""
        grid = points.reshape(self.size, self.size, 3)
        label = surface.reshape(self.size, self.size)
        across = _difference(grid, label, axis=1)
        down = _difference(grid, label, axis=0)
        normal = np.cross(down, across).reshape(-1, 3)
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        towards = -self._caster.directions
        normal = np.where(length > 1e-12, normal / np.maximum(length, 1e-12), towards)
        return np.where(np.einsum("ij,ij->i", normal, towards)[:, None] < 0.0, -normal, normal)


def _difference(grid: NDArray[np.float64], label: NDArray[Any], axis: int) -> NDArray[np.float64]:
    """Along an axis, the step to a neighbour on the same surface: the shorter of the two, 0 if there is none."""
    step = np.diff(grid, axis=axis)
    same = np.diff(label, axis=axis) == 0
    length = np.where(same, np.einsum("ijk,ijk->ij", step, step), np.inf)
    pad = [(0, 0), (0, 0)]
    pad[axis] = (0, 1)
    after_length = np.pad(length, pad, constant_values=np.inf)
    after = np.pad(step, [*pad, (0, 0)])
    pad[axis] = (1, 0)
    before_length = np.pad(length, pad, constant_values=np.inf)
    before = np.pad(step, [*pad, (0, 0)])
    nearest = np.where((after_length <= before_length)[..., None], after, before)
    return np.where(np.isfinite(np.minimum(after_length, before_length))[..., None], nearest, 0.0)


def geom_colours(model: Any) -> NDArray[np.float64]:
    """RGB (geoms, 3) in [0, 1]: a geom's material, times the mean colour of its texture, or its own colour."""
    import mujoco

    role = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
    colours = np.array(model.geom_rgba[:, :3], np.float64)
    means: dict[int, NDArray[np.float64]] = {}
    for geom, material in enumerate(model.geom_matid):
        if material < 0:
            continue
        colours[geom] = model.mat_rgba[material, :3]
        texture = int(model.mat_texid[material, role])
        if texture >= 0:
            if texture not in means:
                means[texture] = _mean_colour(model, texture)
            colours[geom] *= means[texture]
    return colours


def _mean_colour(model: Any, texture: int) -> NDArray[np.float64]:
    channels = int(model.tex_nchannel[texture])
    start = int(model.tex_adr[texture])
    count = int(model.tex_height[texture]) * int(model.tex_width[texture]) * channels
    pixels = model.tex_data[start : start + count].reshape(-1, channels)[:, :3]
    return pixels.mean(axis=0) / 255.0
