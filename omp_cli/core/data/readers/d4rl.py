"""D4RL HDF5: flat arrays, cut into episodes where D4RL's ``sequence_dataset`` cuts them.

``observations`` (N, S), ``actions`` (N, A), ``terminals`` and, where a file has them, ``rewards`` and ``timeouts`` (N,)
or (N, 1). An episode ends with a frame that is terminal or timed out; where a file has no timeouts, also after the
task's number of steps. What follows the last end is dropped, as there, and said. States of the simulator are in
``infos`` (N, n), by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import DataError
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.readers.base import (
    FORMATS,
    Contents,
    Reader,
    Recording,
    Subject,
    first_states,
    left_out,
    spec_of,
    split,
)
from omp_cli.core.data.readers.hdf5 import array, contents_of, length, object_attribute, opened, unread
from omp_cli.core.data.store import Arrays

NEEDED = ("observations", "actions", "terminals")
FLAGS = ("terminals", "timeouts")
OURS = {
    "observations": "state",
    "actions": "action",
    "rewards": "reward",
    "terminals": "terminal",
    "timeouts": "timeout",
}
"""What an episode calls what the file has."""
NOTES = "omp"
"""Attribute of files that omp has recorded itself: JSON, which goes into the provenance."""


class D4rlConfig(Settings):
    """Nothing to choose."""

    name: Literal["d4rl"] = "d4rl"


@FORMATS.register("d4rl")
class D4rlReader(Reader):
    """Observations as the state."""

    Config = D4rlConfig
    expected = "observations, actions and terminals at the top, as D4RL's files have it"

    @classmethod
    def contents(cls, path: Path) -> Contents | None:
        """See the base class."""
        return contents_of(path, lambda file: [name for name in NEEDED if name not in file])

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        self.refuse_incomplete(path)
        progress.start(f"{subject.task}: reading trajectories", 1)
        with opened(path) as file:
            own = object_attribute(file, NOTES) or {}
            frames = length(file, "observations", self.expected, 2)
            ended = {n: array(file, n, self.expected, 1, frames).astype(np.bool_) for n in FLAGS if n in file}
            ends = episode_ends(ended["terminals"], ended.get("timeouts"), subject.facts.max_steps)
            if not len(ends):
                raise DataError(f"{path}: no episode ends in its {frames} frames")
            last = int(ends[:limit][-1])
            states = {n: f"infos/{n}" for n in subject.states if f"infos/{n}" in file}
            states = states if len(states) == len(subject.states) else {}
            wanted = {"observations": 2, "actions": 2, **({"rewards": 1} if "rewards" in file else {})}
            arrays: Arrays = {
                n: array(file, n, self.expected, d, frames, last).astype(np.float32) for n, d in wanted.items()
            }
            arrays |= {place: array(file, place, self.expected, 2, frames, last) for place in states.values()}
            arrays |= {name: flags[:last] for name, flags in ended.items()}
            left = unread(file, arrays)
        episodes = split({OURS.get(name, name): values for name, values in arrays.items()}, ends, limit)
        progress.advance()
        notes: dict[str, Any] = {"trajectories": len(ends), "frames_after_the_last_end": int(frames - ends[-1])}
        notes["timeouts_in_file"] = "timeouts" in arrays
        notes |= own
        taken = [{name: episode.pop(place) for name, place in states.items()} for episode in episodes]
        spec, starts = spec_of(subject, episodes), first_states(episodes)
        said = _open_tail(frames, int(ends[-1])) if limit is None or limit >= len(ends) else ()
        said += left_out(left)
        return Recording(episodes, spec, notes, starts, states=taken if states else None, said=said)


def episode_ends(terminal: NDArray[np.bool_], timeout: NDArray[np.bool_] | None, max_steps: int) -> NDArray[np.int64]:
    """Cumulative ends of the episodes that the flags (N,) tell of."""
    if timeout is not None:
        return (np.flatnonzero(terminal | timeout) + 1).astype(np.int64)
    ends, start = [], 0
    for i in range(len(terminal)):
        if terminal[i] or i + 1 - start == max_steps:
            ends.append(i + 1)
            start = i + 1
    return np.array(ends, np.int64)


def _open_tail(frames: int, end: int) -> tuple[str, ...]:
    """What to say of the frames after the last episode's end."""
    if frames == end:
        return ()
    return (
        f"the last {frames - end} of {frames} frames are left out: their episode does not end in the file, and D4RL's "
        "own loader leaves them out too; a true value of timeouts at the last frame would take them",
    )
