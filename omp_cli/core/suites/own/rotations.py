"""Which numbers of a state or an action of one's own are rotations, as the user says it, compared with the data."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from omp_cli.core.base.config import Names
from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.data.quaternions import side_of
from omp_cli.core.data.readers import Recording
from omp_cli.core.data.store import Arrays
from omp_cli.core.spec import Rotation, RotationKind
from omp_cli.core.suites.own.channels import names_of

if TYPE_CHECKING:
    from omp_cli.core.suites.own.source import OwnFilesConfig

KINDS: tuple[RotationKind, ...] = get_args(RotationKind)
_WRITTEN = re.compile(rf"(.+?):({'|'.join(KINDS)})((?<!quaternion)(?<!wxyz):degrees)?")
_WITHIN = 0.01
"""What recorded numbers may miss a length of 1, or a bound in turns, by."""
_ROUNDING = 1e-5
"""How far beyond half a turn one is written that was rounded, in turns."""


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
    setting = f"{key}_rotations"
    names = names_of(episodes[0], key, recording, config)
    written: tuple[str, ...] | None = getattr(config, setting)
    found: Sequence[Rotation] = getattr(recording.spec, setting) if written is None else _named(setting, written, names)
    for one, following in itertools.pairwise(found):
        if one.places.stop > following.first:
            raise UsageError(f"{setting}: {one} takes {names[following.first]}, where another one begins")
    fitted = []
    for rotation in found:
        values = [episode[key][:, rotation.places].astype(np.float64) for episode in episodes]
        where = f"{setting}: {names[rotation.first]}: no {rotation.kind}"
        if rotation.is_quaternion:
            _check_lengths(values, where, recording)
        fitted.append(_near(rotation, np.concatenate(values), where))
    return tuple(fitted)


def said_of(key: str, rotations: Sequence[Rotation], names: Sequence[str]) -> list[str]:
    """How a policy sees or learns them, in a sentence for each."""
    said = []
    for r in rotations:
        which = f"{names[r.first]} to {names[r.places[-1]]} are" if r.numbers > 1 else f"{names[r.first]} is"
        how = f"in {'two' if r.learned == 2 else 'six'} numbers ({r.kind}{', degrees' if r.degrees else ''})"
        said.append(f"{key}: {which} {f'seen {how}' if key == 'state' else f'learned {how} and given out as recorded'}")
    return said


def _named(setting: str, written: Sequence[str], names: Sequence[str]) -> list[Rotation]:
    """The rotations that the user names, in the order of their places."""
    found = []
    for text in written:
        place, kind, degrees = _WRITTEN.fullmatch(text).groups()  # type: ignore[union-attr]  # they were checked
        first = names.index(place) if place in names else int(place) if place.isdecimal() else len(names)
        rotation = Rotation.model_validate(
            {"first": min(first, len(names)), "kind": kind, "degrees": degrees is not None}
        )
        if rotation.places.stop > len(names):
            key = setting.removesuffix("_rotations")
            ends = f"the {key} has {len(names)} numbers, counted from 0, and {kind} takes {rotation.numbers}"
            raise UsageError(f"{setting}: {text}: {ends}", did_you_mean(place, names))
        found.append(rotation)
    return sorted(found, key=lambda rotation: rotation.first)


def _check_lengths(values: Sequence[NDArray[np.float64]], where: str, recording: Recording) -> None:
    """UsageError where quaternions are not of length 1; what is not finite is told by ``check_episodes``."""
    lengths = [np.linalg.norm(x, axis=1) for x in values]
    odd = [int((np.abs(length - 1) >= _WITHIN).sum()) for length in lengths]
    if any(odd):
        place = int(np.flatnonzero(odd)[0])
        raise UsageError(
            f"{where}: its length is not 1 in {sum(odd)} of {sum(map(len, values))} frames, the first "
            f"in {recording.name(place)}",
            f"of a few episodes: leave them out, --set leave_out={recording.number(place)}",
        )


def _near(rotation: Rotation, values: NDArray[np.float64], where: str) -> Rotation:
    """The rotation, with what it is given out near to; UsageError where the data (frames, k) are none of its kind."""
    mine = values[np.isfinite(values).all(axis=1)]
    if not len(mine):
        return rotation
    if rotation.is_quaternion:
        return rotation.model_copy(update={"near": tuple(side_of([mine]).tolist())})
    turn, half = rotation.turn, (0.5 + _ROUNDING) * rotation.turn
    if rotation.kind == "axis-angle":
        if (longest := np.linalg.norm(mine, axis=1).max()) > (1 + _WITHIN) * turn:
            raise UsageError(
                f"{where}: an angle is {longest:.4g}, and a whole turn {turn:.4g}", _hint(rotation, longest)
            )
        near = mine.mean(axis=0) if longest > half else ()  # kept on where the angle passes half a turn
        return rotation.model_copy(update={"near": tuple(float(x) for x in near)})
    low, high = mine.min(axis=0), mine.max(axis=0)
    if (widest := (high - low).max()) > (1 + _WITHIN) * turn:
        reach = f"{low.min():.4g} to {high.max():.4g}"
        raise UsageError(f"{where}: {reach} is more than a whole turn, {turn:.4g}", _hint(rotation, widest))
    middle = (mine[:, 1:2] + turn / 2) % turn - turn / 2
    if (steep := np.abs(middle).max(initial=0.0)) > (0.25 + _WITHIN) * turn:
        each = ",".join(f"{place}:angle{':degrees' * rotation.degrees}" for place in rotation.places)
        raise UsageError(
            f"{where}: the second angle comes to {steep:.4g}, more than a quarter of a turn",
            f"angles of other axes can be named one by one: {each}",
        )
    centre = np.where(np.maximum(-low, high) <= half, 0.0, (low + high) / 2)
    return rotation.model_copy(update={"near": tuple(centre.tolist())})


def _hint(rotation: Rotation, reach: float) -> str:
    """What to do about angles that go through more than a turn."""
    if not rotation.degrees and reach > 2 * rotation.turn:
        return f"of angles in degrees: {rotation}:degrees"
    return "angles that count their turns jump nowhere: leave them out of this setting"
