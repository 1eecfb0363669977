"""Pictures that a file keeps packed, one JPEG or PNG a frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.readers.faulty import about_episode
from omp_cli.core.data.readers.stored import Stored
from omp_cli.core.data.readers.video import decoded_image

MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n")


def is_packed(array: Stored) -> bool:
    """Whether an array can hold a packed picture a frame: rows of bytes (T, L), or (T,) of texts or rows of bytes."""
    if len(array.shape) == 2:
        return array.dtype == np.uint8
    return len(array.shape) == 1 and array.dtype.kind in "SO"


def unpacked(files: Mapping[int, Path], name: str, parts: Sequence[Stored], frames: Sequence[int]) -> Stored:
    """The pictures (T, H, W, 3) of packed ones, which are unpacked where they are read.

    Args:
        files: one for each episode, by its number.
        name: what they call the array.
        parts: the array of each file; ``is_packed`` holds.
        frames: the first frames to take of each.

    Raises:
        FaultyEpisode: the first picture is damaged, or none; where they are read, also any other, or one of another
            size.
        MissingDependency: PyAV is not installed.
    """
    first, file = next(iter(files.items()))
    with about_episode(first):
        size = picture_of(parts[0].read(1)[0], f"{file}: {name}, frame 0").shape

    def pieces(wanted: int) -> Iterator[NDArray[np.uint8]]:
        for (number, file), part, length in zip(files.items(), parts, frames, strict=True):
            with about_episode(number):
                found = _unpacked(part.read(min(length, wanted)), size, f"{file}: {name}")
            yield found
            if (wanted := wanted - len(found)) <= 0:
                return

    return Stored.continued((sum(frames), *size), np.dtype(np.uint8), None, pieces)


def _unpacked(rows: NDArray[Any], size: tuple[int, ...], where: str) -> NDArray[np.uint8]:
    found = np.empty((len(rows), *size), np.uint8)
    for frame, row in enumerate(rows):
        picture = picture_of(row, f"{where}, frame {frame}")
        if picture.shape != size:
            raise DataError(f"{where}, frame {frame} is a picture {picture.shape}, the first one is {size}")
        found[frame] = picture
    return found


def picture_of(row: Any, where: str) -> NDArray[np.uint8]:
    """(H, W, 3) of the bytes of a JPEG or PNG, behind which zeros may lie."""
    packed = row.tobytes() if isinstance(row, np.ndarray) else row
    if not isinstance(packed, bytes) or not packed.startswith(MAGIC):  # other kinds could name files of this machine
        raise DataError(f"{where} is neither a JPEG nor a PNG", "format.img names arrays of pictures")
    return decoded_image(packed.rstrip(b"\0"), None, where)
