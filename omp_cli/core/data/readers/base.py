"""The contract of a reader: from a file of a public format to episodes of plain arrays.

Legend: T frames of an episode, S state dimension, A action dimension, H, W, C height, width and channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import DataError
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.foreign import listed, whole
from omp_cli.core.data.readers.recording import Recording as Recording
from omp_cli.core.data.readers.recording import Subject as Subject
from omp_cli.core.data.store import Arrays
from omp_cli.core.families import FORMATS as FORMATS
from omp_cli.core.spec import Spec

_KINDS = {
    b"\x93NUMPY": "one array alone; a folder of them is read (state.npy, action.npy, episode_ends.npy)",
    b"PAR1": "a table of Parquet; of a LeRobot folder, name the folder",
    b"\x80": "a pickle of Python, which omp never loads",
    b"\x1f\x8b": "packed with gzip; unpack it first",
    b"BZh": "packed with bzip2; unpack it first",
}
"""What files that no format builds on begin with, and what to say of them."""


@dataclass(frozen=True)
class Contents:
    """What a file holds, and what it would need besides to be of a format.

    Attributes:
        held: names of what is in it.
        lacking: names of what the format needs and the file does not have.
    """

    held: tuple[str, ...]
    lacking: tuple[str, ...]


class Reader(ABC):
    """A format. Its ``Config`` holds what is taken from a file, with the format's ``name``."""

    Config: ClassVar[type[Settings]]
    expected: ClassVar[str]
    """What such a file holds, in a line, for messages."""
    simulated: ClassVar[bool] = True
    """Whether such files come from the benchmark's own simulator, so that an environment shows the same state."""

    folders: ClassVar[bool] = False
    """Whether a whole folder, rather than one file in it, can be of this format; then ``accepts`` is asked of both."""

    an_episode_each: ClassVar[bool] = False
    """Whether ``files`` are an episode each and nothing else."""

    def __init__(self, config: Settings) -> None:
        self.config = config

    @classmethod
    def contents(cls, path: Path) -> Contents | None:
        """What the file holds and lacks of this format, where it is of the kind (HDF5, .npz) that the format builds on.

        None for files of other kinds, and of a format that is told in another way (``accepts``). DataError when the
        file is damaged.
        """
        return None

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether the file looks like this format; DataError when it is damaged."""
        found = cls.contents(path)
        return found is not None and not found.lacking

    @classmethod
    def refuse_incomplete(cls, path: Path) -> None:
        """DataError where the file lacks something that the format needs; it says what there is."""
        found = cls.contents(path)
        if found is not None and found.lacking:
            raise DataError(
                f"{path}: no {' and no '.join(found.lacking)} in it; it holds: {listed(found.held)}",
                f"expected: {cls.expected}",
            )

    @classmethod
    def env_name(cls, path: Path) -> str | None:
        """The simulator's name of the task as the file gives it, if it does."""
        return None

    @classmethod
    def label(cls, path: Path) -> str:
        """Name for a data set of this file; of its folder, where all files of the format have one name."""
        return path.stem

    def files(self, path: Path, limit: int | None) -> tuple[Path, ...]:
        """The file and those that belong to it, of which the first ``limit`` episodes (None: all) need each."""
        return (path,)

    @abstractmethod
    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """Read the first ``limit`` episodes (None: all).

        Raises:
            DataError: damaged, or not of this format.
            UsageError: the settings ask for what the file does not have.
        """


def sniff(path: Path) -> str:
    """Name of the format of a file; DataError when none accepts it."""
    if path.is_dir():
        named = [name for name in FORMATS.names() if FORMATS.get(name).folders]
    else:
        with whole(path).open("rb") as file:
            head = file.read(512)
        if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
            raise DataError(f"{path}: a web page, not a data set", "the download went wrong; fetch the file itself")
        named = list(FORMATS.names())
    for name in named:
        if FORMATS.get(name).accepts(path):
            return name
    raise of_no_format(path, named)


