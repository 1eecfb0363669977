"""Ray casting against geometry worked out by hand, and against MuJoCo's own renderer where OpenGL works."""

from __future__ import annotations

import numpy as np
import pytest

from omp_cli.core.base.errors import MissingDependency
from omp_cli.core.clouds.opengl import working_backend
from omp_cli.core.clouds.raycast import MARKER, NOTHING, Marker, RayCaster, geoms_of, sphere_distance
from tests.clouds.scenes import first_hit, front, scene


def test_depth_is_that_of_floor_ball_and_cube() -> None:
    model, data = scene()
    camera = front()
    rays = camera.directions()
    hits = RayCaster(model, camera.position, rays, hidden=["wall"]).cast(data)
    expected = first_hit(camera.position, rays)
    assert np.array_equal(np.isfinite(expected), np.isfinite(hits.distance))
    met = np.isfinite(expected)
    assert np.allclose(hits.distance[met], expected[met], atol=1e-9)
    assert (hits.geom[~met] == NOTHING).all()
    named = {model.geom(int(g)).name for g in np.unique(hits.geom[met])}
    assert named == {"", "ball", "cube"}  # never the ghost: its group is not drawn


def test_no_hit_is_lost_against_casting_one_by_one() -> None:
    import mujoco

    model, data = scene()
    camera = front(96)
    rays = camera.directions()
    trees = model.body_bvhadr.copy()
    hits = RayCaster(model, camera.position, rays).cast(data)
    groups, geom = np.array([1, 1, 1, 0, 0, 0], np.uint8), np.zeros(1, np.int32)
    for ray, distance in zip(rays, hits.distance, strict=True):
        alone = mujoco.mj_ray(model, data, camera.position, ray, groups, 1, -1, geom)
        assert (np.isinf(distance) and alone < 0) or distance == pytest.approx(alone, abs=1e-12)
    assert np.array_equal(model.body_bvhadr, trees)


def test_points_lie_where_the_rays_end() -> None:
    model, data = scene()
    camera = front()
    caster = RayCaster(model, camera.position, camera.directions(), hidden=["wall"])
    hits = caster.cast(data)
    points = caster.points(hits)
    on_ball = hits.geom == model.geom("ball").id
    assert on_ball.sum() > 50
    assert np.allclose(np.linalg.norm(points[on_ball] - [0.0, 0.0, 0.5], axis=1), 0.2)
    assert np.allclose(points[hits.geom == 0][:, 2], 0.0, atol=1e-9)


def test_hiding_a_body_leaves_the_model_as_it_was() -> None:
    model, data = scene()
    camera = front()
    groups = model.geom_group.copy()
    wall = int(geoms_of(model, ["wall"])[0])
    seen = RayCaster(model, camera.position, camera.directions()).cast(data)
    unseen = RayCaster(model, camera.position, camera.directions(), ["wall", "no such body"]).cast(data)
    assert (seen.geom == wall).any()
    assert not (unseen.geom == wall).any()
    assert np.array_equal(model.geom_group, groups)


def test_a_marker_is_hit_where_nothing_is_in_front_of_it() -> None:
    model, data = scene()
    camera = front()
    caster = RayCaster(model, camera.position, camera.directions(), hidden=["wall"])
    bare = caster.cast(data)
    free = Marker((-0.5, 0.0, 0.5), 0.05)
    hits = caster.cast(data, [free])
    touched = hits.geom == MARKER
    assert touched.sum() > 4
    assert (hits.marker[touched] == 0).all()
    assert np.allclose(np.linalg.norm(caster.points(hits)[touched] - free.centre, axis=1), 0.05)
    assert (hits.distance[touched] < bare.distance[touched]).all()
    assert np.array_equal(hits.geom[~touched], bare.geom[~touched])
    behind_the_ball = caster.cast(data, [Marker((0.0, 0.3, 0.4), 0.05)])
    assert not (behind_the_ball.geom == MARKER).any()
    half_sunk = caster.cast(data, [Marker((-0.5, 0.0, 0.0), 0.1)])
    assert (caster.points(half_sunk)[half_sunk.geom == MARKER][:, 2] > 0.0).all()


def test_the_nearer_of_two_markers_wins() -> None:
    model, data = scene()
    camera = front()
    caster = RayCaster(model, camera.position, camera.directions(), hidden=["wall"])
    far, near = Marker((-0.5, 0.0, 0.5), 0.05), Marker((-0.45, -0.2, 0.57), 0.05)
    both = caster.cast(data, [far, near])
    alone = caster.cast(data, [near])
    assert (both.marker[alone.geom == MARKER] == 1).all()


def test_sphere_from_inside_and_behind_is_no_hit() -> None:
    rays = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    assert np.isinf(sphere_distance(np.zeros(3), rays, (0.0, 0.0, 0.0), 1.0)).all()
    ahead, behind = sphere_distance(np.zeros(3), rays, (3.0, 0.0, 0.0), 1.0)
    assert ahead == pytest.approx(2.0)
    assert np.isinf(behind)


def test_rays_and_opengl_see_the_same_depth() -> None:
    try:
        backend = working_backend()
    except MissingDependency as missing:
        pytest.skip(missing.message)
    import importlib

    import mujoco
    from mujoco import gl_context

    gl_context.GLContext = importlib.import_module(f"mujoco.{backend}").GLContext
    model, data = scene()
    camera = front(96)
    free = mujoco.MjvCamera()
    free.type = mujoco.mjtCamera.mjCAMERA_FREE
    back = camera.rotation[:, 2]
    free.distance = 1.0
    free.lookat[:] = camera.position - back
    free.azimuth = np.degrees(np.arctan2(-back[1], -back[0]))
    free.elevation = np.degrees(np.arcsin(-back[2]))
    model.vis.global_.fovy = camera.fovy
    with mujoco.Renderer(model, 96, 96) as renderer:
        renderer.enable_depth_rendering()
        renderer.update_scene(data, free)
        rendered = renderer.render()
    caster = RayCaster(model, camera.position, camera.directions())
    hits = caster.cast(data)
    met = np.isfinite(hits.distance)
    depth = -camera.to_camera(caster.points(hits)[met])[:, 2]
    error = np.abs(depth - rendered.reshape(-1)[met])
    assert np.median(error) < 1e-5
    assert (error > 0.01).mean() < 0.02  # silhouettes
