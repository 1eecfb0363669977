"""Which episodes of a data set are held out of a training, to measure the policy on them; whole episodes, never frames.

A store may say so itself (``Dataset.held_out``): ``omp prepare`` writes it where a file has masks of its own,
robomimic's ``mask/valid``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.seeds import derived_seed
from omp_cli.core.data.large import selected
from omp_cli.core.data.store import Dataset


def held_out_of(dataset: Dataset, share: float | None, seed: int) -> tuple[int, ...]:
    """The episodes that a training leaves out, ascending.

    Args:
        dataset: the whole data set.
        share: share of the episodes, rounded, but at least one of them; 0 holds out none, None the store's own ones.
        seed: seed of the choice; among equally many episodes the same seed chooses the same ones.

    Raises:
        UsageError: nothing would be left to train on, or a share is asked for where the store has its own episodes.
    """
    own, episodes = dataset.held_out, len(dataset.episode_ends)
    if share and own:
        raise UsageError(
            f"data set {dataset.path}: holds out {len(own)} of its {episodes} episodes itself",
            "leave --hold-out out to use these; --hold-out 0 trains on all",
        )
    chosen = own if share is None else ()
    if share:
        random = np.random.default_rng(derived_seed("hold out", seed))
        count = max(round(share * episodes), 1)
        chosen = tuple(sorted(random.permutation(episodes)[:count].tolist()))
    if len(chosen) >= episodes:
        raise UsageError(
            f"data set {dataset.path}: of {episodes} episodes {len(chosen)} are held out, and none is left to train on",
            "hold fewer out with --hold-out, or record more",
        )
    return chosen


def trained_on(dataset: Dataset, share: float | None, seed: int) -> Dataset:
    """The episodes that a training does not leave out (``held_out_of``)."""
    return episodes_of(dataset, others(dataset, held_out_of(dataset, share, seed)))


def others(dataset: Dataset, episodes: Sequence[int]) -> tuple[int, ...]:
    """All episodes of the data set but these."""
    return tuple(index for index in range(len(dataset.episode_ends)) if index not in set(episodes))


def episodes_of(dataset: Dataset, episodes: Sequence[int]) -> Dataset:
    """The data set with these episodes alone, in this order; path, hash and provenance are those of the whole."""
    if tuple(episodes) == tuple(range(len(dataset.episode_ends))):
        return dataset
    starts, ends = bounds(dataset.episode_ends)
    frames = np.concatenate([np.arange(starts[index], ends[index]) for index in episodes])
    arrays = {key: selected(array, frames) for key, array in dataset.arrays.items()}
    lengths = (ends - starts)[list(episodes)]
    return replace(dataset, arrays=arrays, episode_ends=np.cumsum(lengths).astype(np.int64))


def bounds(episode_ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First frame of each episode, and the frame after its last: (E,) each."""
    return np.concatenate([np.zeros(1, np.int64), episode_ends[:-1]]), episode_ends
