"""What white is in pictures of floating point numbers, 1 or 255: no picture tells it, and all episodes together do.

Legend: T frames, E episodes, H, W, C height, width and channels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import short
from omp_cli.core.data.readers.faulty import FaultyEpisode
from omp_cli.core.data.readers.stored import Stored

SHARE, BYTE = 1, 255
"""What white can be."""
_UNCLEAR = 2
"""A greatest number above 1 and up to this one is of neither: resizing can exceed 1, and no camera is so dark."""
AS_BYTES = "write pictures as uint8, colours from 0 to 255"


@dataclass(frozen=True)
class Spans:
    """Which frames of arrays are which episode's.

    Attributes:
        ends: the frame after the last one of each episode (E,).
        names: what messages call each of them, with its file.
        numbers: of each of them in its file.
        left_out: those of these numbers whose frames may be whatever they are.
    """

    ends: NDArray[np.int64]
    names: Sequence[str]
    numbers: Sequence[int]
    left_out: Collection[int] = ()

    def among(self, start: int, frames: int) -> Iterator[tuple[int, slice]]:
        """The episodes that so many frames from ``start`` on are of, each with its part of these frames."""
        first, last = np.searchsorted(self.ends, [start, start + frames - 1], side="right")
        for place in range(int(first), int(last) + 1):
            begin, end = max(self.begin(place), start), min(int(self.ends[place]), start + frames)
            yield place, slice(begin - start, end - start)

    def begin(self, place: int) -> int:
        """The first frame of an episode."""
        return int(self.ends[place - 1]) if place else 0


@dataclass
class _Range:
    """Least and greatest number in the pictures of an episode, and its first frame with others than 0 to 255."""

    low: float = np.inf
    high: float = -np.inf
    odd: int | None = None

    def white(self) -> int | None:
        """What white is; None of pictures that are black and would be so with either."""
        return None if self.high <= 0 else SHARE if self.high <= SHARE else BYTE

    def __str__(self) -> str:
        return f"from {self.low:.3g} to {self.high:.3g}"


def white_of(array: Stored, frames: int, spans: Spans, name: str, said: list[str]) -> int:
    """What white is in the pictures of all episodes.

    Args:
        array: (T, ...) of floating point numbers.
        frames: how many to look at from the start.
        spans: which of them are which episode's.
        name: what the user calls the array.
        said: gets what the user has to know.

    Raises:
        FaultyEpisode: numbers are not finite, or not from 0 to 255; or episodes differ in what white is.
    """
    ranges = _ranges(array, frames, spans, name)
    if not ranges:  # all that is read will be left out
        return SHARE
    for place, of in ranges.items():
        if of.odd is not None or SHARE < of.high <= _UNCLEAR:
            at = "" if of.odd is None else f"; the first beyond that are in its frame {of.odd}"
            raise FaultyEpisode(
                f"{spans.names[place]}: {name} has values {of}, expected 0 to 255 or 0 to 1{at}",
                AS_BYTES if of.odd is not None else f"where white is 1, cut what is above it, or {AS_BYTES}",
                spans.numbers[place],
            )
    whites = {place: white for place, of in ranges.items() if (white := of.white()) is not None}
    usual = Counter(whites.values()).most_common(1)[0][0] if whites else SHARE
    if others := [place for place, white in whites.items() if white != usual]:
        odd, like = others[0], next(place for place, white in whites.items() if white == usual)
        raise FaultyEpisode(
            f"{spans.names[odd]}: {name} has values {ranges[odd]}, and of {spans.names[like]} they are {ranges[like]}: "
            f"white is 1 in some episodes and 255 in others ({len(others)} of {len(ranges)} are not as most)",
            f"{AS_BYTES}, or with one scale in all episodes",
            spans.numbers[odd],
        )
    low, high = min(of.low for of in ranges.values()), max(of.high for of in ranges.values())
    said.append(f"{short(name)}: pictures of {array.dtype} from {low:.3g} to {high:.3g} are rounded to 0 to 255")
    return usual


def _ranges(array: Stored, frames: int, spans: Spans, name: str) -> dict[int, _Range]:
    """The range of each episode by its place; FaultyEpisode for numbers that are not finite."""
    found: dict[int, _Range] = {}
    start = 0
    for part in array.in_parts(frames):
        for place, within in spans.among(start, len(part)):
            if spans.numbers[place] in spans.left_out:
                continue
            values, of, first = part[within], found.setdefault(place, _Range()), start + within.start
            low, high = float(values.min()), float(values.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                frame = first - spans.begin(place) + _first(~np.isfinite(values))
                raise FaultyEpisode(
                    f"{spans.names[place]}: {name} has values that are not finite, first at its frame {frame}",
                    "mend the recording",
                    spans.numbers[place],
                )
            if of.odd is None and (low < 0 or high > BYTE):
                of.odd = first - spans.begin(place) + _first((values < 0) | (values > BYTE))
            of.low, of.high = min(of.low, low), max(of.high, high)
        start += len(part)
    return found


def _first(wrong: NDArray[np.bool_]) -> int:
    """The first frame of (T, ...) in which something is wrong."""
    return int(np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))[0])


def in_bytes(pictures: NDArray[Any], white: int) -> NDArray[np.uint8]:
    """Pictures of floating point numbers as those of uint8, one after the other, which spares memory."""
    found = np.empty(pictures.shape, np.uint8)
    scale = BYTE / white
    with np.errstate(invalid="ignore", over="ignore"):  # of what is not finite: in episodes that are left out alone
        for picture, rounded in zip(pictures, found, strict=True):
            np.rint(picture * scale, out=rounded, casting="unsafe")
    return found


def live_bytes(pictures: NDArray[Any], where: str, white: int | None) -> NDArray[np.uint8]:
    """Pictures of floating point numbers that a camera shows, as those of its recording became numbers of uint8.

    Raises:
        DataError: its recording had no such pictures (``white`` is None), or they are not from 0 to white.
    """
    if white is None:
        raise DataError(
            f"{where} is {pictures.shape} {pictures.dtype}, expected pictures of uint8",
            "colours from 0 to 255; numbers of floating point are taken where the policy's data say that they were "
            "recorded so (older data do not: omp prepare them again)",
        )
    low, high = (float(pictures.min()), float(pictures.max())) if pictures.size else (0.0, 0.0)
    if not (low >= 0 and high <= white):  # true of NaN, too
        raise DataError(
            f"{where} has values from {low:.3g} to {high:.3g}, expected 0 to {white}, as they were recorded",
            "show pictures of that scale, or of uint8 from 0 to 255",
        )
    return in_bytes(pictures, white)
