"""The frames of a bag: moments of one rate at which topics that come at rates of their own are looked at together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.readers.rosbag_signals import Moments, Signal

SECOND = 1_000_000_000
_NEVER = 2**62
_LATE = SECOND
"""What is left out at an end of a bag is told from a second on."""
_LONG, _STEPS = SECOND // 2, 5
"""A pause of a topic that comes steadily is told from so many nanoseconds and so many of its steps on."""
_FEW, _SELDOM = 10, SECOND
"""What comes steadily comes so many times, at most so many nanoseconds apart; all else when something changes."""
_SLOW = 1.1
"""How many times longer than a frame the step of a topic is that is told."""


@dataclass(frozen=True)
class BagClock:
    """The frames of a bag.

    Attributes:
        seen: when observations are looked at (T,).
        acted: when actions and what came of them are: at the next frame (T,).
        said: what a user has to know, by what it is about.
    """

    seen: Moments
    acted: Moments
    said: Mapping[str, str]


class TooShort(DataError):
    """Two frames do not fit in."""


def clock_of(
    where: str,
    seen: Mapping[str, Signal],
    acted: Mapping[str, Signal],
    hz: float,
    within: tuple[int, int] | None = None,
) -> BagClock:
    """The frames between the first moment at which all is known and the last at which what comes steadily still comes.

    Args:
        where: the bag, for messages.
        seen: what is observed, by name.
        acted: what is commanded, and what came of it; what is observed too counts as that.
        hz: frames per second.
        within: when what is wanted of the bag begins and ends, nanoseconds; None takes all.

    Raises:
        TooShort: two frames do not fit in.
    """
    step, both = SECOND / hz, {**acted, **seen}
    begins = {name: int(of.times[0] - (0 if name in seen else step)) for name, of in both.items()}
    ends = {name: end for name, of in both.items() if (end := _end(of.times)) is not None}
    last = max((int(of.times[-1]) for of in both.values()), default=0)
    late, early = max(begins, key=lambda name: begins[name]), min(ends, key=lambda name: ends[name], default=None)
    begin, end = begins[late], last if early is None else ends[early]
    first, last = within or (min(begins.values()), last)
    begin, end = max(begin, first), min(end, last) if within else end
    frames = int((end - begin) / step + 1e-6)
    if frames < 2:
        what = f"between the first of {late} and the last of {early}" if early else f"after the first of {late}"
        raise TooShort(f"{where}: fewer than two frames at {hz:g} Hz {what}", "take this bag out, or leave a topic out")
    said = {}
    if first < begin - _LATE:
        said[f"begin {late}"] = f"the first {(begin - first) / SECOND:.1f} s are left out, before {late} came"
    if early is not None and end < last - _LATE:
        said[f"end {early}"] = f"the last {(last - end) / SECOND:.1f} s are left out, after {early} had ended"
    one_each = {of.times.tobytes(): (name, of.times) for name, of in reversed(both.items())}  # of a topic's parts
    for name, times in reversed(one_each.values()):
        said |= _uneven(name, times, begin, end, hz)
    moments = begin + np.round(np.arange(frames + 1) * step).astype(np.int64)
    return BagClock(moments[:-1], moments[1:], said)


def stretches(where: str, signal: Signal) -> list[tuple[int, int]]:
    """When a signal has one value that is not 0: from when, and until when, nanoseconds.

    UsageError where it is not one number.
    """
    values = np.concatenate([part.reshape(len(part), -1) for part in signal.at(signal.times)])
    if values.shape[1] != 1 or values.dtype.kind not in "iufb":
        raise UsageError(f"{where}: format.episode is one number, or true and false; this has {signal.shape}")
    begins = np.flatnonzero(np.diff(values[:, 0].astype(np.float64), prepend=np.nan) != 0)
    ends = [*signal.times[begins[1:]].tolist(), _NEVER]
    return [(int(signal.times[at]), end) for at, end in zip(begins, ends, strict=True) if values[at, 0]]


def rate_of(times: Moments) -> str:
    """How often something comes, for people."""
    step = _steady(times)
    return "at times" if step is None else f"{SECOND / step:.3g} Hz"


def _steady(times: Moments) -> float | None:
    """The usual step of what comes steadily, nanoseconds; None of what comes when something changes."""
    if len(times) < _FEW or not 0 < (median := float(np.median(np.diff(times)))) <= _SELDOM:
        return None
    return median if times[-1] - times[0] <= 2 * median * (len(times) - 1) else None


def _end(times: Moments) -> int | None:
    """Until when what comes steadily says something."""
    step = _steady(times)
    return None if step is None else int(times[-1] + step)


def _uneven(name: str, times: Moments, begin: int, end: int, hz: float) -> dict[str, str]:
    """What to say of pauses, and of what comes more slowly than frames do."""
    if (step := _steady(times)) is None:
        return {}
    said = {}
    if step * hz > _SLOW * SECOND:
        said[f"slow {name}"] = f"{name} comes at {SECOND / step:.3g} Hz, and frames repeat it"
    inside = times[(times >= begin) & (times <= end)]
    pause = int(np.diff(inside).max(initial=0))
    if pause > max(_LONG, _STEPS * step):
        at = (inside[int(np.diff(inside).argmax())] - begin) / SECOND
        said[f"pause {name}"] = f"nothing came of {name} for {pause / SECOND:.1f} s, {at:.1f} s after the begin"
    return said
