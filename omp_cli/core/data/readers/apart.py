"""Episodes that are kept apart from each other, in a file or a group each, as if they were one after the other.

Legend: T frames, E episodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.base import Recording, Subject
from omp_cli.core.data.readers.cameras import by_name
from omp_cli.core.data.readers.faulty import FaultyEpisode, about_episode
from omp_cli.core.data.readers.one_more import HINT, one_more, said_of
from omp_cli.core.data.readers.packed import is_packed, unpacked
from omp_cli.core.data.readers.roles import PICTURE, Roles, RolesConfig, recording
from omp_cli.core.data.readers.stored import Stored


def joined_episodes(
    path: Path,
    config: RolesConfig,
    places: Sequence[Path],
    heads: Sequence[Mapping[str, Stored] | None],
    subject: Subject,
    known: int,
    said: Sequence[str],
) -> Recording:
    """The recording of episodes that are kept apart from each other.

    Args:
        path: what holds all of them, for messages.
        config: which array is what.
        places: where each episode is, for messages.
        heads: the arrays of each, by name; None of those that were not opened, since ``subject.kept`` lacks them.
        subject: the task.
        known: how many episodes there are, read or not.
        said: what the user has to know of their order.

    Raises:
        FaultyEpisode: an episode has other arrays than the first, or arrays whose lengths do not fit.
        UsageError: an array that is asked for is not there, or none is there that could be state or action.
    """
    kept = {number: places[number] for number in subject.kept(len(places))}
    first, *others = taken = [arrays for number in kept if (arrays := heads[number]) is not None]
    roles = Roles(str(next(iter(kept.values()))), first, config, others)
    episodes = _Episodes(kept, first, roles)
    for number, arrays in zip(kept, taken, strict=True):
        with about_episode(number):
            episodes.add(kept[number], arrays)
    episodes.pair(roles)
    found = recording(str(path), episodes.arrays(), episodes.ends, config, subject, None, kept)
    left_out = tuple(number for number in range(len(places)) if number not in kept)
    return replace(
        found,
        numbers=tuple(kept) if left_out else (),
        left_out=left_out,
        notes={**found.notes, "episodes_in_file": known},
        said=(*said, *episodes.said(), *found.said),
        cameras=tuple(by_name(roles.img, _camera)),
    )


_SEEN = ("obs", "observation", "observations")
"""What holds all that is seen, and is no camera's name."""


def _camera(key: str) -> str:
    """The camera of an array of pictures: the last part of its path that does not only say that these are pictures."""
    *parents, last = key.split("/")
    return parents[-1] if parents and last in PICTURE and parents[-1] not in _SEEN else last


def _length(array: Stored) -> int:
    return array.shape[0] if array.shape else 0


class _Episodes:
    """The arrays of all episodes as if they were in one, cut to the frames of the actions."""

    def __init__(self, files: Mapping[int, Path], first: Mapping[str, Stored], roles: Roles) -> None:
        self._files, self._first, self._taken, self._action = files, first, roles.taken, roles.action[0]
        self._numbers, self._places = list(files), list(files.values())
        self._packed = [name for name in roles.img if is_packed(first[name])]
        self._parts: list[Mapping[str, Stored]] = []
        self._frames: list[int] = []
        self._cut: tuple[str, ...] = ()
        self._others: list[str] = []

    @property
    def ends(self) -> NDArray[np.int64]:
        """The frame after the last one of each episode (E,)."""
        return np.cumsum(self._frames).astype(np.int64)

    def add(self, place: Path, arrays: Mapping[str, Stored]) -> None:
        """The next episode; DataError where its arrays are others than the first's, or it has no frames."""
        for name in self._taken:
            wanted, found = self._first[name], arrays.get(name)
            if found is None:
                raise self._differs(place, f"it has no {name}; it has: {listed(arrays)}")
            like = is_packed(found) if name in self._packed else found.shape[1:] == wanted.shape[1:]
            if not like or found.dtype.kind != wanted.dtype.kind:
                raise self._differs(
                    place, f"its {name} is {found.shape} {found.dtype}, there {wanted.shape} {wanted.dtype}"
                )
        self._frames.append(_length(arrays[self._action]))
        if not self._frames[-1]:
            raise DataError(f"{place}: {self._action} has 0 frames")
        self._parts.append(arrays)
        self._others += [place.name] if set(arrays) != set(self._first) else []

    def pair(self, roles: Roles) -> None:
        """Leave out the observations that no action follows; DataError where lengths do not fit in another way."""
        lengths = [{name: _length(part[name]) for name in self._taken} for part in self._parts]
        episodes = [(f"{place}: ", of) for place, of in zip(self._places, lengths, strict=True)]

        def refused(place: int, message: str) -> DataError:
            return FaultyEpisode(message, HINT, self._numbers[place])

        self._cut = one_more(episodes, roles.seen, roles.done, refused)

    def arrays(self) -> dict[str, Stored]:
        """The arrays of the first episode, continued by those of all others."""
        return {
            name: unpacked(self._files, name, [part[name] for part in self._parts], self._frames)
            if name in self._packed
            else self._joined([part[name] for part in self._parts if name in part])
            for name in self._first
        }

    def said(self) -> list[str]:
        """What was cut, and which episodes hold other arrays than the first."""
        said = []
        if self._packed:
            said.append(f"{listed(self._packed)}: pictures are unpacked, in the colours of RGB that JPEG and PNG have")
        if self._cut:
            said.append(said_of(self._cut))
        if self._others:
            said.append(f"{listed(self._others)} hold other arrays than {self._places[0].name}, whose names count")
        return said

    def _joined(self, parts: Sequence[Stored]) -> Stored:
        """An array (T, ...) of all episodes; the first one's alone where they have not the frames of the episodes."""
        kinds = {(part.shape[1:], part.dtype.kind) for part in parts}
        spare = [_length(part) - frames for part, frames in zip(parts, self._frames, strict=False)]
        if len(parts) < len(self._frames) or len(kinds) > 1 or not {0, 1}.issuperset(spare):
            return parts[0]
        inner, dtype = parts[0].shape[1:], max((part.dtype for part in parts), key=lambda dtype: dtype.itemsize)

        def pieces(frames: int) -> Iterator[NDArray[Any]]:
            for number, part, length in zip(self._numbers, parts, self._frames, strict=True):
                with about_episode(number):
                    found = part.read(min(length, frames))
                yield found.astype(dtype, copy=False)
                if (frames := frames - length) <= 0:
                    return

        return Stored.continued((sum(self._frames), *inner), dtype, sum(part.stored or 0 for part in parts), pieces)

    def _differs(self, place: Path, how: str) -> DataError:
        return DataError(
            f"{place}: not as {self._places[0].name}, the first episode: {how}",
            "write it as the others",
        )
