"""Angles that jump by a whole turn: of an axis times its angle, of Euler's, of a joint that turns on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.recording import Recording
from omp_cli.core.spec import Rotation

_TURNS = (2 * np.pi, 360.0)
_NEAR = 0.1
"""How far from half a turn both ends of a jump may be, in turns."""
_VALUES = 8
"""An angle has more values; a command that switches between two ends has not."""
FAR = "to a policy these are far apart"
ADVICE = f"{FAR}: store cosine and sine; of a rotation a quaternion, or two rows of its matrix"


def told(recording: Recording, settings: bool = False) -> Recording:
    """The recording, which says of state and action where an angle jumps from one end of a turn to the other.

    Of what a policy sees or learns in numbers that jump nowhere nothing is said. With ``settings`` there are those that
    name such rotations (``action_rotations``), which the user is told.
    """
    said = list(recording.said)
    for key in ("state", "action"):
        each, names = [episode[key] for episode in recording.episodes], recording.names_of(key)
        rotations: tuple[Rotation, ...] = getattr(recording.spec, f"{key}_rotations")
        counts, steps = jumps(each, rotations), sum(len(values) - 1 for values in each)
        of_each = [
            f"{names[place] if names else f'{key}[{place}]'} ({counts[place]} of {steps} steps)"
            for place in np.flatnonzero(counts)
        ]
        if of_each:
            how = "PLACE of its first number, KIND axis-angle, euler or angle"
            named = f"{FAR}: --set {key}_rotations=PLACE:KIND keeps them together ({how})"
            advice = named if settings else ADVICE
            said.append(f"{key}: {listed(of_each)}: from half a turn to minus half a turn or back at once; {advice}")
    return replace(recording, said=tuple(said))


def jumps(episodes: Sequence[NDArray[Any]], rotations: Sequence[Rotation] = ()) -> NDArray[np.int64]:
    """Of each number of vectors (T, n) how many steps lead from one end of a turn, in rad or degrees, to the other.

    None where it is no angle: it leaves half a turn on either side, has few values, or makes as many other long steps.
    None in a rotation of ``rotations`` where the turn is of its unit: one in degrees does not keep jumps of 2 pi
    together.
    """
    together = np.concatenate(episodes)
    found = np.zeros(together.shape[1], np.int64)
    values = np.array([len(np.unique(column)) for column in together.T])
    for turn in _TURNS:
        ends, others = np.zeros_like(found), np.zeros_like(found)
        for episode in episodes:
            before, after = episode[:-1] / turn, episode[1:] / turn
            both = (np.abs(np.abs(before) - 0.5) < _NEAR) & (np.abs(np.abs(after) - 0.5) < _NEAR)
            flips = both & (before * after < 0)
            ends += flips.sum(0)
            others += (~flips & (np.abs(after - before) > 2 * _NEAR)).sum(0)
        within = np.abs(together).max(0) <= (0.5 + _NEAR / 10) * turn
        ends[[place for rotation in rotations if rotation.turn == turn for place in rotation.places]] = 0
        found += np.where(within & (values > _VALUES) & (others < ends), ends, 0)
    return found
