"""Rotations in numbers that jump nowhere: against SciPy's, by hand, and where one way of writing them jumps."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation as Reference

from omp_cli.core.rotations import Continuous, mean_of, nearest
from omp_cli.core.spec import Rotation, RotationKind, Spec

PI = np.pi
WRITTEN = {
    "axis-angle": Reference.as_rotvec,
    "euler": lambda rotation: rotation.as_euler("xyz"),
    "quaternion": Reference.as_quat,
    "quaternion-wxyz": lambda rotation: np.roll(rotation.as_quat(), 1, -1),
}
NEAR: dict[RotationKind, tuple[float, ...]] = {
    "quaternion": (0.0, 0.0, 0.0, 1.0),
    "quaternion-wxyz": (1.0, 0.0, 0.0, 0.0),
}


def one(kind: RotationKind, first: int = 0, **more: Any) -> Rotation:
    return Rotation(first=first, kind=kind, **{"near": NEAR.get(kind, ()), **more})


def there_and_back(rotation: Rotation, values: np.ndarray) -> np.ndarray:
    continuous = Continuous([rotation], values.shape[-1])
    return continuous.inverse(continuous(torch.from_numpy(values))).numpy()


@pytest.mark.parametrize("kind", list(WRITTEN))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_six_numbers_are_the_first_two_rows_of_the_matrix(kind: RotationKind, dtype: type) -> None:
    rotations = Reference.random(500, random_state=0)
    values = WRITTEN[kind](rotations).astype(dtype)
    found = Continuous([one(kind)], values.shape[1])(torch.from_numpy(values)).numpy()
    tolerance = 1e-12 if dtype is np.float64 else 1e-5
    np.testing.assert_allclose(found.reshape(-1, 2, 3), rotations.as_matrix()[:, :2], atol=tolerance)
    back = nearest(there_and_back(one(kind), values), values, [one(kind)])
    np.testing.assert_allclose(back, values, atol=tolerance)


def test_by_hand() -> None:
    """A quarter of a turn about x, written in each way; half a turn of a joint."""
    rows, half = [1, 0, 0, 0, 0, -1], np.sqrt(0.5)
    cases: list[tuple[RotationKind, list[float], list[float]]] = [
        ("axis-angle", [PI / 2, 0, 0], rows),
        ("euler", [PI / 2, 0, 0], rows),
        ("quaternion", [half, 0, 0, half], rows),
        ("quaternion", [-half, 0, 0, -half], rows),
        ("quaternion-wxyz", [half, half, 0, 0], rows),
        ("angle", [PI], [-1, 0]),
        ("angle", [-PI], [-1, 0]),
    ]
    for kind, values, expected in cases:
        found = Continuous([one(kind)], len(values))(torch.tensor(values, dtype=torch.float64))
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_degrees() -> None:
    values = np.array([[10.0, -80.0, 170.0], [-179.0, 20.0, 5.0]])
    rotation = one("euler", degrees=True)
    found = Continuous([rotation], 3)(torch.from_numpy(values)).numpy()
    expected = Reference.from_euler("xyz", values, degrees=True).as_matrix()[:, :2].reshape(-1, 6)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(there_and_back(rotation, values), values, atol=1e-9)


def test_what_lies_between_stays_in_its_place() -> None:
    """Two arms with a gripper each, as an action has them."""
    values = np.arange(14.0)[None] / 10
    rotations = [one("axis-angle", 3), one("axis-angle", 10)]
    continuous = Continuous(rotations, 14)
    learned = continuous(torch.from_numpy(values)).numpy()[0]
    assert learned.shape == (20,)
    np.testing.assert_array_equal(learned[[0, 1, 2, 9, 10, 11, 12, 19]], values[0, [0, 1, 2, 6, 7, 8, 9, 13]])
    np.testing.assert_allclose(continuous.inverse(torch.from_numpy(learned)).numpy(), values[0], atol=1e-12)


def test_where_the_angle_passes_pi_only_the_three_numbers_jump() -> None:
    """A hand that points down, turned on: the axis flips, the two rows hardly move."""
    about_x = np.stack([np.linspace(3.0, 3.3, 31), *np.zeros((2, 31))], axis=1)
    written = there_and_back(one("axis-angle"), about_x)
    assert np.abs(np.diff(written[:, 0])).max() > 6
    assert np.abs(np.diff(Continuous([one("axis-angle")], 3)(torch.from_numpy(about_x)).numpy(), axis=0)).max() < 0.011


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, 1e-4, PI - 1e-4, PI - 1e-7, PI])
def test_small_angles_and_half_turns(angle: float) -> None:
    axes = np.random.default_rng(0).normal(size=(200, 3))
    values = (angle * axes / np.linalg.norm(axes, axis=1, keepdims=True)).astype(np.float32)
    back = nearest(there_and_back(one("axis-angle"), values), values, [one("axis-angle")])
    np.testing.assert_allclose(back, values, atol=2e-6)


def test_bent_rows_are_gram_and_schmidts() -> None:
    bent = np.random.default_rng(1).normal(size=(50, 6))
    continuous = Continuous([one("quaternion")], 4)
    straight = continuous(continuous.inverse(torch.from_numpy(bent))).numpy()
    first = bent[:, :3] / np.linalg.norm(bent[:, :3], axis=1, keepdims=True)
    second = bent[:, 3:] - (bent[:, 3:] * first).sum(1, keepdims=True) * first
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    np.testing.assert_allclose(straight, np.concatenate([first, second], axis=1), atol=1e-12)


@pytest.mark.parametrize("kind", ["axis-angle", "euler", "quaternion"])
@pytest.mark.parametrize("rows", [[0, 0, 0, 0, 0, 0], [1, 0, 0, 2, 0, 0], [0, 0, 0, 0, 1, 0]])
def test_rows_that_leave_the_rotation_open_give_one(kind: RotationKind, rows: list[float]) -> None:
    rotation = one(kind)
    found = Continuous([rotation], rotation.numbers).inverse(torch.tensor(rows, dtype=torch.float32))
    assert bool(found.isfinite().all())
    assert float(found.norm()) <= 2 * PI
    assert kind != "quaternion" or float(found.norm()) == pytest.approx(1.0)


def test_what_is_not_finite_stays_so() -> None:
    """An evaluation says which action it was; one arm's says nothing of the other's."""
    continuous = Continuous([one("axis-angle"), one("axis-angle", 3)], 6)
    two = torch.tensor([1, 0, 0, 0, 1, 0] * 2, dtype=torch.float32)
    two[7] = torch.nan
    found = continuous.inverse(two)
    assert bool(found[:3].isfinite().all())
    assert bool(found[3:].isnan().all())
    assert continuous.inverse(torch.zeros(0, 12)).shape == (0, 6)


def test_they_are_given_out_as_recorded() -> None:
    """A joint from 0 to a whole turn, a yaw around 180 degrees, quaternions of one side."""
    joint = np.linspace(0.0, 2 * PI - 0.1, 20)[:, None]
    np.testing.assert_allclose(there_and_back(one("angle", near=(PI - 0.05,)), joint), joint, atol=1e-12)
    euler = np.array([[0.1, 0.2, 3.0], [0.1, 0.2, 3.4]])
    np.testing.assert_allclose(there_and_back(one("euler", near=(0.0, 0.0, 3.2)), euler), euler, atol=1e-12)
    q = Reference.random(99, random_state=3).as_quat()
    side = np.array([0.6, 0.0, 0.0, -0.8])
    q = q * np.where(q @ side < 0, -1, 1)[:, None]
    found = there_and_back(one("quaternion", near=tuple(side)), -q)
    np.testing.assert_allclose(found, q, atol=1e-12)


def test_nearest_is_the_same_rotation_and_no_farther() -> None:
    random = np.random.default_rng(5)
    for kind, write in WRITTEN.items():
        rotation = one(kind, 1)  # type: ignore[arg-type]  # the keys are kinds
        a, b = (write(Reference.random(300, random_state=seed)) for seed in (1, 2))
        values, others = (np.concatenate([random.normal(size=(300, 1)), x], axis=1) for x in (a, b))
        found = nearest(values, others, [rotation])
        continuous = Continuous([rotation], values.shape[1])
        learned = [continuous(torch.from_numpy(x)).numpy() for x in (values, found)]
        np.testing.assert_allclose(learned[0], learned[1], atol=1e-9)
        assert (((found - others) ** 2).sum(1) <= ((values - others) ** 2).sum(1) + 1e-9).all()
    assert nearest(np.array([3.1]), np.array([-3.1]), [one("angle")]) == pytest.approx(3.1 - 2 * PI)
    samples = nearest(np.full((4, 2, 1), 3.1), np.full((4, 1, 1), -3.1), [one("angle")])
    assert samples.shape == (4, 2, 1)
    np.testing.assert_allclose(samples, 3.1 - 2 * PI)


def test_the_mean_of_what_lies_beside_half_a_turn() -> None:
    values = np.array([[1.0, PI - 0.1, 0, 0], [3.0, -PI + 0.1, 0, 0]])
    found = mean_of(values, [one("axis-angle", 1)])
    assert found[0] == 2.0
    np.testing.assert_allclose(np.abs(found[1:]), [PI, 0, 0], atol=1e-9)
    np.testing.assert_allclose(mean_of(values, ()), values.mean(0))


def test_a_spec_says_which_they_are() -> None:
    def spec(**more: Any) -> Spec:
        return Spec(suite="own", task="t", action_dim=7, state_dim=8, max_steps=9, control_hz=9, **more)

    found = spec(action_rotations=[one("axis-angle", 3)], state_rotations=[one("angle", 0), one("quaternion", 4)])
    assert (found.learned_action_dim, found.seen_state_dim) == (10, 8 + 1 + 2)
    assert Spec.model_validate_json(found.model_dump_json()) == found
    quaternion = {"first": 2, "side": (0, 0, 0, 1)}
    for odd in (
        {"action_rotations": [one("axis-angle", 5)]},
        {"action_rotations": [one("axis-angle", 3), one("angle", 4)]},
        {"action_rotations": [one("angle", 4), one("angle", 2)]},
        {"state_rotations": [one("angle", 5)], "quaternions": [quaternion]},
        {"action_rotations": [{"first": 0, "kind": "angle", "near": (1.0, 2.0)}]},
    ):
        with pytest.raises(ValueError, match="rotations"):
            spec(**odd)
