"""One HDF5 file with a group per episode, as ManiSkill records: ``traj_<i>/{actions, obs, success, rewards ...}``.

Arrays (T, ...) are named by their paths in a group, such as ``obs/agent/qpos``. Pictures may be packed as in files of
one episode each.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from omp_cli.core.base.progress import Progress
from omp_cli.core.data.readers.apart import joined_episodes
from omp_cli.core.data.readers.base import FORMATS, Contents, Reader, Recording, Subject, left_out
from omp_cli.core.data.readers.episodes import EpisodesConfig, with_usual_names
from omp_cli.core.data.readers.faulty import about_episode
from omp_cli.core.data.readers.hdf5 import arrays_below, contents_of, dataset, member_group, numbered, opened, stored
from omp_cli.core.data.readers.roles import ACTION
from omp_cli.core.data.readers.stored import Stored

if TYPE_CHECKING:
    import h5py

EXPECTED = "numbered groups at the top of an HDF5 file with one episode each: traj_<i>/{actions, obs ...}, as ManiSkill"
_OF_MINARI = "observations"
"""What Minari's episodes have."""


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
        return contents_of(path, lambda file: [] if _prefix(file) else [f"<name>_<number>/{ACTION[1]}"])

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        self.refuse_incomplete(path)
        with opened(path) as file:
            names = numbered(file, _prefix(file))
            wanted, known = names[:limit], frozenset(names)
            progress.start(f"{subject.task}: reading episodes", len(wanted))
            kept, heads = subject.kept(len(wanted)), dict[int, dict[str, Stored]]()
            for number in kept:
                with about_episode(number):
                    group = member_group(file, wanted[number], EXPECTED)
                    heads[number] = {path: _stored(group, path, found) for path, found in arrays_below(group)}
                progress.advance()
            said = [f"{len(names)} groups are an episode each, by their numbers: {names[0]} to {names[-1]}"]
            said += left_out({name: None for name in file if name not in known})
            config = with_usual_names(self.config, heads[kept[0]])
            places = [path / name for name in wanted]
            opened_ = [heads.get(number) for number in range(len(wanted))]
            return joined_episodes(path, config, places, opened_, subject, len(names), said)


def _prefix(file: h5py.File) -> str:
    """What the names of the episodes begin with: of the largest family that has actions; empty where there is none."""
    families: dict[str, list[str]] = {}
    for name in file:
        if found := re.fullmatch("(.*?)[0-9]{1,15}", name, re.ASCII):
            families.setdefault(found[1], []).append(name)
    episodes = {
        prefix: len(names) for prefix, names in families.items() if any(_acts(file.get(name)) for name in names)
    }
    if len(episodes) > 1 and max(episodes.values()) == 1:
        return ""  # ep_0_1, ep_0_2, ep_1_1: names of another kind
    return max(episodes, key=lambda prefix: (episodes[prefix], prefix), default="")


def _acts(group: Any) -> bool:
    """Whether a member of a file is an episode with actions, and none of Minari's."""
    import h5py

    if not isinstance(group, h5py.Group) or not any(isinstance(group.get(name), h5py.Dataset) for name in ACTION):
        return False
    return not (re.fullmatch(r"/episode_\d+", group.name) and _OF_MINARI in group)


def _stored(group: h5py.Group, name: str, found: h5py.Dataset) -> Stored:
    """An array of an episode, which is read while the file is open."""
    return stored(found, lambda frames: np.asarray(dataset(group, name, EXPECTED)[:frames]))
