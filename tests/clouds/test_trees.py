"""Trees of boxes over meshes: whole, shallow enough for MuJoCo, and rays meet the same points by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from omp_cli.core.clouds import trees
from omp_cli.core.clouds.raycast import Hits, RayCaster
from omp_cli.core.clouds.trees import MeshTrees, Tree, by_surface


def boxes(centres: NDArray[np.float64], half: float = 0.01) -> NDArray[np.float64]:
    return np.hstack([centres, np.full_like(centres, half)])


def check(tree: Tree, given: NDArray[np.float64]) -> None:
    """Every box is one leaf, with its own bounds; inner nodes hold their children and are reached from the root."""
    leaves = tree.leaf >= 0
    assert sorted(tree.leaf[leaves].tolist()) == list(range(len(given)))
    assert np.array_equal(tree.box[leaves], given[tree.leaf[leaves]])
    assert (tree.child[leaves] == -1).all()
    inner = np.flatnonzero(~leaves)
    assert sorted(tree.child[inner].ravel().tolist()) == list(range(1, len(tree.box)))
    for side in range(2):
        child = tree.child[inner, side]
        assert (tree.depth[child] == tree.depth[inner] + 1).all()
        apart = np.abs(tree.box[child, :3] - tree.box[inner, :3])
        assert (apart + tree.box[child, 3:] <= tree.box[inner, 3:]).all()


def surface(tree: Tree) -> float:
    """Half the surface of all boxes: in proportion to how many a ray meets."""
    x, y, z = 2 * tree.box[:, 3:].T
    return float((x * y + y * z + z * x).sum())


@pytest.mark.parametrize("count", [1, 2, 3, 700])
def test_a_tree_holds_every_box_once(count: int) -> None:
    given = boxes(np.random.default_rng(0).normal(size=(count, 3)))
    check(by_surface(given), given)


@pytest.mark.parametrize(
    "centres", [np.zeros((200, 3)), 4.0 ** -np.arange(400.0)[:, None] * np.ones(3)], ids=["one place", "ever closer"]
)
def test_no_tree_is_deeper_than_mujoco_walks(centres: NDArray[np.float64]) -> None:
    given = boxes(centres, half=0.0)
    tree = by_surface(given)
    check(tree, given)
    assert tree.depth.max() < 50


def test_boxes_that_lie_together_stay_together() -> None:
    draw = np.random.default_rng(0)
    places = draw.uniform(-1, 1, (20, 3))
    given = boxes(places[draw.integers(20, size=1000)] + draw.normal(scale=0.01, size=(1000, 3)), half=1e-3)
    halved = by_halves(given)
    check(halved, given)
    assert surface(by_surface(given)) < 0.7 * surface(halved)


def by_halves(given: NDArray[np.float64]) -> Tree:
    """As MuJoCo does: each node is parted at the middle of its boxes along its longest axis."""
    count = 2 * len(given) - 1
    tree = Tree(np.zeros((count, 6)), np.full((count, 2), -1), np.full(count, -1), np.zeros(count, int))  # type: ignore[arg-type]
    waiting, made = [(0, np.arange(len(given)))], 1
    while waiting:
        node, mine = waiting.pop()
        low, high = (given[mine, :3] - given[mine, 3:]).min(0), (given[mine, :3] + given[mine, 3:]).max(0)
        tree.box[node] = np.hstack([0.5 * (low + high), 0.5 * (high - low) + 1e-9 * (50 - tree.depth[node])])
        if len(mine) == 1:
            tree.leaf[node], tree.box[node] = mine[0], given[mine[0]]
            continue
        mine = mine[np.argsort(given[mine, np.argmax(high - low)])]
        tree.child[node] = made, made + 1
        tree.depth[made : made + 2] = tree.depth[node] + 1
        waiting += [(made, mine[: len(mine) // 2]), (made + 1, mine[len(mine) // 2 :])]
        made += 2
    return tree


def scene() -> tuple[Any, Any]:
    import mujoco

    points = np.random.default_rng(0).normal(size=(400, 3))
    points *= np.array([0.3, 0.2, 0.1]) / np.linalg.norm(points, axis=1, keepdims=True)
    text = " ".join(f"{value:.6f}" for value in points.ravel())
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><asset><mesh name="stone" vertex="{text}"/></asset><worldbody>'
        '<geom type="mesh" mesh="stone" euler="20 40 60"/><geom type="sphere" size="0.1" pos="0.2 0 0.2"/>'
        "</worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def test_a_mesh_gets_its_tree_when_rays_have_met_it_often_and_they_meet_the_same(monkeypatch: Any) -> None:
    model, data = scene()
    rays = np.random.default_rng(1).normal(size=(1000, 3)) * 0.15 + [0.0, 0.0, -1.0]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    origin = np.array([0.0, 0.0, 1.5])
    before: Hits = RayCaster(model, origin, rays).cast(data)
    on_mesh = int((before.geom == 0).sum())
    assert 300 < on_mesh < 1000
    own = model.bvh_child.copy()
    monkeypatch.setattr(trees, "_WORTH", 2 * on_mesh - 1)
    caster = RayCaster(model, origin, rays, trees=MeshTrees(model))
    caster.cast(data)
    assert np.array_equal(model.bvh_child, own)
    caster.cast(data)
    assert not np.array_equal(model.bvh_child, own)
    better = model.bvh_child.copy()
    after = caster.cast(data)
    assert np.array_equal(after.distance, before.distance)
    assert np.array_equal(after.geom, before.geom)
    assert np.array_equal(model.bvh_child, better)  # made once
