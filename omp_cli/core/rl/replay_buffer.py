"""Decisions to learn from more than once: what the environments answered, and demonstrations cut into the same chunks.

Legend: B decisions, T observation steps, E executed actions, A action dimension, F frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from omp_cli.core.base.errors import DataError
from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.data.split import episodes_of, others
from omp_cli.core.data.store import Dataset, read_store
from omp_cli.core.data.windows import make_windows
from omp_cli.core.measure.environments import suite_of
from omp_cli.core.policy import Policy
from omp_cli.core.train.graph import mapped, tensors


@dataclass(frozen=True)
class Decisions:
    """Decisions and what came of them.

    Attributes:
        obs: what was acted on, raw, {key: (B, T, ...)}.
        action: the chunk that was executed, normalised, (B, E, A).
        reward: reward of the whole chunk, (B,).
        following: what the same episode showed after the chunk, {key: (B, T, ...)}; of no meaning where it terminated.
        terminated: nothing follows, (B,) bool.
    """

    obs: dict[str, Tensor]
    action: Tensor
    reward: Tensor
    following: dict[str, Tensor]
    terminated: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Decisions:
        """The decisions with every array changed."""
        changed: Decisions = mapped(self, change)
        return changed

    def __getitem__(self, index: Tensor) -> Decisions:
        """The decisions of an index, or those where a mask (B,) is true."""
        return self.map(lambda array: array[index])

    def __len__(self) -> int:
        return len(self.reward)


class ReplayBuffer:
    """The last ``capacity`` decisions, in main memory; pictures stay uint8.

    Observations are kept twice, before and after the chunk: 111 kB per decision for a picture of 96 x 96 x 6.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._rows: Decisions | None = None
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, self.capacity)

    def add(self, new: Decisions) -> None:
        """Keep new decisions; the oldest make room for them."""
        new = new.map(Tensor.cpu)
        if self._rows is None:  # pages of memory are taken only when they are written to
            self._rows = new.map(lambda array: array.new_empty((self.capacity, *array.shape[1:])))
        places = torch.arange(self._added, self._added + len(new)) % self.capacity
        for kept, array in zip(tensors(self._rows), tensors(new), strict=True):
            kept[places] = array
        self._added += len(new)

    def sample(self, count: int) -> Decisions:
        """Decisions drawn with replacement, by torch's global generator."""
        assert self._rows is not None
        return self._rows[torch.randint(len(self), (count,))]


class Demonstrations:
    """A data set as decisions: a chunk from every frame, as long as what it led to is known.

    Args:
        dataset: a data set with rewards.
        policy: the policy, which says what is observed, how long a chunk is, and how actions are normalised.
        ends_itself: whether the environments terminate where the data are marked terminal. Where they go on (a task
            with success), the end of a recording is no end of the task.
        reward: what the environments reward, as ``FinetuneConfig`` has it.
        end_on_success: whether success ends an episode of the environments.

    Raises:
        DataError: the data have no rewards, or no successes where those are asked for.
    """

    def __init__(
        self,
        dataset: Dataset,
        policy: Policy,
        ends_itself: bool,
        reward: Literal["environment", "success"] = "environment",
        end_on_success: bool = False,
    ) -> None:
        arrays, ends, execute = dataset.arrays, dataset.episode_ends, policy.chunk.execute
        for name, needed in (("reward", reward == "environment"), ("success", reward == "success" or end_on_success)):
            if needed and name not in arrays:
                raise DataError(f"data set {dataset.path}: data/{name} is missing", "leave the demonstrations out")
        frames = np.arange(ends[-1])
        last = ends[np.searchsorted(ends, frames, side="right")] - 1
        steps = frames[:, None] + np.arange(execute)
        inside, steps = steps <= last[:, None], np.minimum(steps, last[:, None])

        def within(name: str) -> np.ndarray:
            """An array of the data by chunk, (F, E); zero after the episode's last frame."""
            return np.where(inside, arrays[name][steps], 0) if name in arrays else np.zeros_like(inside)

        successes = within("success").any(1)
        over = within("terminal").astype(bool) & (steps == last[:, None])
        terminated = (ends_itself & over.any(1)) | (end_on_success & successes)
        usable = np.flatnonzero((frames + execute <= last) | terminated)
        self._reward = torch.from_numpy(successes if reward == "success" else within("reward").sum(1)).float()
        self._terminated = torch.from_numpy(terminated)
        self._usable = torch.from_numpy(usable)
        self._before = torch.from_numpy(make_windows(ends, policy.chunk).obs)
        self._after = torch.from_numpy(np.minimum(frames + execute, last))
        like = policy.action_limits.scale
        counted = policy.spec.relative_actions  # from states
        seen = {"state": torch.from_numpy(dataset.whole("state")[:, None]).to(like)} if counted else {}
        self._action = policy.normalised(torch.from_numpy(arrays["action"][steps]).to(like), seen).cpu()
        self._points = getattr(policy.encoder.config, "points", None)
        self._frames = {key: arrays[key] for key in policy.keys}

    def __len__(self) -> int:
        return len(self._usable)

    def sample(self, count: int) -> Decisions:
        """Decisions drawn with replacement, by torch's global generator."""
        index = self._usable[torch.randint(len(self), (count,))]
        return Decisions(
            self._seen(index),
            self._action[index],
            self._reward[index],
            self._seen(self._after[index]),
            self._terminated[index],
        )

    def _seen(self, frames: Tensor) -> dict[str, Tensor]:
        rows = self._before[frames].numpy()
        seen = {key: torch.from_numpy(array[rows]) for key, array in self._frames.items()}
        return {key: x[:, :, : self._points] if key == "point_cloud" else x for key, x in seen.items()}


def demonstrated(
    checkpoint: Checkpoint, policy: Policy, reward: Literal["environment", "success"], end_on_success: bool
) -> Demonstrations:
    """The demonstrations that a checkpoint's policy was trained on, without the episodes that were held out.

    Raises:
        DataError: they are gone or are others by now, or have no rewards.
    """
    whole = read_store(checkpoint.dataset()[0])
    dataset = episodes_of(whole, others(whole, checkpoint.meta.held_out))
    suite = suite_of(checkpoint)
    return Demonstrations(dataset, policy, suite.metric == "return", reward, end_on_success)