def of_no_format(path: Path, formats: Sequence[str], *reasons: str) -> DataError:
    """The error for a file or folder that none of these formats accepts.

    Args:
        path: the file or folder.
        formats: names of the formats that were asked.
        reasons: what else to say of it.
    """
    found = {name: contents for name in formats if (contents := FORMATS.get(name).contents(path)) is not None}
    said = ["of no known format", *reasons]
    if path.is_dir():
        said.append(f"it holds: {listed(sorted(part.name for part in path.iterdir()))}")
    elif found:
        said.append(f"it holds: {listed(next(iter(found.values())).held)}")
    elif (kind := _kind_of(path)) is not None:
        said.append(f"it is {kind}")
    said += [f"as {name} it lacks {', '.join(contents.lacking)}" for name, contents in found.items()]
    message = f"{path}: {'; '.join(said)}"
    if not found:
        return DataError(message, f"known are {', '.join(formats)}; --format NAME forces one, to see what it expects")
    fewest = min(len(contents.lacking) for contents in found.values())
    nearest = [name for name, contents in found.items() if len(contents.lacking) == fewest]
    return DataError(message, "expected of " + "; ".join(f"{name}: {FORMATS.get(name).expected}" for name in nearest))


def _kind_of(path: Path) -> str | None:
    if ".tfrecord" in path.name:
        return "a file of TFRecords; of an RLDS data set, name the folder that it is in"
    with path.open("rb") as file:
        head = file.read(8)
    return next((kind for start, kind in _KINDS.items() if head.startswith(start)), None if head else "empty")


_MOST_CHANNELS = 24


def spec_of(subject: Subject, episodes: Sequence[Arrays], **more: Any) -> Spec:
    """The spec of a task as its first episode shows it."""
    first = episodes[0]
    values = {
        "suite": subject.suite,
        "task": subject.task,
        "action_dim": first["action"].shape[1],
        "state_dim": first["state"].shape[1],
        "end_effector": subject.end_effector,
        "max_steps": subject.facts.max_steps,
        "control_hz": subject.facts.control_hz,
        "image": first["img"].shape[1:] if "img" in first else None,
    }
    return Spec(**{**values, **more})


def split(arrays: Arrays, ends: NDArray[np.int64], limit: int | None) -> list[Arrays]:
    """Frame-major arrays cut into episodes at the cumulative ``ends``."""
    ends = ends[:limit]
    starts = np.concatenate([[0], ends[:-1]])
    return [{k: a[s:e] for k, a in arrays.items()} for s, e in zip(starts, ends, strict=True)]


def channels_last(values: NDArray[Any], where: str, channels: int | None = None) -> tuple[NDArray[np.uint8], str]:
    """Pictures (T, H, W, C) of pictures whose layout their shape tells, and the layout's name.

    Channels are where the axis is shorter than both others and holds whole RGB pictures, of eight cameras at most; a
    shape that could be either, or neither, is refused.

    Args:
        values: (T, H, W, C) or (T, C, H, W), uint8.
        where: the file and its array.
        channels: required number of channels; None takes what is there.
    """
    fits = []
    if values.ndim == 4 and values.dtype == np.uint8:
        for axis, name in ((1, "channels first"), (3, "channels last")):
            size, others = values.shape[axis], [values.shape[a] for a in (1, 2, 3) if a != axis]
            if 0 < size <= _MOST_CHANNELS and size % 3 == 0 and size < min(others) and channels in (None, size):
                fits.append(name)
    if len(fits) != 1:
        number = "3 for each camera" if channels is None else str(channels)
        raise DataError(
            f"{where} is {values.shape} {values.dtype}, expected pictures of uint8, (frames, height, width, channels) "
            "or (frames, channels, height, width)",
            f"colours are from 0 to 255, channels {number}, and fewer than rows and columns: so the shape tells them",
        )
    if fits[0] == "channels first":
        values = values.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(values), fits[0]


def left_out(shapes: Mapping[str, Any]) -> tuple[str, ...]:
    """The sentence on what a file holds and the data set does not, for ``Recording.said``; none where that is nothing.

    Args:
        shapes: of each array that is not taken, by name; None where the file does not say it.
    """
    named = [name if shape is None else f"{name} {shape}" for name, shape in shapes.items()]
    return (f"left out: {listed(named)}",) if named else ()


def some_lack(name: str, lacking: int, episodes: int, what: str = "episodes") -> tuple[str, ...]:
    """The sentence on an array that is not taken since some episodes have none; none where all of them do, or none."""
    return (f"{name} are left out: {lacking} of {episodes} {what} have none",) if 0 < lacking < episodes else ()


def names_of_parts(arrays: Sequence[str], widths: Sequence[int]) -> tuple[str, ...]:
    """Names of the numbers of a vector that is made of arrays one after the other: "joints[0]", "joints[1]" ..."""
    named = zip(arrays, widths, strict=True)
    return tuple(f"{name}[{place}]" if width > 1 else name for name, width in named for place in range(width))


def first_states(episodes: Sequence[Arrays]) -> list[NDArray[Any]]:
    """The first observed state of each episode."""
    return [episode["state"][0] for episode in episodes]
