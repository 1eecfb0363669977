"""Depth by ray casting with ``mujoco.mj_multiRay``: needs no OpenGL and equals the rendered depth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.clouds.crop import Triple
from omp_cli.core.clouds.trees import MeshTrees

NOTHING = -1
"""Geom id of a ray that hits nothing (MuJoCo's own convention)."""
MARKER = -2
"""Geom id of a ray that hits a goal marker: a marker is a site, which MuJoCo draws but does not ray-cast."""
VISIBLE_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)
"""What MuJoCo's renderer draws by default."""
_HIDDEN_GROUP = 5


@dataclass(frozen=True)
class Marker:
    """A sphere that shows a goal: centre and radius in metres (world frame), colour as RGB in [0, 1]."""

    centre: Triple
    radius: float
    colour: Triple = (0.0, 0.8, 0.0)


@dataclass(frozen=True)
class Hits:
    """What M rays met.

    Attributes:
        distance: (M,) metres along the ray; infinite where nothing was hit.
        geom: (M,) MuJoCo geom id, ``MARKER`` or ``NOTHING``.
        marker: (M,) index of the marker where ``geom == MARKER``, else -1.
    """

    distance: NDArray[np.float64]
    geom: NDArray[np.int32]
    marker: NDArray[np.int32]


class RayCaster:
    """Casts a fixed bundle of rays from one point into a MuJoCo scene.

    Args:
        model: ``mujoco.MjModel``.
        origin: (3,) common starting point, metres, world frame.
        directions: (M, 3) unit vectors, world frame.
        hidden: bodies that rays pass through; their physics is untouched. Names that the model lacks are ignored.
        trees: improved as rays meet meshes; None leaves the model's as they are.
    """

    def __init__(
        self,
        model: Any,
        origin: NDArray[np.float64],
        directions: NDArray[np.float64],
        hidden: Iterable[str] = (),
        trees: MeshTrees | None = None,
    ) -> None:
        self._model = model
        self._origin = np.ascontiguousarray(origin, np.float64)
        self.directions = np.ascontiguousarray(directions, np.float64)
        self._hidden = geoms_of(model, hidden)
        self._trees = trees

    def cast(self, data: Any, markers: Sequence[Marker] = (), which: NDArray[np.intp] | None = None) -> Hits:
        """The nearest visible geometry or marker on every ray, in the present state of ``data`` (``mujoco.MjData``).

        With ``which`` (K,), on those rays alone: what one ray meets does not depend on the others.
        """
        import mujoco

        directions = self.directions if which is None else self.directions[which]
        found, reached = np.empty(len(directions), np.int32), np.empty(len(directions), np.float64)
        groups, of_bodies = self._model.geom_group, self._model.body_bvhadr
        before, of_bodies_before = groups[self._hidden].copy(), of_bodies.copy()
        groups[self._hidden] = _HIDDEN_GROUP  # visibility only: MuJoCo's collisions do not look at groups
        # Before MuJoCo 3.5 mj_multiRay skips geoms by bounds that are too tight (corners of a box, unrotated bodies)
        # and loses hits: up to 15 rays of 7000 here, 7 % in a scene of large boxes. A body without a bounding volume
        # is never skipped; that costs nothing measurable, because meshes have bounds of their own.
        of_bodies[:] = -1
        try:
            mujoco.mj_multiRay(
                self._model, data, self._origin, directions.ravel(), VISIBLE_GROUPS, 1, -1,
                found, reached, len(directions), mujoco.mjMAXVAL,
            )  # fmt: skip
        finally:
            groups[self._hidden] = before
            of_bodies[:] = of_bodies_before
        if self._trees is not None:
            self._trees.met(found)
        distance = np.where(found >= 0, reached, np.inf)
        marked = np.full(len(found), -1, np.int32)
        for index, marker in enumerate(markers):
            reach = sphere_distance(self._origin, directions, marker.centre, marker.radius)
            nearer = reach < distance
            distance[nearer] = reach[nearer]
            found[nearer] = MARKER
            marked[nearer] = index
        return Hits(distance, found, marked)

    def points(self, hits: Hits) -> NDArray[np.float64]:
        """World points (M, 3) of the hits; not finite where nothing was hit."""
        return self._origin + hits.distance[:, None] * self.directions


def geoms_of(model: Any, bodies: Iterable[str]) -> NDArray[np.intp]:
    """Ids of the geoms that hang directly on the named bodies; names that the model lacks are ignored."""
    names = set(bodies)
    ids = [body for body in range(model.nbody) if model.body(body).name in names]
    return np.flatnonzero(np.isin(model.geom_bodyid, ids))


def geoms_made_of(model: Any, materials: Iterable[str]) -> NDArray[np.intp]:
    """Ids of the geoms of the named materials; names that the model lacks are ignored."""
    names = set(materials)
    ids = [material for material in range(model.nmat) if model.mat(material).name in names]
    return np.flatnonzero(np.isin(model.geom_matid, ids))


def sphere_distance(
    origin: NDArray[np.float64], directions: NDArray[np.float64], centre: Triple, radius: float
) -> NDArray[np.float64]:
    """Distance (M,) along unit rays (M, 3) from ``origin`` to a sphere; infinite on a miss or from inside it."""
    to_centre = np.asarray(centre, np.float64) - origin
    # not a product of matrices: its rounding depends on how many rays there are, and a ray's point must not
    along = directions[:, 0] * to_centre[0] + directions[:, 1] * to_centre[1] + directions[:, 2] * to_centre[2]
    inside_root = along * along - (to_centre @ to_centre - radius * radius)
    distance = np.full(len(directions), np.inf)
    hit = inside_root >= 0.0
    near = along[hit] - np.sqrt(inside_root[hit])
    distance[hit] = np.where(near > 0.0, near, np.inf)
    return distance
