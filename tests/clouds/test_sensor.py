"""The cloud sensor in both frames, and the picture for people."""

from __future__ import annotations

import numpy as np
import pytest

from omp_cli.core.base.config import sources_of, validated
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.clouds.bounds import Bounds
from omp_cli.core.clouds.camera import Camera
from omp_cli.core.clouds.crop import Box
from omp_cli.core.clouds.fovea import thinned
from omp_cli.core.clouds.picture import Painter
from omp_cli.core.clouds.raycast import MARKER, Marker, RayCaster, geoms_of
from omp_cli.core.clouds.sensor import DP3_BOX, DP3_ROTATION, CloudConfig, CloudSensor, RobotBodies
from tests.clouds.scenes import front, scene

BOX = Box((-0.4, -0.4, 0.0), (0.8, 0.4, 0.9))


ROBOT = RobotBodies(arm=("ball",), gripper=("cube",))


def sensor(config: CloudConfig, box: Box = BOX, camera: Camera | None = None) -> tuple[CloudSensor, object]:
    model, data = scene()
    return CloudSensor(model, camera or front(config.size), box, config, ["wall"], ["wood"], ROBOT), data


def test_cloud_lies_on_the_things_inside_the_crop() -> None:
    eye, data = sensor(CloudConfig(points=256))
    cloud = eye.capture(data)
    assert cloud.shape == (256, 3)
    assert cloud.dtype == np.float32
    on_ball = np.abs(np.linalg.norm(cloud - [0.0, 0.0, 0.5], axis=1) - 0.2) < 1e-6
    on_cube = np.abs(np.abs(cloud - [0.5, 0.1, 0.1]).max(axis=1) - 0.1) < 1e-6
    assert (on_ball | on_cube).all()
    assert on_ball.any()
    assert on_cube.any()
    assert eye.filled == 0
    assert np.array_equal(cloud, eye.capture(data))


def test_casting_only_what_can_meet_the_crop_changes_nothing() -> None:
    eye, data = sensor(CloudConfig(points=64))
    points, _ = eye.cropped(data)
    everything, _ = CloudSensor(
        scene()[0], front(84), Box((-9, -9, -9), (9, 9, 9)), CloudConfig(), ["wall"], ["wood"]
    ).cropped(data)
    assert np.array_equal(points, everything[BOX.contains(everything)])


@pytest.mark.parametrize("dropped", [["wood"], []])
def test_rays_that_are_left_out_would_have_met_nothing_that_is_kept(dropped: list[str]) -> None:
    model, data = scene()
    camera, markers = front(84), [Marker((-0.3, -0.2, 0.3), 0.05)]
    box = Box((-0.4, -0.4, -0.1), (0.8, 0.4, 0.9))  # the floor, a plane without bounds, lies in it
    points, geom = CloudSensor(model, camera, box, CloudConfig(), ["wall"], dropped).cropped(data, markers)
    caster = RayCaster(model, camera.position, camera.directions(), ["wall"])
    hits = caster.cast(data, markers)
    everything = caster.points(hits)
    keep = box.contains(np.nan_to_num(everything, posinf=9.0, neginf=9.0))
    keep &= ~np.isin(hits.geom, geoms_of(model, ["table"])) | (not dropped)
    assert np.array_equal(geom, hits.geom[keep])
    assert np.array_equal(points, everything[keep])
    assert len(np.unique(geom)) == (3 if dropped else 4)


def test_a_long_thing_is_looked_for_only_where_it_lies_in_the_crop() -> None:
    import mujoco

    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><geom type="box" size="2 0.05 0.05" pos="0 0 0.5" euler="0 0 30"/></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    camera = front(84)
    directions = camera.directions()
    nothing = np.zeros(0, np.intp)
    rays = {}
    for name, low in {"beside": 0.6, "through": 0.4}.items():
        bounds = Bounds(model, camera.position, Box((-0.3, -0.3, low), (0.3, 0.3, 0.9)), nothing)
        assert bounds.meet(data, [], directions).all()  # its sphere is two metres wide
        rays[name] = bounds.meet(data, [], directions, closely=True)
    assert not rays["beside"].any()
    assert 0 < rays["through"].sum() < len(directions) / 2


@pytest.mark.parametrize(("robot", "without"), [("gripper", ["ball"]), ("hidden", ["ball", "cube"])])
def test_links_are_left_out_and_still_stop_rays(robot: str, without: list[str]) -> None:
    markers = [Marker((0.0, 0.3, 0.55), 0.1)]  # half behind the ball
    shown, data = sensor(CloudConfig())
    points, geom = shown.cropped(data, markers)
    links = np.isin(geom, geoms_of(scene()[0], without))
    left, theirs = sensor(CloudConfig(robot=robot))[0].cropped(data, markers)
    assert 0 < links.sum() < len(points)
    assert np.array_equal(left, points[~links])
    assert np.array_equal(theirs, geom[~links])
    assert (theirs == MARKER).any()


