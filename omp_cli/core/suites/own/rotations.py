"""Which numbers of a state or an action of one's own are rotations, as the user says it, compared with the data."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from omp_cli.core.base.config import Names
from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.data.readers import Recording
from omp_cli.core.data.store import Arrays
from omp_cli.core.spec import Rotation, RotationKind
from omp_cli.core.suites.own.channels import names_of

if TYPE_CHECKING:
    from omp_cli.core.suites.own.source import OwnFilesConfig

KINDS: tuple[RotationKind, ...] = get_args(RotationKind)
_WRITTEN = re.compile(rf"(.+?):({'|'.join(KINDS)})((?<!quaternion):degrees)?")
_WITHIN = 0.01
"""What recorded numbers may miss a length of 1, or a bound in turns, by."""


def _as_written(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if _WRITTEN.fullmatch(value) is None:
            raise ValueError(
                f"{value!r} is not the first number's place or name, and what begins there: 3:axis-angle, 3:euler, "
                "3:quaternion or 3:angle, of angles in degrees 3:euler:degrees"
            )
    return values


Rotations = Annotated[Names, AfterValidator(_as_written)]
"""Rotations of a vector, each ``PLACE:KIND`` or ``PLACE:KIND:degrees``; the place is a name or counted from 0."""


def rotations_of(
    episodes: Sequence[Arrays], key: str, recording: Recording, config: OwnFilesConfig
) -> tuple[Rotation, ...]:
    """The rotations of "state" or "action": those that the settings name, else those that the file says.

    Raises:
        UsageError: there is no such number, two overlap, or the data are no rotations of that kind.
    """
    setting, values = f"{key}_rotations", np.concatenate([episode[key] for episode in episodes])
    width, names = values.shape[1], names_of(episodes[0], key, recording, config)
    if not (written := getattr(config, setting)):
        return tuple(_near(r, values, setting, names) for r in getattr(recording.spec, setting))
    found = []
    for text in written:
        place, kind, degrees = _WRITTEN.fullmatch(text).groups()  # type: ignore[union-attr]  # they were checked
        first = names.index(place) if place in names else int(place) if place.isdecimal() else width
        rotation = Rotation.model_validate({"first": first, "kind": kind, "degrees": degrees is not None})
        if rotation.places.stop > width:
            ends = f"the {key} has {width} numbers, counted from 0, and {kind} takes {rotation.numbers}"
            raise UsageError(f"{setting}: {text}: {ends}", did_you_mean(place, names))
        found.append(rotation)
    found.sort(key=lambda rotation: rotation.first)
    for one, following in itertools.pairwise(found):
        if one.places.stop > following.first:
            raise UsageError(f"{setting}: {one} takes {names[following.first]}, where another one begins")
    return tuple(_near(rotation, values, setting, names) for rotation in found)


def said_of(key: str, rotations: Sequence[Rotation], names: Sequence[str]) -> list[str]:
    """How a policy sees or learns them, in a sentence for each."""
    verb = "seen" if key == "state" else "learned, and given out as recorded,"
    return [
        f"{key}: {names[r.first]}{f' to {names[r.places[-1]]}' if r.numbers > 1 else ''} "
        f"{'are' if r.numbers > 1 else 'is'} {verb} in {'two' if r.learned == 2 else 'six'} numbers ({r.kind})"
        for r in rotations
    ]


def _near(rotation: Rotation, values: NDArray[Any], setting: str, names: Sequence[str]) -> Rotation:
    """The rotation, with what it is given out near to; UsageError where the data (frames, n) are none of its kind."""
    mine = values[:, rotation.places].astype(np.float64)
    where = f"{setting}: {names[rotation.first]}: no {rotation.kind}"
    mine = mine[np.isfinite(mine).all(axis=1)]  # what is not finite is told by ``check_episodes``
    if rotation.kind == "quaternion":
        if odd := int((np.abs(np.linalg.norm(mine, axis=1) - 1) >= _WITHIN).sum()):
            raise UsageError(f"{where}: its length is not 1 in {odd} of {len(mine)} frames")
        axis = np.linalg.eigh(mine.T @ mine)[1][:, -1]
        return rotation.model_copy(update={"near": tuple((axis if (mine @ axis).sum() >= 0 else -axis).tolist())})
    turn, hint = (
        rotation.turn,
        "" if rotation.degrees else f"of angles in degrees: {rotation.first}:{rotation.kind}:degrees",
    )
    if rotation.kind == "axis-angle":
        if (longest := np.linalg.norm(mine, axis=1).max()) > (1 + _WITHIN) * turn:
            raise UsageError(f"{where}: an angle is {longest:.4g}, and a whole turn {turn:.4g}", hint)
        return rotation
    low, high = mine.min(axis=0), mine.max(axis=0)
    if ((high - low) > (1 + _WITHIN) * turn).any():
        raise UsageError(
            f"{where}: {low.min():.4g} to {high.max():.4g} is more than a whole turn, {turn:.4g}",
            hint or "an angle that counts its turns jumps nowhere: leave it out",
        )
    middle = (mine[:, 1:2] + turn / 2) % turn - turn / 2
    if (steep := np.abs(middle).max(initial=0.0)) > (0.25 + _WITHIN) * turn:
        raise UsageError(
            f"{where}: the second angle comes to {steep:.4g}, more than a quarter of a turn",
            "angles of other axes can be named one by one: " + ",".join(f"{p}:angle" for p in rotation.places),
        )
    centre = np.where(np.maximum(-low, high) <= (0.5 + _WITHIN) * turn, 0.0, (low + high) / 2)
    return rotation.model_copy(update={"near": tuple(centre.tolist())})
