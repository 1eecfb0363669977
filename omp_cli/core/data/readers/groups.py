"""One HDF5 file with a group per episode, as ManiSkill records: ``traj_<i>/{actions, obs, success, rewards ...}``.

Arrays (T, ...) are named by their paths in a group, such as ``obs/agent/qpos``. Pictures may be packed as in files of
one episode each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.progress import Progress
from omp_cli.core.data.readers.apart import joined_episodes
from omp_cli.core.data.readers.base import FORMATS, Contents, Reader, Recording, Subject, left_out
from omp_cli.core.data.readers.episodes import EpisodesConfig, with_usual_names
from omp_cli.core.data.readers.hdf5 import contents_of, dataset, member_group, numbered, opened, unread
from omp_cli.core.data.readers.roles import ACTION
from omp_cli.core.data.readers.stored import Stored

EXPECTED = "numbered groups at the top of an HDF5 file with one episode each: traj_<i>/{actions, obs ...}, as ManiSkill"
_OF_MINARI = ("episode_", "observations")
"""What Minari calls its groups, and what it has in them."""


class GroupsConfig(EpisodesConfig):
    """What is taken from the groups of a file; names are paths in a group, as obs/agent/qpos."""

    name: Literal["groups"] = "groups"  # type: ignore[assignment]


@FORMATS.register("groups")
class GroupsReader(Reader):
    """One episode for each group."""

    Config = GroupsConfig
    config: GroupsConfig
    expected = EXPECTED
    simulated = False

    @classmethod
    def contents(cls, path: Path) -> Contents | None:
        """See the base class."""
        return contents_of(path, lambda file: [] if _episodes(file) else [f"<name>_<number>/{ACTION[1]}"])

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        self.refuse_incomplete(path)
        with opened(path) as file:
            names = _episodes(file)
            wanted = names[:limit]
            progress.start(f"{subject.task}: reading episodes", len(wanted))
            heads = []
            for name in wanted:
                group = member_group(file, name, EXPECTED)
                heads.append({array: _stored(group, array) for array in unread(group, ())})
                progress.advance()
            said = [f"{len(names)} groups are an episode each, by their numbers: {names[0]} to {names[-1]}"]
            said += left_out({name: None for name in file if name not in set(names)})
            places = [path / name for name in wanted]
            config = with_usual_names(self.config, heads[0])
            return joined_episodes(path, config, places, heads, subject, len(names), said)


def _episodes(file: Any) -> Sequence[str]:
    """The groups of the episodes, by number: the largest family of one name whose first has actions."""
    import h5py

    families: list[list[str]] = []
    for prefix in {found[1] for name in file if (found := re.fullmatch("(.*?)[0-9]+", name))}:
        names = numbered(file, prefix)
        first = file.get(names[0]) if names else None
        if not isinstance(first, h5py.Group) or not any(isinstance(first.get(name), h5py.Dataset) for name in ACTION):
            continue
        if prefix != _OF_MINARI[0] or _OF_MINARI[1] not in first:
            families.append(names)
    return max(families, key=lambda names: (len(names), names), default=[])


def _stored(group: Any, name: str) -> Stored:
    """An array of an episode, which is read while the file is open."""
    found = group[name]

    def read(frames: int) -> NDArray[Any]:
        return np.asarray(dataset(group, name, EXPECTED)[:frames])

    return Stored(found.shape or (), found.dtype, found.id.get_storage_size(), read)
