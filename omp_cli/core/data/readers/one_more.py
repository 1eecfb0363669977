"""Recordings with one observation more than actions in every episode: what was seen after the last action.

Most environments return it, and recorders keep it. No action belongs to it, so it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import listed

HINT = "observations and actions are paired frame by frame; one observation more is taken where every episode has it"


def said_of(names: Iterable[str]) -> str:
    """What the user has to know of arrays that have one observation more than actions."""
    return (
        f"{listed(names)}: the last frame of every episode is left out, for there is one observation more than actions"
    )


def one_more(
    episodes: Sequence[tuple[str, Mapping[str, int]]],
    seen: Sequence[str],
    actions: Sequence[str],
    refused: Callable[[int, str], DataError] = lambda _, message: DataError(message, HINT),
) -> tuple[str, ...]:
    """The arrays of observations that have one frame more than the actions, each of them in all episodes.

    Args:
        episodes: of each what messages put before the name of an array, and how many frames each array has; one that is
            not there is told of where it is read.
        seen: names of the arrays of observations.
        actions: names of the arrays of actions, one at least.
        refused: the error about an episode, by its index and the message.

    Raises:
        DataError: one of the arrays has other frames than the actions, and not one more in every episode.
    """
    found = []
    for name in (*seen, *actions):
        pairs = {
            place: (where, of[name], of[actions[0]])
            for place, (where, of) in enumerate(episodes)
            if {name, actions[0]} <= of.keys()
        }
        without = [place for place, (_, frames, acted) in pairs.items() if not frames == acted + 1 > 1]
        if name in seen and pairs and not without:
            found.append(name)
            continue
        for place, (where, frames, acted) in pairs.items():
            if frames != acted:
                message = f"{where}{name} has {frames} frames, expected {acted}"
                if name in seen and 2 * len(without) < len(pairs):  # then those are the odd ones
                    place, (at, has, of_it) = without[0], pairs[without[0]]
                    message += f"; most episodes have one more, and {at}{name} has {has} for {of_it} actions"
                raise refused(place, message)
    return tuple(found)


def ends_of_both(
    shapes: Mapping[str, tuple[int, ...]], seen: Iterable[str], done: Iterable[str], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cumulative ends of the episodes (E,) in the arrays of observations, and in those of actions.

    Args:
        shapes: of the file's arrays, by name, all frames of all episodes one after the other.
        seen: names of the arrays of observations.
        done: names of the arrays of actions.
        ends: as the file has them, of its observations or of its actions.
    """
    frames, number = int(ends[-1]), np.arange(1, len(ends) + 1)
    observed, acted = ({shapes[name][:1] for name in names} for names in (seen, done))
    if acted == {(frames,)} and observed == {(frames + len(ends),)}:
        return ends + number, ends
    if observed == {(frames,)} and acted == {(frames - len(ends),)} and np.diff(ends, prepend=0).min() > 1:
        return ends, ends - number
    return ends, ends
