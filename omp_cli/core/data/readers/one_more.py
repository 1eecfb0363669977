"""Recordings with one observation more than actions in every episode: what was seen after the last action.

Most environments return it, and recorders keep it. No action belongs to it, so it is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError

if TYPE_CHECKING:
    import h5py

SAID = "every episode has one observation more than actions: its last one, which no action follows, is left out"
HINT = "observations and actions are paired frame by frame; one observation more is taken where every episode has it"


def observations_more(episodes: Sequence[h5py.Group], keys: Sequence[str], actions: str) -> int:
    """1 where each of the arrays ``keys`` has one frame more than the actions, in each of the episodes; else 0.

    Args:
        episodes: groups with the actions (T, A) and the arrays.
        keys: names of what was observed, by their paths in an episode.
        actions: name of the actions.

    Raises:
        DataError: some of them have more or fewer frames than the actions, and the others do not.
    """
    lengths = {(e, key): (_frames(e, key), _frames(e, actions)) for e in episodes for key in keys}
    found = {place: pair for place, pair in lengths.items() if min(pair) >= 0}
    if found and all(observed == acted + 1 > 1 for observed, acted in found.values()):
        return 1
    for (episode, key), (observed, acted) in found.items():
        if observed != acted:
            where = f"{episode.file.filename}: {episode.name}/{key}"
            raise DataError(f"{where} has {observed} frames, expected {acted}", HINT)
    return 0


def _frames(episode: h5py.Group, key: str) -> int:
    """Frames of an array; -1 where there is none, which is told of when it is read."""
    shape = getattr(episode.get(key), "shape", None)
    return int(shape[0]) if shape else -1


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
