"""A fresh policy for a run: whether the data and the settings are those that it needs, and its normalisation."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.large import Frames
from omp_cli.core.data.store import Dataset
from omp_cli.core.data.windows import make_windows
from omp_cli.core.families import ENCODERS
from omp_cli.core.methods import METHODS
from omp_cli.core.policy import Policy
from omp_cli.core.spec import Spec
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.turning import check_turnable, with_turned_limits


def tensor_of(array: NDArray[Any]) -> Tensor:
    """A tensor that shares an array's numbers, which nobody is to write to: those of a mapped file cannot be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


class Tensors(Mapping[str, Tensor]):
    """Arrays of a data set as tensors, each made when it is asked for: no encoder here fits itself to pictures."""

    def __init__(self, arrays: Mapping[str, Frames]) -> None:
        self._arrays = arrays

    def __getitem__(self, key: str) -> Tensor:
        return tensor_of(np.asarray(self._arrays[key]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def check_arrays(policy: Policy, dataset: Dataset) -> None:
    """DataError when the data set lacks an array that the policy reads."""
    if isinstance(policy.keys, str):
        raise UsageError(
            f'{ENCODERS.where(policy.config.encoder.name)}: keys is text, expected keys = ("{policy.keys}",)'
        )
    missing = [key for key in policy.keys if key not in dataset.arrays]
    if missing:
        name = policy.config.encoder.name
        what = f"data set {dataset.path}: the {name} encoder reads data/{missing[0]}, which is not there"
        raise DataError(what, f"it has: {', '.join(sorted(dataset.arrays))}")


def build_policy(config: PretrainConfig, dataset: Dataset) -> Policy:
    """A fresh policy with weights that ``config.seed`` determines and normalisation fitted to the data."""
    torch.manual_seed(config.seed)
    policy = Policy(config.policy(), dataset.spec)
    check_arrays(policy, dataset)
    arrays: Mapping[str, Tensor] = Tensors({key: dataset.arrays[key] for key in (*policy.keys, "action")})
    windows = make_windows(dataset.episode_ends, config.chunk)
    if config.train.turn:
        check_turnable(policy.keys, policy.spec)
        arrays = with_turned_limits(arrays, windows, config.train.turn, dataset.spec)
    policy.fit(arrays, windows)
    return policy


def never_seen(policy: Policy) -> str | None:
    """What to say of a part of the state that is seen relative to itself alone, in a window of one observation."""
    parts = [part for part in policy.spec.relative_state if part.base == part.first]
    if policy.chunk.n_obs > 1 or not parts:
        return None
    places = ", ".join(f"{part.places[0]}-{part.places[-1]}" if part.count > 1 else str(part.first) for part in parts)
    return f"numbers {places} of the state are not seen: relative to themselves they do not change (chunk.n_obs=1)"


def memory_cure(keys: Iterable[str], spec: Spec) -> str:
    """What to do first where the memory does not suffice for training; "" where no pictures are read.

    Args:
        keys: the arrays of the data set that are read as observations.
        spec: of the data set.
    """
    if "img" not in keys or spec.image is None:
        return ""
    height, width, _ = spec.image
    return f"the pictures are {height}x{width}: smaller ones take less (omp prepare ... --set format.size=96)"


def check_compile(config: PretrainConfig) -> None:
    """UsageError where the network is to be compiled and that is known to fail."""
    if config.train.compile:
        METHODS.build(config.method).check_compilable()
