"""Training windows: for every frame of every episode, the observations up to it and the action chunk around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Names, Settings, Width
from omp_cli.core.base.errors import UsageError


class ChunkConfig(Settings):
    """Observation history and action chunk, in environment steps.

    The chunk starts at the oldest observation, as in the diffusion-policy family: of ``horizon`` actions the policy
    executes ``[n_obs - 1 : n_obs - 1 + execute]``.
    """

    n_obs: Width = 2
    """T_o, observations that a policy sees, the newest last."""
    horizon: Width = 4
    """H, actions of a chunk."""
    execute: Width = 3
    """E, actions of a chunk that are executed before the next decision."""
    relative: Names = ()
    """What of the action is learned relative to the state that the policy saw last: names or places of numbers
    ("0-5", "gripper"), or poses by their first number ("0:pose", where a rotation follows x, y and z), which count from
    the hand's in its frame. The state has numbers of the same names, or they are named ("0:pose=7",
    "0:pose=7:quaternion", "2=9"). What never changes in the data stays absolute, and so are the actions that are given
    out.
    """
    relative_state: Names = ()
    """What of the state is seen relative to that which the policy saw last, in the same way: of "0:pose" a policy knows
    how the hand has moved, and not where it is.
    """

    def model_post_init(self, _: object) -> None:
        """UsageError where a chunk ends before the last action that is to be executed."""
        if self.n_obs - 1 + self.execute > self.horizon:
            raise UsageError(
                f"chunk: horizon {self.horizon} is shorter than n_obs - 1 + execute = {self.n_obs - 1 + self.execute}"
            )


@dataclass(frozen=True)
class Windows:
    """Frame numbers of each window; edges repeat the first or last frame of the episode.

    Attributes:
        obs: (W, n_obs) int64.
        action: (W, horizon) int64.
    """

    obs: NDArray[np.int64]
    action: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.obs)


def make_windows(episode_ends: NDArray[np.int64], chunk: ChunkConfig) -> Windows:
    """One window per frame, the frame being the newest observation."""
    frames = np.arange(episode_ends[-1])
    episode = np.searchsorted(episode_ends, frames, side="right")
    first = np.concatenate([[0], episode_ends[:-1]])[episode][:, None]
    last = episode_ends[episode][:, None] - 1
    oldest = frames[:, None] - (chunk.n_obs - 1)
    obs = np.clip(oldest + np.arange(chunk.n_obs), first, last)
    action = np.clip(oldest + np.arange(chunk.horizon), first, last)
    return Windows(obs.astype(np.int64), action.astype(np.int64))
