"""Farthest point sampling against brute force, filled clouds, and the Open3D backend."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, MissingDependency
from omp_cli.core.clouds import fps


def brute_force(points: NDArray[np.floating], k: int) -> list[int]:
    """The definition, one candidate at a time: the first of those whose distance to the chosen set is greatest."""
    chosen = [0]
    while len(chosen) < k:
        best, far = 0, -1.0
        for i, p in enumerate(np.asarray(points, np.float64)):
            near = min(float(((p - np.asarray(points[j], np.float64)) ** 2).sum()) for j in chosen)
            if near > far:
                best, far = i, near
        chosen.append(best)
    return chosen


def clouds() -> dict[str, NDArray[np.floating]]:
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), axis=-1).reshape(-1, 3)  # nothing but ties
    scattered = random.normal(size=(70, 3))
    return {
        "scattered": scattered,
        "float32": scattered.astype(np.float32),
        "grid": grid,
        "duplicates": np.concatenate([scattered[:12]] * 3),
        "one place": np.ones((9, 3)),
        "a line": np.arange(30.0)[:, None] * [1.0, 0.0, 0.0],
    }


@pytest.mark.parametrize("name", clouds())
def test_equals_brute_force(name: str) -> None:
    points = clouds()[name]
    k = min(40, len(points))
    assert fps.farthest_points(points, k).tolist() == brute_force(points, k)


def test_prefixes_are_samples_themselves() -> None:
    points = np.random.default_rng(1).normal(size=(300, 3))
    assert (fps.farthest_points(points, 100)[:37] == fps.farthest_points(points, 37)).all()
    assert fps.farthest_points(points, 1).tolist() == [0]


def test_covers_better_than_chance() -> None:
    random = np.random.default_rng(2)
    points = random.normal(size=(400, 3))

    def radius(chosen: NDArray[np.intp]) -> float:
        return float(np.linalg.norm(points[:, None] - points[None, chosen], axis=2).min(axis=1).max())

    assert radius(fps.farthest_points(points, 50)) < 0.7 * radius(random.permutation(400)[:50])


def test_enough_points_are_sampled_not_filled() -> None:
    points = np.random.default_rng(3).normal(size=(100, 3))
    cloud, filled = fps.sample(points, 40)
    assert filled == 0
    assert cloud.dtype == np.float32
    assert np.array_equal(cloud, points[fps.farthest_points(points, 40)].astype(np.float32))


@pytest.mark.parametrize("have", [32, 40, 63])
def test_missing_points_are_repeated_and_counted(have: int) -> None:
    points = np.random.default_rng(4).normal(size=(have, 3))
    cloud, filled = fps.sample(points, 64)
    assert filled == 64 - have
    assert cloud.shape == (64, 3)
    assert {tuple(p) for p in cloud} == {tuple(p) for p in points.astype(np.float32)}
    assert np.array_equal(cloud, fps.sample(points, 64)[0])
    assert np.array_equal(cloud[have:], cloud[: 64 - have])


@pytest.mark.parametrize("have", [40, 60, 300])
@pytest.mark.parametrize("first", [1, 30, 50, 64, 99])
def test_the_first_points_of_a_sample_are_those_of_the_whole_one(have: int, first: int) -> None:
    points = np.random.default_rng(6).normal(size=(have, 3))
    whole, filled = fps.sample(points, 64)
    part, also = fps.sample(points, 64, first=first)
    assert np.array_equal(part, whole[:first])
    assert also == filled


@pytest.mark.parametrize("have", [0, 31])
def test_more_than_half_missing_is_an_error(have: int) -> None:
    with pytest.raises(DataError, match=f"{have} points where 64 are wanted"):
        fps.sample(np.zeros((have, 3)), 64)


def test_open3d_gives_the_same_set() -> None:
    pytest.importorskip("open3d", exc_type=ImportError)
    random = np.random.default_rng(5)
    for count in (40, 513, 2000):
        points = random.normal(size=(count, 3)).astype(np.float32)
        k = min(512, count)
        ours, theirs = fps.sample(points, k)[0], fps.sample(points, k, "open3d")[0]
        assert {tuple(p) for p in ours} == {tuple(p) for p in theirs}


def test_open3d_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingDependency) as caught:
        fps.require("open3d")
    assert "pip install" in caught.value.hint
    assert "libusb" in caught.value.hint
    fps.require("numpy")
