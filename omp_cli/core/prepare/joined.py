"""Several files that are read one after the other, as if they were one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from omp_cli.core.base.errors import DataError
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers import Reader, Recording, Subject
from omp_cli.core.data.readers.prepared import otherwise
from omp_cli.core.prepare.alike import check_alike
from omp_cli.core.prepare.files_config import FilesConfig
from omp_cli.core.prepare.leaving_out import naming_leave_out, told_of
from omp_cli.core.prepare.named_files import NamedFile, about_files, names_of, refuse_inside, refuse_shared

V = TypeVar("V")
_TOLD = 3
"""Sentences of one kind that are told one by one."""
_NAMED = 12
"""Files whose episodes are told; messages name the file of any other episode."""


def with_files(paths: Sequence[Path], reader: Reader, limit: int | None) -> list[NamedFile]:
    """What the user names, each with the files of it that the first ``limit`` episodes (None: all) of all need.

    An input after the last of these episodes has none, where files are an episode each. How many episodes a file of
    another format has shows when it is read.

    Raises:
        DataError: a file is missing.
        UsageError: what is named lies in a folder that is named too, or two share an episode.
    """
    found, left = list[NamedFile](), limit
    for path in paths:
        found.append(NamedFile(path, () if left == 0 else reader.files(path, left)))
        left = left - len(found[-1].files) if left is not None and reader.an_episode_each else left
    if missing := [file for one in found for file in one.files if not file.exists()]:
        raise DataError(f"{missing[0]}: no such file", f"expected: {reader.expected}")
    if reader.an_episode_each:
        refuse_shared(found, {file: file.resolve() for one in found for file in one.files})
    else:
        refuse_inside(paths)
    return found


def read_inputs(
    reader: Reader,
    inputs: Sequence[NamedFile],
    subject: Subject,
    limit: int | None,
    config: FilesConfig,
    progress: Progress,
) -> Recording:
    """The first ``limit`` episodes (None: all) of all inputs, in their order.

    Args:
        reader: reads each of them.
        inputs: what is read; those after the last episode that is wanted are not.
        subject: the task.
        limit: episodes of all of them together.
        config: the settings of the data set, which may say what the files then need not have alike; readers may pass
            over the episodes of its ``leave_out``.
        progress: advances with every episode.

    Raises:
        DataError: one is damaged, not of the format, or not as the first one.
        UsageError: the settings ask for what one of them does not have.
    """
    found: list[Recording] = []
    for one in inputs:
        before = sum(recording.known for recording in found)
        left = None if limit is None else limit - before
        if left == 0:
            break
        out = config.leave_out
        with about_files([one]), naming_leave_out(out, one, before, reader.an_episode_each):
            found.append(reader.read(one.path, told_of(subject, out, before), left, progress))
        check_alike((inputs[0].path, found[0]), (one.path, found[-1]), config)
    whole = found[0] if len(inputs) == 1 else joined(names_of([one.path for one in inputs]), found)
    return whole if len(whole.held_out) < len(whole.episodes) else replace(whole, held_out=())


def joined(names: Sequence[str], found: Sequence[Recording]) -> Recording:
    """One recording of several that are alike, whose episodes count on from one to the next.

    Args:
        names: of all files; those after the ones that were read are said.
        found: what was read of the first of them.
    """
    if any(recording.prepared != found[0].prepared for recording in found):
        found = [otherwise(recording) for recording in found]
    prepared = [recording.prepared for recording in found]
    in_order = all(one is not None and one.cloud_in_fps_order for one in prepared)
    first, counts = found[0], [recording.known for recording in found]
    before = [0, *itertools.accumulate(counts)]
    places = [0, *itertools.accumulate(len(recording.episodes) for recording in found)]
    left_out = tuple(start + number for start, r in zip(before, found, strict=False) for number in r.left_out)
    files = tuple(zip(names, before[:-1], strict=False))
    rates = {recording.hz for recording in found}
    shared = {key: value for key, value in first.notes.items() if all(r.notes.get(key) == value for r in found)}
    by_file = [
        {"file": name, "episodes": count, **recording.notes}
        for name, count, recording in zip(names, counts, found, strict=False)
    ]
    return replace(
        first,
        episodes=[episode for recording in found for episode in recording.episodes],
        notes={**shared, "joined": by_file},
        starts=[start for recording in found for start in recording.starts],
        scenes=_one_after_the_other([recording.scenes for recording in found]),
        states=_one_after_the_other([recording.states for recording in found]),
        sheet=_one_after_the_other([recording.sheet for recording in found]),
        said=(*_who_has_what(names, before), *_said(names, found)),
        held_out=tuple(start + index for start, r in zip(places, found, strict=False) for index in r.held_out),
        numbers=tuple(number for number in range(before[-1]) if number not in left_out) if left_out else (),
        left_out=left_out,
        hz=first.hz if len(rates) == 1 else None,
        whites=first.whites if len({recording.whites for recording in found}) == 1 else (),
        files=files,
        prepared=prepared[0] and replace(prepared[0], cloud_in_fps_order=in_order),
    )


def _one_after_the_other(lists: Sequence[list[V] | None]) -> list[V] | None:
    """All that is in the lists; None where one is None."""
    there = [values for values in lists if values is not None]
    return [value for values in there for value in values] if len(there) == len(lists) else None


def _who_has_what(names: Sequence[str], before: Sequence[int]) -> list[str]:
    """Which numbers the episodes of each file have, and which files are not read."""
    read = names[: len(before) - 1]
    spans = [
        f"{name} {start}" + (f" to {end - 1}" if end - 1 > start else "")
        for name, (start, end) in zip(read, itertools.pairwise(before), strict=True)
    ]
    all_of_them = "" if len(spans) <= _NAMED else " (of all files: environment.joined in the data set's attributes)"
    said = [f"files that are joined, and their episodes: {listed(spans, _NAMED)}{all_of_them}"]
    if unread := names[len(read) :]:
        said.append(f"nothing is taken of {listed(unread)}: the episodes before are as many as are wanted")
    return said


def _said(names: Sequence[str], found: Sequence[Recording]) -> list[str]:
    """What is said of the files: of all of them once, else with the names of those that it is said of.

    Of many files that say the same with other numbers, such as their frames, the first one is told: where each says it
    once, since a file that says it of several things, such as its cameras, says something else of each.
    """
    kinds: dict[str, dict[str, list[str]]] = {}
    for name, recording in zip(names, found, strict=False):
        for sentence in dict.fromkeys(recording.said):
            of_kind = kinds.setdefault(re.sub(r"[0-9.]+", "#", sentence), {})
            of_kind.setdefault(sentence, []).append(name)
    said = []
    for of_kind in kinds.values():
        named = [sentence if len(of) == len(found) else f"{listed(of)}: {sentence}" for sentence, of in of_kind.items()]
        saying = [name for of in of_kind.values() for name in of]
        if len(named) > _TOLD and len(set(saying)) == len(saying):
            more = len(saying) - len(next(iter(of_kind.values())))
            said.append(f"{named[0]}; so of {more} more files, with other numbers")
        else:
            said += named
    rates = {name: recording.hz for name, recording in zip(names, found, strict=False)}
    if len(set(rates.values())) > 1:
        told = (f"{name} {f'{hz:g} Hz' if hz else 'none'}" for name, hz in rates.items())
        said.append(f"the files say other rates, and --hz counts for all: {listed(told)}")
    if len({recording.whites for recording in found}) > 1:
        said.append(
            "pictures are of floating point numbers in some files alone, or of another scale there: a policy of these "
            "data has to be shown pictures of uint8"
        )
    return said
