"""Trees of boxes over the triangles of a mesh, by which MuJoCo finds what a ray meets.

MuJoCo halves a mesh's triangles at the middle of their order along the longest axis. By the surface-area heuristic
(Wald, "On fast construction of SAH-based bounding volume hierarchies", 2007) a ray meets a fifth as many boxes of a
robot's hand. The boxes of single triangles stay as they are, so the same triangles are tested and the same points met.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BINS = 16
"""Planes per axis and node, plus one, among which a node is parted."""
_MARGIN = 1e-9
"""Metres by which an inner box is larger than those below it: above rounding."""
_MAX_DEPTH = 48
"""MuJoCo walks trees of at most 50 levels."""
_WORTH = 10_000
"""Hits after which a mesh gets its tree: it takes 0.2 s for 12 000 triangles, and a hit then takes 20 us less."""

_NEVER = np.iinfo(np.int64).min
"""In the place of a geom's hits: its mesh has its tree, or it is no mesh."""

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Tree:
    """A tree over F boxes, 2 F - 1 nodes, the first of which is its root.

    Attributes:
        box: (2F - 1, 6) centre and half size.
        child: (2F - 1, 2) nodes; -1 where there is none.
        leaf: (2F - 1,) which of the F boxes a node is; -1 for inner nodes.
        depth: (2F - 1,) of a node, 0 for the root.
    """

    box: Boxes
    child: NDArray[np.int32]
    leaf: NDArray[np.int32]
    depth: NDArray[np.int32]


class MeshTrees:
    """Gives the meshes of a model better trees, each when rays have met it often enough to pay for that.

    Bodies, contacts and what rays meet are not touched.

    Args:
        model: ``mujoco.MjModel``.
    """

    def __init__(self, model: Any) -> None:
        import mujoco

        self._model = model
        is_mesh = model.geom_type == mujoco.mjtGeom.mjGEOM_MESH
        self._mesh = model.geom_dataid.copy()
        self._met = np.where(is_mesh, 0, _NEVER)

    def met(self, geom: NDArray[np.int32]) -> None:
        """Take note of the geoms (M,) that rays have met; ids below 0 are none."""
        self._met += np.bincount(geom[geom >= 0], minlength=len(self._met))
        for mesh in np.unique(self._mesh[self._met > _WORTH]):
            self._improve(int(mesh))
            self._met[self._mesh == mesh] = _NEVER

    def _improve(self, mesh: int) -> None:
        model = self._model
        nodes = slice(model.mesh_bvhadr[mesh], model.mesh_bvhadr[mesh] + model.mesh_bvhnum[mesh])
        is_leaf = model.bvh_nodeid[nodes] >= 0
        faces = model.bvh_nodeid[nodes][is_leaf]
        tree = by_surface(model.bvh_aabb[nodes][is_leaf])
        model.bvh_aabb[nodes], model.bvh_child[nodes], model.bvh_depth[nodes] = tree.box, tree.child, tree.depth
        model.bvh_nodeid[nodes] = np.where(tree.leaf >= 0, faces[tree.leaf], -1)


