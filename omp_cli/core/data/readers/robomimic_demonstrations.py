"""The demonstrations of a robomimic file, read one by one: what was observed, or the simulator's states alone.

Legend: T frames, S numbers of the state, A of the action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.readers.cameras import side_by_side
from omp_cli.core.data.readers.hdf5 import array, columns, length, member_group
from omp_cli.core.data.readers.robomimic_actions import AS_STORED, DISPLACEMENTS, Actions
from omp_cli.core.data.readers.robomimic_clouds import clouds_of, frames_of
from omp_cli.core.data.readers.robomimic_metadata import scene
from omp_cli.core.data.store import Arrays

if TYPE_CHECKING:
    import h5py

OPTIONAL = (("rewards", "reward", np.float32), ("dones", "terminal", np.bool_))
"""Arrays that a demonstration may have: their names there and in an episode, and their type in it."""


@dataclass(frozen=True)
class Taken:
    """Which observations and actions of a demonstration are taken.

    Attributes:
        state: keys that make the state, in order.
        cameras: keys of pictures by the names of their cameras, in order.
        clouds: keys of clouds, depth pictures and poses by role.
        size: side to which pictures are resized, pixels; None leaves them as they are.
        more: those of the keys that have one frame more than the actions, which is left out.
        actions: which actions, and what they are.
    """

    state: Sequence[str]
    cameras: Mapping[str, str]
    clouds: Mapping[str, Sequence[str]]
    size: int | None = None
    more: Sequence[str] = ()
    actions: Actions = AS_STORED

    @property
    def keys(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.state, *self.cameras.values(), *(key for keys in self.clouds.values() for key in keys))


@dataclass
class ReadDemonstrations:
    """What was read of all demonstrations.

    Attributes:
        episodes: the arrays of each.
        starts: the simulator's first state of each; where the file has none, the first state that a policy sees.
        scenes: the scene of each raw recording; None for observations.
        shown: what the user has to know of pictures and clouds.
    """

    episodes: list[Arrays] = field(default_factory=list)
    starts: list[NDArray[Any]] = field(default_factory=list)
    scenes: list[str] | None = None
    shown: list[str] = field(default_factory=list)

    def add(self, demo: h5py.Group, episode: Arrays, states: NDArray[Any]) -> None:
        """Take an episode that begins with the first of ``states``; DataError where it has no frames."""
        if not len(episode["action"]):
            raise DataError(f"{demo.file.filename}: {demo.name} has no frames")
        self.episodes.append(episode)
        self.starts.append(states[0])


def raw_demonstrations(
    demos: Sequence[h5py.Group], actions: Actions, expected: str, progress: Progress
) -> ReadDemonstrations:
    """The simulator's states (T, S) in float64 and the actions (T, A) of demonstrations, and their scenes.

    Raises:
        DataError: an array is missing or damaged; ``expected`` says in messages what such a file holds.
    """
    scenes: list[str] = []
    found = ReadDemonstrations(scenes=scenes)
    for demo in demos:
        states = array(demo, "states", expected, 2)
        scenes.append(scene(demo))
        found.add(demo, {"state": states, "action": actions.of(demo, expected, len(states))}, states)
        progress.advance()
    return found


def observed_demonstrations(
    demos: Sequence[h5py.Group], taken: Taken, expected: str, progress: Progress
) -> ReadDemonstrations:
    """The observations and actions of demonstrations, and their rewards and ends where all of them have these.

    Raises:
        DataError: an array is missing, damaged, or of a shape that does not fit; ``expected`` as above.
    """
    found = ReadDemonstrations()
    optional = [row for row in OPTIONAL if all(row[0] in demo for demo in demos)]
    has_states = "states" in demos[0]
    for demo in demos:
        states = array(demo, "states", expected, 2) if has_states else None
        frames = length(demo, DISPLACEMENTS, expected, 2)
        action = taken.actions.of(demo, expected, frames)
        episode = {"action": action}
        episode |= _seen(member_group(demo, "obs", expected), taken, expected, frames, found.shown)
        for name, ours, kind in optional:
            episode[ours] = array(demo, name, expected, 1, frames).astype(kind)
        found.add(demo, episode, episode["state"] if states is None else states)
        progress.advance()
    return found


def _seen(obs: h5py.Group, taken: Taken, expected: str, frames: int, said: list[str]) -> Arrays:
    """State, pictures and clouds of a demonstration; ``said`` gets what the user has to know of them."""
    state = [columns(obs, key, expected, frames, int(key in taken.more)) for key in taken.state]
    seen: Arrays = {"state": np.concatenate(state, axis=1).astype(np.float32)}
    if taken.cameras:
        whole = frames_of(obs, list(taken.cameras.values()), expected, frames, taken.more)
        pictures = [whole.pictures(key, said, taken.size, 3) for key in taken.cameras.values()]
        seen["img"] = side_by_side(pictures, list(taken.cameras), f"{obs.file.filename}: {obs.name}", "format.cameras")
    return seen | clouds_of(obs, taken.clouds, expected, frames, taken.more, said)