def test_hand_and_objects_out_of_sight_do_not_end_an_episode() -> None:
    import mujoco

    model, data = scene()
    camera = front(84)
    eye, shown = (
        CloudSensor(model, camera, BOX, CloudConfig(points=64, robot=robot), ["wall"], ["wood"], ROBOT)
        for robot in ("gripper", "shown")
    )
    whole = shown.capture(data)
    assert not np.array_equal(eye.capture(data), whole)
    assert eye.points_on == {"gripper": len(eye.cropped(data)[0])}
    model.body("cube").pos[:] = [0.5, 3.0, 0.1]
    mujoco.mj_forward(model, data)
    assert len(eye.cropped(data)[0]) == 0
    assert np.array_equal(eye.capture(data), shown.capture(data))
    assert eye.points_on["arm"] == len(shown.cropped(data)[0])
    fresh = CloudSensor(model, camera, BOX, CloudConfig(points=64, robot="gripper"), ["wall"], ["wood"], ROBOT)
    with pytest.raises(DataError) as caught:  # not lost for a while, but never fit: the setting is wrong
        fresh.capture(data)
    assert "--fovea" in caught.value.hint


@pytest.mark.parametrize("robot", ["shown", "gripper"])
def test_refined_points_are_those_of_the_finer_camera(robot: str) -> None:
    markers = [Marker((-0.3, -0.2, 0.3), 0.05)]
    eye, data = sensor(CloudConfig(points=2048, camera_size=40, fovea=3, robot=robot))
    plain, _ = sensor(CloudConfig(points=2048, camera_size=120, robot=robot))
    points, geom = eye.cropped(data, markers)
    everything, of_all = plain.cropped(data, markers)
    where = {point.tobytes(): thing for point, thing in zip(everything, of_all, strict=True)}
    assert all(where[point.tobytes()] == thing for point, thing in zip(points, geom, strict=True))
    # none is lost: what the finer camera sees of a thing is in a pixel that shows the thing, or beside one
    assert len(points) == len(everything)
    coarse, _ = sensor(CloudConfig(points=256, camera_size=40, robot=robot))
    assert len(points) > 8 * len(coarse.cropped(data, markers)[0])


def test_a_marker_that_no_coarse_ray_meets_is_seen() -> None:
    tiny = [Marker((-0.3, -0.2, 0.3), 0.012)]
    coarse, data = sensor(CloudConfig(camera_size=20))
    assert not (coarse.cropped(data, tiny)[1] == MARKER).any()
    points, geom = sensor(CloudConfig(camera_size=20, fovea=8))[0].cropped(data, tiny)
    finer, _ = sensor(CloudConfig(camera_size=160))
    assert (geom == MARKER).sum() == (finer.cropped(data, tiny)[1] == MARKER).sum() >= 3
    assert np.allclose(np.linalg.norm(points[geom == MARKER] - tiny[0].centre, axis=1), 0.012, atol=1e-9)


def test_only_large_things_are_thinned_and_first_beside_them() -> None:
    things = np.repeat(np.array([4, 1, -1, 9, -9, 4, -4, 0], np.int32), [500, 20, 10, 90, 200, 400, 300, 5])
    kept = thinned(things, 405)
    counts = {t: int((things[kept] == t).sum()) for t in np.unique(things).tolist()}
    assert counts == {-9: 95, -4: 0, -1: 10, 0: 5, 1: 20, 4: 185, 9: 90}
    assert np.array_equal(kept, np.unique(kept))
    steps = np.diff(np.searchsorted(np.flatnonzero(things == 4), kept[things[kept] == 4]))
    assert set(steps.tolist()) == {4, 5}
    assert np.array_equal(thinned(things, len(things)), np.arange(len(things)))
    assert len(thinned(things, 2)) == 4  # never nothing of a thing


def test_a_scene_full_of_points_costs_so_many_rays() -> None:
    eye, data = sensor(CloudConfig(points=64, camera_size=100, fovea=8))
    points, geom = eye.cropped(data)
    by_thing = np.unique(geom, return_counts=True)[1]
    assert len(by_thing) == 2
    assert 900 < len(points) <= 1024
    assert by_thing.min() > 400  # half of the rays each, some of the one's next to the other
    assert np.array_equal(eye.capture(data), eye.capture(data))


def test_settings_younger_than_data_stay_out_of_their_recipes() -> None:
    before = {"points": 64, "camera_size": None, "frame": "world", "fps_backend": "numpy"}
    assert CloudConfig(points=64).model_dump(mode="json") == before
    young = CloudConfig(points=64, robot="gripper", fovea=4)
    assert young.model_dump(mode="json") == before | {"robot": "gripper", "fovea": 4}
    assert CloudConfig.model_validate(young.model_dump(mode="json")) == young
    assert CloudConfig.model_validate(before) == CloudConfig(points=64, robot="shown", fovea=1)
    assert sources_of(CloudConfig(), {})["robot"] == {"value": "shown", "source": "default"}


