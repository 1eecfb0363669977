"""Angles that jump by a whole turn: of an axis times its angle, of Euler's, of a joint that turns on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.recording import Recording

_TURNS = (2 * np.pi, 360.0)
_NEAR = 0.1
"""How far from half a turn both ends of a jump may be, in turns."""
ADVICE = (
    "to a policy these are far apart: store cosine and sine, or of a rotation a quaternion or two rows of its matrix"
)


def told(recording: Recording) -> Recording:
    """The recording, which says of state and action where an angle jumps from one end of a turn to the other."""
    said = list(recording.said)
    for key, channels in (("state", recording.spec.state_channels), ("action", recording.spec.action_channels)):
        each = [episode[key] for episode in recording.episodes]
        names = channels.names if channels is not None else recording.names.get(key, ())
        counts = jumps(each)
        if counts.any():
            of_each = [
                f"{names[place] if names else f'{key}[{place}]'} ({counts[place]} times)"
                for place in np.flatnonzero(counts)
            ]
            said.append(
                f"{key}: {listed(of_each)}: from half a turn to minus half a turn or back in one step; {ADVICE}"
            )
    return replace(recording, said=tuple(said))


def jumps(episodes: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """Of each number of vectors (T, n) how many steps lead from one end of a turn, in rad or degrees, to the other."""
    found = np.zeros(episodes[0].shape[1], np.int64)
    for values in episodes:
        before, after = values[:-1], values[1:]
        for turn in _TURNS:
            ends = [np.abs(np.abs(end) / turn - 0.5) < _NEAR for end in (before, after)]
            found += (ends[0] & ends[1] & (before * after < 0)).sum(0)
    return found
