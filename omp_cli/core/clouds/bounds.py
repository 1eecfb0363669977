"""Which rays can meet something that a cloud keeps: bounding spheres of geoms and markers against rays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.clouds.crop import Box
from omp_cli.core.clouds.raycast import VISIBLE_GROUPS, Marker

_MARGIN = 1e-6
"""Metres added to every radius: far above rounding, far below anything seen."""


class Bounds:
    """The things whose points a cloud keeps, as spheres around them.

    A ray that meets none of the spheres can only hit what is left out anyway, so leaving such rays out changes no
    cloud; most rays are of that kind once the table and the arm are left out.

    Args:
        model: ``mujoco.MjModel``.
        origin: (3,) where all rays begin, metres, world frame.
        box: the crop, world frame; what lies outside it is not kept.
        left_out: (G,) ids of the geoms whose points are left out or that rays pass through.
    """

    def __init__(self, model: Any, origin: NDArray[np.float64], box: Box, left_out: NDArray[np.intp]) -> None:
        kept = VISIBLE_GROUPS[np.clip(model.geom_group, 0, len(VISIBLE_GROUPS) - 1)] > 0
        kept[left_out] = False
        boundless = model.geom_rbound <= 0.0  # planes
        self._geoms, self._planes = np.flatnonzero(kept & ~boundless), np.flatnonzero(kept & boundless)
        self._radii = model.geom_rbound[self._geoms] + _MARGIN
        self._centres, self._halves = np.split(model.geom_aabb[self._geoms], 2, axis=1)
        self._origin = origin
        self._low, self._high = np.array(box.low), np.array(box.high)
        self._corners = np.array(list(product(*zip(box.low, box.high, strict=True))))

    def meet(
        self, data: Any, markers: Sequence[Marker], directions: NDArray[np.float64], closely: bool = False
    ) -> NDArray[np.bool_]:
        """Which of the rays along the unit ``directions`` (M, 3) can hit what is kept: (M,).

        ``closely`` bounds every geom by the part of its box that lies within the crop: a long thing may reach into it
        nowhere near its middle, and one beside it not at all.
        """
        if self._a_plane_cuts_the_box(data):
            return np.ones(len(directions), np.bool_)
        centres = data.geom_xpos[self._geoms]
        outside = np.maximum(self._low - centres, 0.0) + np.maximum(centres - self._high, 0.0)
        near = np.einsum("ij,ij->i", outside, outside) <= self._radii**2
        things = np.column_stack([centres, self._radii])[near]
        if closely:
            things = self._closer(data, things, near)
        goals = [np.array([[*marker.centre, marker.radius + _MARGIN]]) for marker in markers]
        return _meets(directions, np.concatenate([things, *goals]), self._origin)

    def _closer(self, data: Any, spheres: NDArray[np.float64], near: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The spheres (G, 4), or those around what of the geoms' boxes lies in the crop, where these are smaller."""
        turns = data.geom_xmat[self._geoms[near]].reshape(-1, 3, 3)
        centres = spheres[:, :3] + np.einsum("gij,gj->gi", turns, self._centres[near])
        halves = np.einsum("gij,gj->gi", np.abs(turns), self._halves[near]) + _MARGIN
        low, high = np.maximum(centres - halves, self._low), np.minimum(centres + halves, self._high)
        radii = 0.5 * np.linalg.norm(high - low, axis=1) + _MARGIN
        clipped = np.column_stack([0.5 * (low + high), radii])
        closer = np.where((radii < spheres[:, 3])[:, None], clipped, spheres)
        return closer[(low <= high).all(axis=1)]

    def _a_plane_cuts_the_box(self, data: Any) -> bool:
        for plane in self._planes:
            normal = data.geom_xmat[plane].reshape(3, 3)[:, 2]
            height = (self._corners - data.geom_xpos[plane]) @ normal
            if height.min() <= _MARGIN and height.max() >= -_MARGIN:
                return True
        return False


def _meets(
    directions: NDArray[np.float64], spheres: NDArray[np.float64], origin: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which of the unit rays (K, 3) from ``origin`` meet one of the spheres (G, 4): centre and radius."""
    towards = spheres[:, :3] - origin
    # the part of a ray's direction that points to the centre decides: at least as much as the tangent to the sphere has
    square = np.einsum("ij,ij->i", towards, towards) - spheres[:, 3] ** 2
    tangent = np.where(square > 0.0, np.sqrt(np.maximum(square, 0.0)), -np.inf)
    return np.any(directions @ towards.T >= tangent, axis=1)
