"""The rate of a recording by the times of its own frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import short

if TYPE_CHECKING:
    from omp_cli.core.data.readers.stored import Stored

TIMES = ("timestamp", "timestamps", "time")
"""What others call the times of frames, the usual name first; also as the last part of a path in the file."""
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
SLOWEST, FASTEST = 0.5, 2000.0
"""Frames per second between which a recording's rate lies; they tell the unit of its times."""
_DATES = (1e9, 1e10)
"""Seconds since 1970 of the years 2001 to 2286, which tell the unit where two fit."""
_UNEVEN = 0.05


@dataclass(frozen=True)
class Timing:
    """What the times of frames say.

    Attributes:
        hz: frames per second, to three digits; None where no array says it.
        name: the array that says it.
        said: sentences for ``Recording.said``.
    """

    hz: float | None
    name: str | None
    said: tuple[str, ...]


def rate_of(arrays: Mapping[str, Stored], ends: NDArray[np.int64], limit: int | None) -> Timing:
    """The rate by the first array of times (T,) or (T, 1), named as in ``TIMES``, that ascends within every episode.

    Why such an array does not say the rate is in ``said``; no array is refused, since nobody asked for it.

    Args:
        arrays: the file's arrays by name.
        ends: cumulative ends of episodes (E,).
        limit: episodes to look at; None looks at all.
    """
    total, ends = int(ends[-1]), ends[:limit]
    named = [name for name in arrays if name.rpartition("/")[2] in TIMES]
    said: list[str] = []
    for name in sorted(named, key=lambda name: (name not in TIMES, TIMES.index(name.rpartition("/")[2]), name)):
        array = arrays[name]
        if array.shape in ((total,), (total, 1)) and array.dtype.kind in "iuf":
            try:
                times = array.read(int(ends[-1])).reshape(-1)
                hz, about = _by_steps(_steps(times, ends), float(times[0]))
            except DataError as error:
                said.append(f"{short(name)} does not say the rate: {error.message}")
            else:
                return Timing(hz, name, (*said, *(f"{short(name)}: {sentence}" for sentence in about)))
    return Timing(None, None, tuple(said))


def _steps(times: NDArray[Any], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """What lies between the times (T,) of the frames of an episode, for all episodes, (T - episodes,)."""
    times = times.astype(np.float64 if times.dtype.kind == "f" else np.int64)  # nanoseconds since 1970 stay whole
    with np.errstate(invalid="ignore"):
        steps = np.diff(times).astype(np.float64)
    within = np.ones(len(steps), np.bool_)
    within[ends[:-1] - 1] = False
    if len(back := np.flatnonzero(within & ~(steps >= 0))):  # also true of NaN
        raise DataError(f"it does not ascend from frame {back[0]} to {back[0] + 1}, which are of one episode")
    return steps[within]


def _by_steps(steps: NDArray[np.float64], first: float) -> tuple[float, tuple[str, ...]]:
    """Frames per second by the steps of times and the first time, and what to say; DataError where they are no rate."""
    if not len(steps):
        raise DataError("no episode has a second frame")
    median = float(np.median(steps))
    if median <= 0:
        raise DataError("most frames have the time of the frame before them")
    if (steps == 1).all():
        raise DataError("it counts frames by ones")
    fitting = [unit for unit, seconds in UNITS.items() if SLOWEST <= 1 / (median * seconds) <= FASTEST]
    if not fitting:
        raise DataError(f"its median step of {median:.4g} fits no rate from {SLOWEST:g} to {FASTEST:g} Hz in any unit")
    unit = next((unit for unit in fitting if _DATES[0] <= first * UNITS[unit] < _DATES[1]), fitting[0])
    even = np.abs(steps - median) <= median / 2
    # The mean of even steps is their median, but for times that are rounded: 33, 33 and 34 ms are 30 Hz, not 30.3.
    hz = float(f"{1 / (float(steps[even].mean()) * UNITS[unit]):.3g}")
    said = [f"{hz:g} Hz, by a median step of {median:.4g} {unit}"]
    if (odd := int((~even).sum())) > _UNEVEN * len(steps):
        said.append(f"{odd} of {len(steps)} steps are more than half a step off, and a policy sees all as even")
    return hz, tuple(said)
