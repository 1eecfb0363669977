"""Which numbers of a state are quaternions: known by their names, and by their length of 1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from omp_cli.core.data.readers.recording import Recording
from omp_cli.core.data.store import Arrays

_WITHIN = 0.01
"""How far from 1 the length of a quaternion may be."""
_PLACE = re.compile(r"\[\d+\]$|[._]?[0-3wxyz]$", re.IGNORECASE)
_LETTER = re.compile(r"(?:^|[^a-z])q[._]?([wxyz])$", re.IGNORECASE)


def quaternions_of(names: Sequence[str], episodes: Sequence[Arrays]) -> tuple[int, ...]:
    """Where in the state a quaternion begins.

    Args:
        names: of the S numbers of the state: four that differ in their last place and say "quat", or end in qx, qy, qz
            and qw in any order, are one.
        episodes: each with "state" (T, S).
    """
    found: list[int] = []
    for first in range(len(names) - 3):
        free = not found or first >= found[-1] + 4
        if free and _are_one(names[first : first + 4]) and _of_length_one(episodes, first):
            found.append(first)
    return tuple(found)


def marked(recording: Recording) -> Recording:
    """The recording, whose spec says where quaternions begin; the user is told which they are."""
    spec, episodes = recording.spec, recording.episodes
    names = spec.state_channels.names if spec.state_channels is not None else recording.names.get("state", ())
    places = spec.quaternions or quaternions_of(names, episodes)  # what omp has prepared says it itself
    if not places:
        return recording
    said = said_of_quaternions(places, names, episodes)
    return replace(recording, spec=spec.model_copy(update={"quaternions": places}), said=(*recording.said, said))


def said_of_quaternions(places: Sequence[int], names: Sequence[str], episodes: Sequence[Arrays]) -> str:
    """The sentence on them, with how often their sign changes from one frame to the next."""
    frames = sum(len(episode["state"]) - 1 for episode in episodes)
    of_each = []
    for first in places:
        quaternions = (episode["state"][:, first : first + 4] for episode in episodes)
        changes = sum(int(((q[:-1] * q[1:]).sum(1) < 0).sum()) for q in quaternions)
        name = _PLACE.sub("", names[first]) if names else f"state[{first}]"
        of_each.append(f"{name} ({changes} of {frames} steps change its sign)")
    what = "is a quaternion, of which" if len(of_each) == 1 else "are quaternions, of which"
    return f"state: {', '.join(of_each)} {what} q and -q mean the same: a policy sees the largest number positive"


def _are_one(four: Sequence[str]) -> bool:
    stems = {_PLACE.sub("", name) for name in four}
    letters = [found[1].lower() for name in four if (found := _LETTER.search(name))]
    of_one_array = len(stems) == 1 and len(set(four)) == 4 and "quat" in stems.pop().lower()
    return of_one_array or sorted(letters) == ["w", "x", "y", "z"]


def _of_length_one(episodes: Sequence[Arrays], first: int) -> bool:
    lengths = (np.linalg.norm(episode["state"][:, first : first + 4], axis=1) for episode in episodes)
    return all(bool(np.all(np.abs(length - 1.0) < _WITHIN)) for length in lengths)
