"""Leaving single episodes of files out of a data set, such as one with a number that is not finite."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.readers import Recording, Subject
from omp_cli.core.data.readers.faulty import FaultyEpisode
from omp_cli.core.prepare.named_files import NamedFile

V = TypeVar("V")


def without(recording: Recording, leave_out: Iterable[int]) -> Recording:
    """The recording without some of its episodes, said; the others keep their ``numbers``.

    Args:
        recording: what was read; its reader may have passed over some of these.
        leave_out: indices of episodes, counted from 0 as they were read.

    Raises:
        UsageError: there is no such episode, or none is left that is not held out.
    """
    out, total = sorted(leave_out), recording.known
    if not out:
        return recording
    if out[-1] >= total:
        raise UsageError(f"leave_out: there is no episode {out[-1]}", f"{total} are read, 0 to {total - 1}")
    kept = [place for place in range(len(recording.episodes)) if recording.number(place) not in out]
    held_out = tuple(new for new, place in enumerate(kept) if place in recording.held_out)
    if len(held_out) == len(kept):
        rest = "episode" if not kept else "episode that is not held out"
        raise UsageError(f"leave_out: no {rest} is left of {total}", "leave fewer out")

    def of(values: list[V]) -> list[V]:
        return [values[place] for place in kept]

    return replace(
        recording,
        episodes=of(recording.episodes),
        starts=of(recording.starts),
        scenes=None if recording.scenes is None else of(recording.scenes),
        states=None if recording.states is None else of(recording.states),
        sheet=None if recording.sheet is None else of(recording.sheet),
        held_out=held_out,
        numbers=tuple(map(recording.number, kept)),
        left_out=(),
        said=(
            *recording.said,
            f"left out of {total} episodes, as leave_out says: {', '.join(map(recording.told, out))}",
        ),
    )


def told_of(subject: Subject, leave_out: Iterable[int], before: int) -> Subject:
    """What the reader of an input is told, before which there are so many episodes in others."""
    return replace(subject, leave_out=frozenset(number - before for number in leave_out if number >= before))


@contextmanager
def naming_leave_out(leave_out: Collection[int], one: NamedFile, before: int, an_episode_each: bool) -> Iterator[None]:
    """A FaultyEpisode inside becomes a DataError with the line that leaves the episode out, where that helps.

    Args:
        leave_out: what is left out already.
        one: the input that is read.
        before: how many episodes the inputs before it have.
        an_episode_each: whether its files are an episode each.
    """
    try:
        yield
    except FaultyEpisode as error:
        number, mend = before + error.number, error.mend
        out = (*leave_out, number)
        whole = an_episode_each and one.files and all(before + place in out for place in range(len(one.files)))
        if whole or number in leave_out:  # an input of which nothing is left is read all the same
            rest = f"do not name {one.path}, of which nothing else is taken"
        else:
            rest = f"leave this episode out: --set leave_out={','.join(map(str, out))}"
        raise DataError(error.message, f"{mend}; or {rest}" if mend else rest) from error
