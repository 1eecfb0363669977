"""Minari HDF5: ``episode_<i>/{observations, actions, rewards, terminations, truncations}``; rewards may be missing.

Observations have one frame more than actions, the one after the last action, which no window needs. Where the
observation is a dictionary, ``state`` names its parts. ``metadata.json`` beside the file says what it is. Where the
recorder stored states of the simulator, they are in ``infos/state``, in older files in ``state``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Keys, Settings
from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.foreign import AGAIN, count, json_file, json_object, listed, member
from omp_cli.core.data.readers.base import (
    FORMATS,
    Contents,
    Reader,
    Recording,
    Subject,
    first_states,
    left_out,
    some_lack,
    spec_of,
)
from omp_cli.core.data.readers.hdf5 import array, contents_of, count_attribute, member_group, numbered, opened, unread
from omp_cli.core.data.store import Arrays

if TYPE_CHECKING:
    import h5py

FILE, FOLDER = "main_data", "data"
"""What Minari calls the file of every data set, without its ending, and the folder that it lies in."""
METADATA = "metadata.json"
TOTAL = "total_episodes"
STATES = ("infos/state", "state", "infos")
"""Where the simulator's states are in an episode."""
OBSERVATIONS, REWARDS = "observations", "rewards"
ENDS = ("terminations", "truncations")


class MinariConfig(Settings):
    """What is taken from a Minari file."""

    name: Literal["minari"] = "minari"
    state: Keys = ("observation",)
    """Parts of a dictionary observation that make the state, in order; a part inside another one is
    "desired_goal/kettle". Unused when observations are plain vectors.
    """


@FORMATS.register("minari")
class MinariReader(Reader):
    """One episode per group, in the order of their numbers."""

    Config = MinariConfig
    config: MinariConfig
    expected = "episode_<i>/{observations, actions, rewards, terminations, truncations}, as Minari's main_data.hdf5"

    @classmethod
    def contents(cls, path: Path) -> Contents | None:
        """See the base class."""
        return contents_of(path, lambda file: [] if numbered(file, "episode_") else ["episode_<number>"])

    @classmethod
    def label(cls, path: Path) -> str:
        """See the base class."""
        if path.stem != FILE:
            return super().label(path)
        folder = path.absolute().parent
        return (folder.parent if folder.name == FOLDER else folder).name or FILE

    def files(self, path: Path, limit: int | None) -> tuple[Path, ...]:
        """See the base class."""
        metadata = path.with_name(METADATA)
        return (path, metadata) if metadata.is_file() else (path,)

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        self.refuse_incomplete(path)
        with opened(path) as file:
            names = numbered(file, "episode_")
            about = _metadata(path)
            declared = [count_attribute(file, TOTAL), about.pop(TOTAL, None)]  # in older files, and beside newer ones
            for total in declared:
                if total not in (None, len(names)):
                    raise DataError(f"{path}: {len(names)} episodes in it, and {total} by its {TOTAL}", AGAIN)
            if names != [f"episode_{number}" for number in range(len(names))]:
                raise DataError(f"{path}: its {len(names)} episodes are not numbered from 0 without a gap", AGAIN)
            progress.start(f"{subject.task}: reading episodes", len(names[:limit]))
            groups = [member_group(file, name, self.expected) for name in names[:limit]]
            unrewarded = sum(REWARDS not in group for group in groups)
            episodes, states = [], []
            for group in groups:
                episodes.append(self._episode(group, rewards=not unrewarded))
                states.append(self._simulator(group, subject.states, len(episodes[-1]["action"])))
                progress.advance()
            parts = self._parts(groups[0])
            whole = states if all(states) else None
            taken = {"actions", REWARDS, *ENDS, *parts, *(_places(groups[0], subject.states) if whole else ())}
            left = unread(groups[0], taken)
        notes = {
            "episodes_in_file": len(names),
            "state": [part.removeprefix(f"{OBSERVATIONS}/") for part in parts],
            **about,
        }
        unended = sum(not (e["terminal"][-1] or e["timeout"][-1]) for e in episodes)
        said = f"{unended} of {len(episodes)} episodes end neither terminated nor truncated; they are kept as they are"
        return Recording(
            episodes,
            spec_of(subject, episodes),
            notes,
            first_states(episodes),
            states=whole,
            said=(*([said] if unended else ()), *some_lack(REWARDS, unrewarded, len(episodes)), *left_out(left)),
        )

    def _episode(self, group: h5py.Group, rewards: bool) -> Arrays:
        action = array(group, "actions", self.expected, 2)
        frames = len(action)
        if not frames:
            raise DataError(f"{group.file.filename}: {group.name} has no frames")
        for name in ("total_steps", "total_timesteps"):  # of newer and older files
            if (steps := count_attribute(group, name)) not in (None, frames):
                raise DataError(f"{group.file.filename}: {group.name} has {frames} actions, and {steps} by its {name}")
        ended = {name: array(group, name, self.expected, 1, frames) for name in ENDS}
        return {
            "state": self._state(group, frames).astype(np.float32),
            "action": action.astype(np.float32),
            **({"reward": array(group, REWARDS, self.expected, 1, frames).astype(np.float32)} if rewards else {}),
            "terminal": ended["terminations"].astype(np.bool_),
            "timeout": ended["truncations"].astype(np.bool_),
        }

    def _simulator(self, group: h5py.Group, names: Sequence[str], frames: int) -> Arrays:
        """The simulator's state before each action by name, (T, n); empty where the file does not have all of it."""
        places = zip(names, _places(group, names), strict=False)  # all of them, or none
        return {name: array(group, place, self.expected, 2, frames + 1)[:-1] for name, place in places}

    def _parts(self, group: h5py.Group) -> tuple[str, ...]:
        """The arrays of an episode that make the state, by their paths in it.

        UsageError where the observation is a dictionary without one of the parts that are asked for.
        """
        import h5py

        found = group.get(OBSERVATIONS)
        if not isinstance(found, h5py.Group):
            return (OBSERVATIONS,)
        for part in self.config.state:
            if part not in found:
                raise UsageError(
                    f"{group.file.filename}: no observation {part!r}",
                    did_you_mean(part, found) or f"it has: {listed(found)}",
                )
        return tuple(f"{OBSERVATIONS}/{part}" for part in self.config.state)

    def _state(self, group: h5py.Group, frames: int) -> NDArray[Any]:
        """The state before each action, (T, S)."""
        parts = [array(group, part, self.expected, 2, frames + 1) for part in self._parts(group)]
        return np.concatenate(parts, axis=1)[:-1]


def _places(group: h5py.Group, names: Sequence[str]) -> tuple[str, ...]:
    """Where an episode has the arrays ``names`` of the simulator's state; empty where it does not have all of them."""
    found = (tuple(f"{place}/{name}" for name in names) for place in STATES)
    return next((places for places in found if all(place in group for place in places)), ())


def _metadata(path: Path) -> dict[str, Any]:
    """Identity, environment and number of episodes from ``metadata.json``, if it is there."""
    file = path.with_name(METADATA)
    if not file.is_file():
        return {}
    where = f"Minari metadata {file}"
    document = json_file(file, "Minari metadata")
    spec = member(document, "env_spec", (str, dict, type(None)), where)
    env = json_object(spec, f"{where}: env_spec") if isinstance(spec, str) else spec or {}
    found = {"dataset_id": member(document, "dataset_id", (str, type(None)), where)}
    found["env_id"] = member(env, "id", (str, type(None)), f"{where}: env_spec")
    total = document.get(TOTAL)
    return found if total is None else {**found, TOTAL: count(total, f"{where}: {TOTAL}")}
