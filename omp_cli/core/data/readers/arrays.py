"""Plain arrays: an .npz, or a folder of .npy files, with ``state``, ``action``, ``episode_ends`` and whatever else.

``episode_ends`` (E,) is the frame after the last one of each episode; all others are (T, ...), all frames of all
episodes one after the other, in the units of the robot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, data_error
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.foreign import whole
from omp_cli.core.data.readers.base import FORMATS, Contents, Reader, Recording, Subject
from omp_cli.core.data.readers.npz import head_of, names_in, stored_in
from omp_cli.core.data.readers.roles import ENDS, ENDS_ARE, RolesConfig, checked_ends, recording
from omp_cli.core.data.readers.stored import Stored

AGAIN = "write it anew with numpy.save, as an array of numbers"


class ArraysConfig(RolesConfig):
    """What is taken from plain arrays."""

    name: Literal["arrays"] = "arrays"


@FORMATS.register("arrays")
class ArraysReader(Reader):
    """One episode for each of ``episode_ends``."""

    Config = ArraysConfig
    config: ArraysConfig
    expected = f"state, action and {ENDS_ARE}, as arrays of one .npz or as .npy files of a folder"
    simulated = False
    folders = True

    @classmethod
    def contents(cls, path: Path) -> Contents | None:
        """See the base class."""
        files = tuple(file.stem for file in sorted(path.glob("*.npy")))  # none below what is no folder
        held = files if path.is_dir() else names_in(path, cls.expected)
        return Contents(held, () if ENDS in held else (ENDS,)) if held else None

    @classmethod
    def label(cls, path: Path) -> str:
        """See the base class."""
        return path.absolute().name.removesuffix(".npz")

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        progress.start(f"{subject.task}: reading arrays", 1)
        self.refuse_incomplete(path)
        arrays = _in_folder(path) if path.is_dir() else stored_in(path, self.expected)
        ends = arrays.pop(ENDS, None)
        if ends is None or len(ends.shape) != 1:
            found_ends = "no array" if ends is None else ends.shape
            raise DataError(f"{path}: {ENDS} is {found_ends}, expected a list of whole numbers")
        found = recording(
            str(path), arrays, checked_ends(f"{path}: {ENDS}", ends.read(ends.shape[0])), self.config, subject, limit
        )
        progress.advance()
        return found


def _in_folder(path: Path) -> dict[str, Stored]:
    """The arrays of the folder's files, of which only heads are read: what has no role may hold whatever it likes."""
    return {file.stem: _stored(file) for file in sorted(path.glob("*.npy"))}


def _stored(file: Path) -> Stored:
    def between(start: int, stop: int) -> NDArray[Any]:
        with _one_line(file):
            return np.array(np.load(file, mmap_mode="r", allow_pickle=False)[start:stop])

    with _one_line(file), whole(file).open("rb") as opened:
        shape, _, dtype = head_of(opened, str(file))
    return Stored.sliced(shape, dtype, file.stat().st_size, between)


@contextmanager
def _one_line(file: Path) -> Iterator[None]:
    """Whatever NumPy raises inside becomes a DataError."""
    try:
        yield
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise data_error(error, str(file), "damaged, or not an array of numbers", AGAIN) from None
