"""Which numbers of a state or an action are quaternions: known by their names, and by their length of 1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.data.readers.recording import Recording

_WITHIN = 0.01
"""How far from 1 the length of a quaternion may be."""
_PLACE = re.compile(r"\[\d+\]$|[._]?[0-3wxyz]$", re.IGNORECASE)
_LETTER = re.compile(r"(?:^|[^a-z])q[._]?([wxyz])$", re.IGNORECASE)


Vectors = Sequence[NDArray[Any]]
"""Of each episode the states or actions, (T, n)."""


def quaternions_of(names: Sequence[str], episodes: Vectors) -> tuple[int, ...]:
    """Where in a vector a quaternion begins.

    Args:
        names: of its n numbers: four that differ in their last place and say "quat", or end in qx, qy, qz and qw in any
            order, are one.
        episodes: its values, of which those four have the length 1.
    """
    found: list[int] = []
    for first in range(len(names) - 3):
        free = not found or first >= found[-1] + 4
        if free and _are_one(names[first : first + 4]) and _of_length_one(episodes, first):
            found.append(first)
    return tuple(found)


def marked(recording: Recording) -> Recording:
    """The recording, whose spec says where in the state quaternions begin; the user is told which they are.

    And which numbers of the action are one whose sign changes: nothing is done about those.
    """
    spec, said = recording.spec, [*recording.said]
    states, actions = ([episode[key] for episode in recording.episodes] for key in ("state", "action"))
    names = spec.state_channels.names if spec.state_channels is not None else recording.names.get("state", ())
    places = spec.quaternions or quaternions_of(names, states)  # what omp has prepared says it itself
    if of_each := _changes(places, names, states):
        what = "is a quaternion, of which" if len(of_each) == 1 else "are quaternions, of which"
        said.append(
            f"state: {_listed(of_each)} {what} q and -q mean the same: a policy sees the largest number positive"
        )
    names = spec.action_channels.names if spec.action_channels is not None else recording.names.get("action", ())
    jumping = {
        name: found for name, found in _changes(quaternions_of(names, actions), names, actions).items() if found[0]
    }
    if jumping:
        advice = "q and -q are one rotation, and to a policy two answers: record one sign"
        said.append(f"action: {_listed(jumping)}: {advice}")
    return replace(recording, spec=spec.model_copy(update={"quaternions": places}), said=tuple(said))


def _changes(places: Sequence[int], names: Sequence[str], episodes: Vectors) -> dict[str, tuple[int, int]]:
    """By the name of each quaternion, how many of how many steps change its sign."""
    steps, found = sum(len(values) - 1 for values in episodes), {}
    for first in places:
        quaternions = (values[:, first : first + 4] for values in episodes)
        changes = sum(int(((q[:-1] * q[1:]).sum(1) < 0).sum()) for q in quaternions)
        found[_PLACE.sub("", names[first]) if names else f"state[{first}]"] = changes, steps
    return found


def _listed(changes: Mapping[str, tuple[int, int]]) -> str:
    return ", ".join(f"{name} ({some} of {steps} steps change its sign)" for name, (some, steps) in changes.items())


def _are_one(four: Sequence[str]) -> bool:
    stems = {_PLACE.sub("", name) for name in four}
    letters = [found[1].lower() for name in four if (found := _LETTER.search(name))]
    of_one_array = len(stems) == 1 and len(set(four)) == 4 and "quat" in stems.pop().lower()
    return of_one_array or sorted(letters) == ["w", "x", "y", "z"]


def _of_length_one(episodes: Vectors, first: int) -> bool:
    lengths = (np.linalg.norm(values[:, first : first + 4], axis=1) for values in episodes)
    return all(bool(np.all(np.abs(length - 1.0) < _WITHIN)) for length in lengths)
