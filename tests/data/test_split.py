"""Whole episodes are held out, the same ones for the same seed, and a store's own are honoured."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.core.base.errors import UsageError
from omp_cli.core.data.split import episodes_of, held_out_of, others
from omp_cli.core.data.store import Dataset
from omp_cli.core.spec import Spec

SPEC = Spec(suite="none", task="none", action_dim=1, state_dim=1, max_steps=10, control_hz=10)


def dataset(lengths: list[int], **provenance: Any) -> Dataset:
    """Episodes whose every frame holds the episode's index as action and its own number as state."""
    action = np.repeat(np.arange(len(lengths), dtype=np.float32), lengths)[:, None]
    state = np.concatenate([np.arange(n, dtype=np.float32) for n in lengths])[:, None]
    ends = np.cumsum(lengths).astype(np.int64)
    return Dataset(Path("store"), {"action": action, "state": state}, ends, SPEC, provenance, "0" * 64)


def test_parts_are_whole_episodes_and_together_all() -> None:
    data = dataset([3, 1, 4, 2])
    chosen = held_out_of(data, 0.5, seed=0)
    assert len(chosen) == 2
    left, kept = episodes_of(data, others(data, chosen)), episodes_of(data, chosen)
    for part, episodes in ((left, others(data, chosen)), (kept, chosen)):
        lengths = np.diff(part.episode_ends, prepend=0)
        assert lengths.tolist() == [[3, 1, 4, 2][index] for index in episodes]
        assert part.arrays["action"][:, 0].tolist() == np.repeat(episodes, lengths).tolist()
        assert part.arrays["state"][:, 0].tolist() == [float(f) for n in lengths for f in range(n)]
    assert sorted((*chosen, *others(data, chosen))) == [0, 1, 2, 3]


def test_the_whole_is_itself() -> None:
    data = dataset([3, 1])
    assert held_out_of(data, None, 0) == held_out_of(data, 0, 0) == ()
    assert episodes_of(data, others(data, ())) is data


def test_the_seed_decides_and_at_least_one_is_held_out() -> None:
    data = dataset([2] * 30)
    assert held_out_of(data, 0.1, 1) == held_out_of(data, 0.1, 1)
    assert held_out_of(data, 0.1, 1) != held_out_of(data, 0.1, 2)
    assert len(held_out_of(data, 0.1, 1)) == 3
    assert len(held_out_of(data, 0.001, 1)) == 1


def test_a_store_holds_out_its_own() -> None:
    data = dataset([2] * 4, held_out=[1, 3])
    assert held_out_of(data, None, 0) == (1, 3)
    assert held_out_of(data, 0, 0) == ()
    with pytest.raises(UsageError, match="holds out 2 of its 4 episodes itself"):
        held_out_of(data, 0.25, 0)


def test_nothing_to_train_on_is_told() -> None:
    with pytest.raises(UsageError, match="none is left to train on"):
        held_out_of(dataset([5]), 0.1, 0)
    with pytest.raises(UsageError, match="none is left to train on"):
        held_out_of(dataset([5, 5], held_out=[0, 1]), None, 0)
