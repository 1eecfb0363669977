"""The picture that an evaluation has to repeat: every known mistake is found and named."""

import numpy as np
import pytest

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.reference import Reference

STATE = np.array([0.0, 1.5, -2.25])


def scene(cameras: int = 1) -> np.ndarray:
    """A picture that no flip leaves as it is, (24, 24, 3 cameras)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 6, 3 * cameras), np.uint8)
    return coarse.repeat(4, axis=0).repeat(4, axis=1)


def test_it_survives_json_and_accepts_itself() -> None:
    reference = Reference.of(STATE, scene())
    again = Reference.model_validate_json(reference.model_dump_json())
    assert np.array_equal(again.picture, scene())
    assert again.state == (0.0, 1.5, -2.25)
    assert again.check(scene(), "lift") == 0.0


def test_another_renderer_is_accepted() -> None:
    noise = np.random.default_rng(1).integers(-4, 5, (24, 24, 3))
    other = np.clip(scene().astype(int) + noise, 0, 255).astype(np.uint8)
    assert 1.0 < Reference.of(STATE, scene()).check(other, "lift") < 3.0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (scene()[::-1], "upside down"),
        (scene()[:, ::-1], "mirrored"),
        (scene()[::-1, ::-1], "180 degrees"),
        (scene()[..., ::-1], "swapped colours"),
        (np.random.default_rng(5).integers(0, 256, (24, 24, 3), np.uint8), "another camera"),
        (scene().transpose(2, 0, 1), "(3, 24, 24)"),
        (scene() / np.float32(255), "float32"),
        (scene()[:20], "(20, 24, 3)"),
    ],
)
def test_each_mistake_has_its_name(wrong: np.ndarray, said: str) -> None:
    with pytest.raises(DataError) as error:
        Reference.of(STATE, scene()).check(wrong, "lift")
    assert said in error.value.message
    assert "lift" in error.value.message


def test_swapped_cameras_are_named() -> None:
    both = scene(cameras=2)
    with pytest.raises(DataError, match="swapped cameras"):
        Reference.of(STATE, both).check(np.concatenate([both[..., 3:], both[..., :3]], axis=2), "transport")
