"""Which windows, noises and times belong to which step: a function of (seed, step), so a run can stop anywhere."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from omp_cli.core.base.seeds import derived_seed


def step_generator(seed: int, step: int) -> torch.Generator:
    """CPU generator for the random numbers of one step."""
    return torch.Generator().manual_seed(derived_seed("step", seed, step))


def batch_indices(windows: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Windows of a step, (batch_size,) int64: a stream of permutations, one per epoch, cut into full batches."""
    start = step * batch_size
    parts: list[Tensor] = []
    while batch_size > 0:
        epoch, offset = divmod(start, windows)
        part = _epoch_order(windows, seed, epoch)[offset : offset + batch_size]
        parts.append(part)
        start, batch_size = start + len(part), batch_size - len(part)
    return torch.cat(parts)


@functools.lru_cache(maxsize=2)  # a step needs one epoch's order, or two where it crosses from one to the next
def _epoch_order(windows: int, seed: int, epoch: int) -> Tensor:
    """The permutation (windows,) of an epoch; shared between callers, so not to be written to."""
    return torch.randperm(windows, generator=torch.Generator().manual_seed(derived_seed("epoch", seed, epoch)))