def test_a_marker_on_the_floor_of_the_crop_is_kept_whole() -> None:
    eye, data = sensor(CloudConfig(points=64), Box((-0.4, -0.4, 0.03), (0.8, 0.4, 0.9)))
    points, geom = eye.cropped(data, [Marker((-0.3, -0.2, 0.0), 0.05)])
    assert (points[geom == MARKER][:, 2] < 0.03).any()
    assert (points[geom != MARKER][:, 2] > 0.03).all()


def test_time_and_filling_are_counted() -> None:
    eye, data = sensor(CloudConfig(points=100, camera_size=42))
    have = len(eye.cropped(data)[0])
    assert 50 <= have < 100
    cloud = eye.capture(data)
    assert eye.filled == 100 - have
    assert len(np.unique(cloud, axis=0)) == have
    assert set(eye.seconds) == {"rays", "crop", "fps"}
    assert all(s > 0 for s in eye.seconds.values())
    assert eye.frames == 1


def test_too_few_points_name_the_camera_size() -> None:
    eye, data = sensor(CloudConfig(points=2048, camera_size=40))
    with pytest.raises(DataError) as caught:
        eye.capture(data)
    assert "40" in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, 84), ({"points": 100}, 84), ({"points": 513}, 128), ({"points": 1024}, 128), ({"points": 4096}, 256),
        ({"points": 4096, "fovea": 4}, 84), ({"points": 513, "fovea": 4, "camera_size": 64}, 64),
        ({"camera_size": 50}, 50), ({"frame": "dp3"}, 128), ({"frame": "dp3", "points": 1024}, 128),
    ],
)  # fmt: skip
def test_the_camera_grows_with_the_cloud(settings: dict[str, object], size: int) -> None:
    assert CloudConfig(**settings).size == size  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        {"points": 0}, {"camera_size": 1}, {"frame": "table"}, {"fps_backend": "magic"}, {"robot": "arm"},
        {"fovea": 0}, {"fovea": 3, "frame": "dp3"}, {"fovea": 16, "camera_size": 129},
    ],
)  # fmt: skip
def test_bad_settings_are_usage_errors(bad: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        validated(CloudConfig, bad)


def test_dp3_rotation_has_the_published_numbers() -> None:
    published = [[0.9925, 0.0, -0.1219], [0.1070, 0.4787, 0.8714], [0.0583, -0.8780, 0.4751]]
    assert np.allclose(DP3_ROTATION, published, atol=1e-4)
    assert DP3_BOX.low == (-0.5, -1.5, -0.795)
    assert DP3_BOX.high == (1.0, -0.4, 100.0)


def test_dp3_points_are_the_depth_seen_through_pixel_corners() -> None:
    model, data = scene()
    camera = front(40)
    box = Box((-9, -9, -9), (9, 9, 9))
    config = CloudConfig(points=64, camera_size=40, frame="dp3")
    ours, _ = CloudSensor(model, camera, box, config).cropped(data)
    # step by step as the public pipelines do it: depth image, pinhole with cx = W / 2 and integer pixels, rotation
    world, geom = CloudSensor(model, camera, box, CloudConfig(points=64, camera_size=40)).cropped(data)
    seen = camera.to_camera(world)
    row = np.round(-seen[:, 1] / -seen[:, 2] * camera.focal + 20 - 0.5)
    column = np.round(seen[:, 0] / -seen[:, 2] * camera.focal + 20 - 0.5)
    depth = -seen[:, 2]
    x, y = (column - 20) * depth / camera.focal, (row - 20) * depth / camera.focal
    expected = np.stack([x, -y, -depth], axis=1) @ DP3_ROTATION.T
    assert len(geom) == len(ours)
    assert np.allclose(ours, expected, atol=1e-9)


def test_picture_is_upright_coloured_and_shows_the_marker() -> None:
    model, data = scene()
    for size in (64, 65):
        painter = Painter(model, front(size), ["wall"])
        picture = painter.paint(data, [Marker((-0.5, 0.0, 0.5), 0.08, (0.0, 1.0, 0.0))])
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8
        red, green, blue = (picture[..., i].astype(int) for i in range(3))
        ball, marker, cube = red - green - blue > 40, green - red - blue > 40, blue - red - green > 40
        assert all(mask.sum() > 8 for mask in (ball, marker, cube))
        rows, columns = np.nonzero(ball)
        assert np.nonzero(cube)[0].mean() > rows.mean()  # the cube lies on the floor, below the ball
        assert np.nonzero(cube)[1].mean() > columns.mean() > np.nonzero(marker)[1].mean()
        assert picture[0].mean() > picture[-1].mean()  # bright sky above, wood below
