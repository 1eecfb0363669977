"""The frames of a bag: moments of one rate at which topics that come at rates of their own are looked at together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.readers.rosbag_signals import Moments, Numbers

SECOND = 1_000_000_000
_NEVER = 2**62
_LATE = SECOND
"""What is left out at an end of a bag is told from a second on."""
_LONG, _TIMES = SECOND // 2, 10
"""A longer step, nanoseconds, is a pause; what comes steadily comes so many times between two of them."""
_SHARE = 0.5
"""Share of its time in which something has to come to end an episode when it ends."""
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
    seen: Mapping[str, Moments],
    acted: Mapping[str, Moments],
    hz: float,
    within: tuple[int, int] | None = None,
) -> BagClock:
    """The frames between the first moment at which all is known and the last at which what comes steadily still comes.

    Args:
        where: the bag, for messages.
        seen: when what is observed came, by name.
        acted: when what is commanded came.
        hz: frames per second.
        within: when what is wanted of the bag begins and ends, nanoseconds; None takes all.

    Raises:
        TooShort: two frames do not fit in.
    """
    step = round(SECOND / hz)  # whole numbers throughout: a float of nanoseconds since 1970 is rounded to 256
    begins = {name: int(times[0]) for name, times in seen.items()}
    begins |= {name: int(times[0]) - step for name, times in acted.items() if name not in seen}
    both = {**acted, **seen}
    if not both:
        raise DataError(f"{where}: nothing that is named moves", "name a topic, too, that says when frames are")
    steady = {name: of for name, times in both.items() if (of := _steady(times)) is not None}
    ends = {name: int(both[name][-1]) + round(of) for name, (of, share) in steady.items() if share >= _SHARE}
    late, early = max(begins, key=lambda name: begins[name]), min(ends, key=lambda name: ends[name], default=None)
    first, last = within or (min(begins.values()), max(int(times[-1]) for times in both.values()))
    begin, end = max(begins[late], first), last if early is None else ends[early]
    end = min(end, last) if within else end
    frames = int((end - begin) * hz / SECOND + 1e-6)
    if frames < 2:
        what = f"between the first of {late} and the last of {early}" if early else f"after the first of {late}"
        raise TooShort(f"{where}: fewer than two frames at {hz:g} Hz {what}", "take this bag out of the folder")
    said = {}
    if first < begin - _LATE:
        said[f"begin {late}"] = f"the first {(begin - first) / SECOND:.1f} s are left out, before {late} came"
    if early is not None and end < last - _LATE:
        said[f"end {early}"] = f"the last {(last - end) / SECOND:.1f} s are left out, after {early} had ended"
    one_each = {times.tobytes(): name for name, times in reversed(both.items())}  # of all parts of a topic the first
    for name in reversed(one_each.values()):
        if name in steady:
            said |= _uneven(name, both[name], steady[name][0], (begin, end), hz)
    moments = begin + np.round(np.arange(frames + 1) * (SECOND / hz)).astype(np.int64)
    return BagClock(moments[:-1], moments[1:], said)


def stretches(where: str, signal: object) -> list[tuple[int, int]]:
    """When a signal has one value that is not 0: from when, and until when, nanoseconds.

    UsageError where it is not one number.
    """
    if not isinstance(signal, Numbers) or signal.shape not in ((), (1,)):
        raise UsageError(f"{where}: format.episode is a topic of one number, or of true and false")
    values = np.concatenate(list(signal.at(signal.times))).reshape(-1).astype(np.float64)
    begins = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
    ends = [*signal.times[begins[1:]].tolist(), _NEVER]
    return [(int(signal.times[at]), end) for at, end in zip(begins, ends, strict=True) if values[at]]


def rate_of(times: Moments) -> str:
    """How often something comes, for people."""
    steady = _steady(times)
    return "at times" if steady is None else f"{SECOND / steady[0]:.3g} Hz"


def steady_step(times: Moments) -> float | None:
    """Seconds between two words of what comes steadily most of its time; None of what is said at times."""
    steady = _steady(times)
    return None if steady is None or steady[1] < _SHARE else steady[0] / SECOND


def _steady(times: Moments) -> tuple[float, float] | None:
    """The mean step without pauses, nanoseconds, and the share of the time without them.

    None of what is said when something changes.
    """
    steps = np.diff(times)
    short = steps[steps <= _LONG]
    pauses, inside = len(steps) - len(short), int(short.sum())
    if len(times) < _TIMES * (pauses + 1) or not inside:
        return None
    return inside / len(short), inside / int(times[-1] - times[0])


def _uneven(name: str, times: Moments, step: float, within: tuple[int, int], hz: float) -> dict[str, str]:
    """What to say of pauses, and of what comes more slowly than frames do."""
    said = {}
    if step * hz > _SLOW * SECOND:
        said[f"slow {name}"] = f"{name} comes at {SECOND / step:.3g} Hz, and frames repeat it"
    inside = np.append(times[(times >= within[0]) & (times < within[1])], within[1])
    pauses = np.diff(inside)
    if len(pauses) and (longest := int(pauses.max())) > max(_LONG, 2 * step):
        at = (int(inside[int(pauses.argmax())]) - within[0]) / SECOND
        said[f"pause {name}"] = f"nothing came of {name} for {longest / SECOND:.1f} s, {at:.1f} s after the begin"
    return said
