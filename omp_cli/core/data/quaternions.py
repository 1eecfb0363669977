"""Which numbers of a state or an action are quaternions of both signs: known by names and by their length of 1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.data.readers.recording import Recording
from omp_cli.core.spec import Quaternion, Rotation

_WITHIN = 0.01
"""How far from 1 the length of a quaternion may be."""
_PLACE = re.compile(r"\[\d+\]$|[._]?[0-3wxyz]$", re.IGNORECASE)
_LETTER = re.compile(r"(?:^|[^a-z])q[._]?([wxyz])$", re.IGNORECASE)

Vectors = Sequence[NDArray[Any]]
"""Of each episode the states or actions, (T, n)."""


def called_quaternions(names: Sequence[str]) -> tuple[int, ...]:
    """Where four numbers of a vector begin that are a quaternion by their names.

    Args:
        names: of all its numbers. Four are one that differ in their last place alone and say "quat", or end in qx, qy,
            qz and qw in any order.
    """
    found: list[int] = []
    for first in range(len(names) - 3):
        if (not found or first >= found[-1] + 4) and _are_one(names[first : first + 4]):
            found.append(first)
    return tuple(found)


def marked(recording: Recording, settings: bool = False) -> Recording:
    """The recording, whose spec says of which quaternions of the state both signs occur, and where a policy sees them.

    They jump from q to -q, or a whole episode lies on the side of -q. The user is told of those, and of such
    quaternions of the action, about which nothing is done unless ``action_rotations`` names them; with ``settings``
    there is such a setting.
    """
    spec, said, found = recording.spec, [*recording.said], []
    for key in ("state", "action"):
        values, names = [episode[key] for episode in recording.episodes], recording.names_of(key)
        rotations: tuple[Rotation, ...] = getattr(spec, f"{key}_rotations")
        taken = {place for rotation in rotations for place in rotation.places}
        for first in called_quaternions(names):
            if taken & set(range(first, first + 4)):
                continue
            each, name = [x[:, first : first + 4] for x in values], f"{key}: {_PLACE.sub('', names[first])}"
            lengths = np.linalg.norm(np.concatenate(each), axis=1)
            if odd := int((np.abs(lengths - 1.0) >= _WITHIN).sum()):
                said.append(f"{name} is not of length 1 in {odd} of {len(lengths)} frames: not taken for a quaternion")
                continue
            side = side_of(each)
            jumps, left = _jumps(each), _jumps([q * np.where(q @ side < 0, -1, 1)[:, None] for q in each])
            steps, other = sum(len(q) - 1 for q in each), _others(each, side)
            where = (
                f"{jumps} of {steps} steps change the" if jumps else f"{other} of {len(each)} episodes have the other"
            )
            what = f"{name}: q and -q are one rotation, and {where} sign"
            if key == "state" and (left < jumps or (other and left == jumps)):
                found.append(Quaternion(first=first, side=tuple(side.tolist())))
                said.append(f"{what}: a policy sees the one that lies on the side of most frames, with {left} changes")
            elif key == "action" and (jumps or other):
                how = f"--set action_rotations={first}:quaternion makes them one" if settings else "record one sign"
                said.append(f"{what}, which to a policy are two answers: {how}")
    known = spec.quaternions or tuple(found)  # a suite of the user's own may say it itself
    return replace(recording, spec=spec.model_copy(update={"quaternions": known}), said=tuple(said))


def side_of(episodes: Vectors) -> NDArray[np.float64]:
    """The direction (4,) near which most quaternions or their opposites lie, as far as possible as they are."""
    together = np.concatenate(episodes).astype(np.float64)
    axis = np.linalg.eigh(together.T @ together)[1][:, -1]
    return np.round(axis if (together @ axis).sum() >= 0 else -axis, 6)


def _others(episodes: Vectors, side: NDArray[np.float64]) -> int:
    """How many episodes lie on the other side as a whole; none where one number has the same sign in all frames.

    Such data keep to one of q and -q already, as where w is never negative: the others are other rotations.
    """
    together = np.concatenate(episodes)
    if ((together > 0).all(0) | (together < 0).all(0)).any():
        return 0
    return sum(bool((q @ side < 0).all()) for q in episodes)


def _jumps(episodes: Vectors) -> int:
    """How many steps lead from a quaternion to one that is nearer to its opposite."""
    return sum(int(((q[:-1] * q[1:]).sum(1) < 0).sum()) for q in episodes)


def _are_one(four: Sequence[str]) -> bool:
    if len({_PLACE.sub("", name) for name in four}) != 1 or len(set(four)) != 4:
        return False
    letters = sorted(found[1].lower() for name in four if (found := _LETTER.search(name)))
    return "quat" in four[0].lower() or letters == ["w", "x", "y", "z"]
