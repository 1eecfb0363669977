"""One file per episode: a folder of HDF5 or .npz files, as ALOHA and ACT, DROID and exports of ROS bags have them.

The files lie in the folder, or one in each of its subfolders, and are taken in the order of the numbers in their names.
Arrays (T, ...) are named by their paths in the file. ALOHA's are found without being told: ``observations/qpos``,
``action`` and ``observations/images/<camera>``. Pictures may be packed, a JPEG or PNG a frame: rows of bytes (T, L)
that are padded with zeros, texts of bytes (T,), or rows of different lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Keys
from omp_cli.core.base.errors import DataError
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.foreign import by_numbers, listed
from omp_cli.core.data.readers.apart import joined_episodes
from omp_cli.core.data.readers.base import FORMATS, Contents, Reader, Recording, Subject
from omp_cli.core.data.readers.faulty import about_episode
from omp_cli.core.data.readers.hdf5 import arrays_below, contents_of, dataset, is_hdf5, opened, stored
from omp_cli.core.data.readers.npz import stored_in
from omp_cli.core.data.readers.packed import is_packed
from omp_cli.core.data.readers.roles import RolesConfig
from omp_cli.core.data.readers.stored import Stored

ENDINGS = (".hdf5", ".h5", ".npz")
STATE, ACTION, IMAGES = "observations/qpos", "action", "observations/images"
"""ALOHA's names."""
EXPECTED = (
    "a folder of HDF5 or .npz files with one episode each, or with one such file in each of its subfolders; a file "
    f"alone is known by ALOHA's {ACTION}, {STATE} and {IMAGES}"
)


class EpisodesConfig(RolesConfig):
    """What is taken from files of one episode each; names are paths in the file, as observations/images/top."""

    name: Literal["episodes"] = "episodes"
    state: Keys = ()
    """Arrays that make the state, one after the other, (T,) or (T, n); empty takes observations/qpos, else the first of
    state, states, agent_pos, robot_state, qpos, obs and observations that is there.
    """
    img: Keys | None = None
    """Arrays of pictures (T, H, W, 3) or (T, 3, H, W), or of a JPEG or PNG a frame, which lie one after the other in
    the channels; None takes all of observations/images, else img, image, images or rgb, an empty list none.
    """


@FORMATS.register("episodes")
class EpisodesReader(Reader):
    """One episode for each file."""

    Config = EpisodesConfig
    config: EpisodesConfig
    expected = EXPECTED
    simulated = False
    folders = True
    an_episode_each = True

    @classmethod
    def contents(cls, path: Path) -> Contents | None:
        """See the base class; of a file alone."""
        if path.is_dir():
            return None
        return contents_of(path, lambda file: [name for name in (ACTION, STATE, IMAGES) if name not in file])

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """See the base class; a folder whose files are of another format, or with one file, is none of episodes."""
        if not path.is_dir():
            return super().accepts(path)
        files = episode_files(path)
        return bool(files) and cls._are_episodes(files)

    @classmethod
    def _are_episodes(cls, files: Sequence[Path]) -> bool:
        """As the first of them tells that is not damaged: damage is told when it is read, and can be left out."""
        others = [other for other in map(FORMATS.get, FORMATS.names()) if other is not cls]
        damage: list[DataError] = []
        for file in files:
            try:
                of_another = any(other.accepts(file) for other in others)
                return not of_another and (len(files) > 1 or super().accepts(file))
            except DataError as error:
                damage.append(error)
        raise damage[0]

    @classmethod
    def label(cls, path: Path) -> str:
        """See the base class."""
        return path.absolute().name if path.is_dir() else path.stem

    def files(self, path: Path, limit: int | None) -> tuple[Path, ...]:
        """See the base class; the files of the episodes alone."""
        return _needed(path)[:limit]

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        files = _needed(path)
        wanted = files[:limit]
        progress.start(f"{subject.task}: reading episodes", len(wanted))
        kept = subject.kept(len(wanted))
        heads = dict[int, Mapping[str, Stored]]()
        for number in kept:
            with about_episode(number):
                heads[number] = _arrays_of(wanted[number])
            progress.advance()
        config = with_usual_names(self.config, heads[kept[0]])
        return joined_episodes(
            path,
            config,
            wanted,
            [heads.get(number) for number in range(len(wanted))],
            subject,
            len(files),
            _order(path, files),
        )


def episode_files(folder: Path) -> tuple[Path, ...]:
    """The files of a folder's episodes, in the order of the numbers in their names; none where it is no such folder."""
    if files := _in(folder):
        return files
    inside = [_in(part) for part in sorted(filter(Path.is_dir, folder.iterdir()), key=by_numbers)]
    return tuple(files[0] for files in inside if files) if all(len(files) <= 1 for files in inside) else ()


def _in(folder: Path) -> tuple[Path, ...]:
    files = (
        file
        for file in folder.iterdir()
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".") and not file.is_dir()
    )
    return tuple(sorted(files, key=by_numbers))


def _needed(path: Path) -> tuple[Path, ...]:
    """The files of the episodes; DataError where there are none."""
    files = episode_files(path) if path.is_dir() else (path,)
    if not files:
        raise DataError(f"{path}: no file of an episode in it", f"expected: {EXPECTED}")
    return files


def _order(path: Path, files: Sequence[Path]) -> tuple[str, ...]:
    """What to say of the order of a folder's files, and of the subfolders that have none."""
    if not path.is_dir():
        return ()
    first, last = (file.relative_to(path).as_posix() for file in (files[0], files[-1]))
    said = [f"{len(files)} files are an episode each, by the numbers in their names: {first} to {last}"]
    if files[0].parent != path:
        bare = sorted({part.name for part in path.iterdir() if part.is_dir()} - {file.parent.name for file in files})
        said += [f"folders without a file of an episode are left out: {listed(bare)}"] if bare else []
    return tuple(said)


def _arrays_of(file: Path) -> dict[str, Stored]:
    """The arrays of a file by their paths in it, of which nothing but the heads was read."""
    if not file.is_file() or not is_hdf5(file):
        return stored_in(file, EXPECTED)
    with opened(file) as content:
        return {name: _in_hdf5(file, name, found) for name, found in arrays_below(content)}


def _in_hdf5(file: Path, name: str, found: Any) -> Stored:
    def read(frames: int) -> NDArray[Any]:
        with opened(file) as content:
            return np.asarray(dataset(content, name, EXPECTED)[:frames])

    return stored(found, read)


def with_usual_names(config: EpisodesConfig, arrays: Mapping[str, Stored]) -> EpisodesConfig:
    """The settings with ALOHA's names for what they leave open, where the file has these."""
    usual: dict[str, tuple[str, ...]] = {}
    if not config.state and STATE in arrays:
        usual["state"] = (STATE,)
    if config.img is None:
        usual["img"] = tuple(
            name
            for name, array in arrays.items()
            if name.startswith(f"{IMAGES}/") and (len(array.shape) == 4 or is_packed(array))
        )
    return config.model_copy(update={role: names for role, names in usual.items() if names})
