"""The rate of a recording by the times of its frames: units, what is no time, what is uneven; in every layout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from omp_cli.core.data.readers.rate import Timing, rate_of
from omp_cli.core.data.readers.stored import Stored
from tests.data.arrays import LENGTHS, recorded, write_npy, write_npz, write_zarr
from tests.data.test_arrays import read

ENDS = np.cumsum(LENGTHS)
EACH = np.concatenate([np.arange(length) for length in LENGTHS])
"""Frames counted in each episode anew."""
ALL = np.arange(ENDS[-1])


def of(times: np.ndarray, limit: int | None = None, name: str = "timestamp") -> Timing:
    return rate_of({name: Stored(times.shape, times.dtype, None, lambda frames: times[:frames])}, ENDS, limit)


@pytest.mark.parametrize(
    ("times", "hz", "unit"),
    [
        (EACH / 15, 15, "s"),
        (EACH[:, None] / np.float32(30), 30, "s"),
        (ALL / 15 + 1.7e9, 15, "s"),
        (ALL * 0.5, 2, "s"),
        (ALL * 20.0, 50, "ms"),
        (np.rint(EACH * 1000 / 30).astype(np.int32), 30, "ms"),
        (ALL * 20_000, 50, "us"),
        (ALL.astype(np.int64) * 33_333_333 + 1_700_000_000_000_000_000, 30, "ns"),
        (ALL.astype(np.uint64) * 1000, 1, "ms"),
        (ALL * 1000 + 1_700_000_000_000_000, 1000, "us"),
    ],
    ids=["s", "column", "date", "slow", "ms", "rounded ms", "us", "ns", "two units", "two units and a date"],
)
def test_the_unit_is_told_by_the_size_of_the_steps(times: np.ndarray, hz: float, unit: str) -> None:
    found = of(times)
    assert (found.hz, found.name) == (hz, "timestamp")
    assert found.said[0].startswith(f"timestamp: {hz:g} Hz, by a median step of ")
    assert found.said[0].endswith(f" {unit}")
    assert len(found.said) == 1


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (np.where(ALL == 4, 9.0, ALL / 15), "does not ascend from frame 4 to 5"),
        (np.where(ALL == 4, np.nan, ALL / 15), "does not ascend from frame 3 to 4"),
        (np.zeros(23), "most frames have the time of the frame before"),
        (EACH, "counts frames by ones"),
        (ALL * 1e-7, "fits no rate from 0.5 to 2000 Hz"),
        (np.full(23, np.inf), "does not ascend"),
    ],
    ids=["back", "nan", "constant", "counter", "fast", "infinite"],
)
def test_what_is_no_time_is_told_and_is_no_rate(times: np.ndarray, words: str) -> None:
    found = of(times)
    assert (found.hz, found.name) == (None, None)
    assert words in found.said[0]


def test_arrays_of_other_names_and_shapes_say_nothing() -> None:
    for times, name in ((EACH / 15, "when"), (EACH[:9] / 15, "time"), (np.zeros((23, 2)), "time")):
        assert of(times, name=name) == Timing(None, None, ())
    assert of(np.full(23, "x"), name="time") == Timing(None, None, ())
    assert of(EACH / 15, name="camera/time").name == "camera/time"


def test_uneven_steps_are_told() -> None:
    times = EACH / 10
    times[3:9] += 0.08
    assert len(of(times).said) == 1, "one of twenty is a hiccup"
    times[12:15] += 0.08
    found = of(times)
    assert found.hz == 10
    assert "2 of 20 steps are more than half a step off" in found.said[1]
    assert len(of(times, 1).said) == 2, "one of eight"
    assert of(np.where(ALL > 20, 0.0, ALL), 1).hz is None, "of the first episode, which counts by ones"


@pytest.mark.parametrize("write", [write_zarr, write_npz, write_npy])
def test_every_layout_of_named_arrays_has_it(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(tmp_path / f"d.{write.__name__[6:]}", {**recorded(channels=3), "timestamp": EACH / 15})
    found = read(path)
    assert found.hz == 15
    assert found.said == ("timestamp: 15 Hz, by a median step of 0.06667 s",), "and it is not left out"
    assert read(path, 1).hz == 15
