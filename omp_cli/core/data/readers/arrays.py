"""Plain arrays: an .npz, or a folder of .npy files, with ``state``, ``action``, ``episode_ends`` and whatever else.

``episode_ends`` (E,) is the frame after the last one of each episode; all others are (T, ...), all frames of all
episodes one after the other, in the units of the robot.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, data_error
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.foreign import whole
from omp_cli.core.data.readers.base import FORMATS, Contents, Reader, Recording, Subject
from omp_cli.core.data.readers.npz import header, names_in, opened
from omp_cli.core.data.readers.roles import ENDS, ENDS_ARE, RolesConfig, Stored, checked_ends, recording

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
        arrays = _in_folder(path) if path.is_dir() else _in_file(path)
        ends = arrays.pop(ENDS)
        if len(ends.shape) != 1:
            raise DataError(f"{path}: {ENDS} is {ends.shape}, expected a list of whole numbers")
        found = recording(
            str(path), arrays, checked_ends(f"{path}: {ENDS}", ends.read(ends.shape[0])), self.config, subject, limit
        )
        progress.advance()
        return found


def _in_file(path: Path) -> dict[str, Stored]:
    def reading(name: str) -> Any:
        def read(frames: int) -> NDArray[Any]:
            with opened(path, ArraysReader.expected) as file:
                return file[name][:frames]

        return read

    with opened(path, ArraysReader.expected) as file:
        found = {name: header(path, file.zip, name, ArraysReader.expected) for name in file.files}
    return {name: Stored(shape, dtype, stored, reading(name)) for name, (shape, dtype, stored) in found.items()}


def _in_folder(path: Path) -> dict[str, Stored]:
    def reading(file: Path) -> Any:
        return lambda frames: np.array(_npy(file)[:frames])

    files = {file.stem: (file, _npy(file)) for file in sorted(path.glob("*.npy"))}
    return {n: Stored(a.shape, a.dtype, file.stat().st_size, reading(file)) for n, (file, a) in files.items()}


def _npy(file: Path) -> NDArray[Any]:
    try:
        return np.load(whole(file), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise data_error(error, str(file), "damaged, or not an array of numbers", AGAIN) from None
