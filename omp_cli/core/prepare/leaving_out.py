"""Leaving single episodes of files out of a data set, such as one with a number that is not finite."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from omp_cli.core.base.errors import UsageError
from omp_cli.core.data.readers import Recording

V = TypeVar("V")


def without(recording: Recording, leave_out: Iterable[int]) -> Recording:
    """The recording without some of its episodes, said; the others keep their ``numbers``.

    Args:
        recording: what was read.
        leave_out: indices of episodes, counted from 0 as they were read.

    Raises:
        UsageError: there is no such episode, or none is left that is not held out.
    """
    out, total = sorted(leave_out), len(recording.episodes)
    if not out:
        return recording
    if out[-1] >= total:
        raise UsageError(f"leave_out: there is no episode {out[-1]}", f"{total} are read, 0 to {total - 1}")
    kept = [index for index in range(total) if index not in out]
    held_out = tuple(place for place, index in enumerate(kept) if index in recording.held_out)
    if len(held_out) == len(kept):
        rest = "episode" if not kept else "episode that is not held out"
        raise UsageError(f"leave_out: no {rest} is left of {total}", "leave fewer out")

    def of(values: list[V]) -> list[V]:
        return [value for index, value in enumerate(values) if index not in out]

    return replace(
        recording,
        episodes=of(recording.episodes),
        starts=of(recording.starts),
        scenes=None if recording.scenes is None else of(recording.scenes),
        states=None if recording.states is None else of(recording.states),
        sheet=None if recording.sheet is None else of(recording.sheet),
        held_out=held_out,
        numbers=tuple(kept),
        said=(
            *recording.said,
            f"left out of {total} episodes, as leave_out says: {', '.join(map(recording.told, out))}",
        ),
    )