def by_surface(boxes: Boxes) -> Tree:
    """The tree over boxes (F, 6), centre and half size, by the surface-area heuristic; level by level."""
    low, high = boxes[:, :3] - boxes[:, 3:], boxes[:, :3] + boxes[:, 3:]
    count = 2 * len(boxes) - 1
    tree = Tree(
        np.zeros((count, 6)), np.full((count, 2), -1, np.int32), np.full(count, -1, np.int32), np.zeros(count, np.int32)
    )
    order = np.arange(len(boxes))  # of the boxes, node by node
    nodes, sizes = np.zeros(1, np.int64), np.array([len(boxes)])
    made, depth = 1, 0
    while len(nodes):
        tree.depth[nodes] = depth
        first = np.cumsum(sizes) - sizes
        single = sizes == 1
        tree.leaf[nodes[single]] = order[first[single]]
        tree.box[nodes[single]] = boxes[order[first[single]]]
        order = order[np.repeat(~single, sizes)]
        nodes, sizes = nodes[~single], sizes[~single]
        if not len(nodes):
            break
        first = np.cumsum(sizes) - sizes
        lowest, highest = np.minimum.reduceat(low[order], first), np.maximum.reduceat(high[order], first)
        halves = 0.5 * (highest - lowest) + _MARGIN * (_MAX_DEPTH + 1 - depth)
        tree.box[nodes] = np.hstack([0.5 * (lowest + highest), halves])
        halved = depth + np.ceil(np.log2(sizes)) >= _MAX_DEPTH
        second = _second_half(boxes[order, :3], low[order], high[order], sizes, first, halved)
        node = np.repeat(np.arange(len(nodes)), sizes)
        parts = 2 * node + second
        order = order[np.argsort(parts, kind="stable")]
        sizes = np.bincount(parts, minlength=2 * len(nodes))
        children = made + np.arange(2 * len(nodes))
        tree.child[nodes] = children.reshape(-1, 2)
        made += len(children)
        nodes, depth = children, depth + 1
    return tree


def _second_half(
    centres: Boxes,
    low: Boxes,
    high: Boxes,
    sizes: NDArray[np.int64],
    first: NDArray[np.int64],
    halved: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Which of the boxes (M, 3) of S nodes, node by node, go to the second child: those beyond the best plane.

    A node is ``halved`` by count where the tree may not grow deeper, and where its boxes have one centre.
    """
    node = np.repeat(np.arange(len(sizes)), sizes)
    least, most = np.minimum.reduceat(centres, first), np.maximum.reduceat(centres, first)
    width = np.where(most > least, most - least, 1.0)
    bins = np.minimum(((centres - least[node]) / width[node] * _BINS).astype(np.int64), _BINS - 1)
    cost = np.stack([_cost(node * _BINS + bins[:, axis], low, high, len(sizes)) for axis in range(3)], axis=1)
    cost = cost.reshape(len(sizes), -1)
    best = cost.argmin(axis=1)
    axis, plane = np.divmod(best, _BINS - 1)
    beyond = bins[np.arange(len(bins)), axis[node]] > plane[node]
    halved = halved | np.isinf(cost[np.arange(len(sizes)), best])
    rank = np.arange(len(node)) - first[node]
    return np.where(halved[node], rank >= sizes[node] // 2, beyond)


def _cost(key: NDArray[np.int64], low: Boxes, high: Boxes, count: int) -> NDArray[np.float64]:
    """Of each plane between bins, (S, bins - 1): boxes times surface on both sides; infinite where a side is empty.

    ``key`` (M,) is node times bins plus bin.
    """
    order = np.argsort(key, kind="stable")
    number = np.bincount(key, minlength=count * _BINS)
    found = np.flatnonzero(number)
    start = (np.cumsum(number) - number)[found]
    lowest, highest = np.full((count * _BINS, 3), np.inf), np.full((count * _BINS, 3), -np.inf)
    lowest[found], highest[found] = np.minimum.reduceat(low[order], start), np.maximum.reduceat(high[order], start)
    shape = (count, _BINS, 3)
    below = _surface(*_grown(lowest.reshape(shape), highest.reshape(shape)))[:, :-1]
    above = _surface(*_grown(lowest.reshape(shape)[:, ::-1], highest.reshape(shape)[:, ::-1]))[:, -2::-1]
    upto = np.cumsum(number.reshape(count, _BINS), axis=1)
    before, after = upto[:, :-1], upto[:, -1:] - upto[:, :-1]
    return np.where((before > 0) & (after > 0), before * below + after * above, np.inf)


def _grown(low: Boxes, high: Boxes) -> tuple[Boxes, Boxes]:
    """Boxes around the first, the first two, ... bins."""
    return np.minimum.accumulate(low, axis=1), np.maximum.accumulate(high, axis=1)


def _surface(low: Boxes, high: Boxes) -> NDArray[np.float64]:
    """Half the surface of boxes; 0 for empty ones."""
    x, y, z = np.moveaxis(np.where(high >= low, high - low, 0.0), -1, 0)
    return x * y + y * z + z * x
