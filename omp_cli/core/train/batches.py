"""Which windows, noises and times belong to which step: a function of (seed, step), so a run can stop anywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from omp_cli.core.base.seeds import derived_seed
from omp_cli.core.methods import Draws

AHEAD = 32
"""Steps whose random numbers go to a GPU together."""


@dataclass(frozen=True)
class DrawnStep:
    """What chance decides about a step.

    Attributes:
        windows: numbers of the windows, (B,) int64.
        angles: by which each is turned, (B,) radians; None where nothing is.
        draws: noises and times of the loss.
    """

    windows: Tensor
    angles: Tensor | None
    draws: Draws

    def map(self, change: Callable[[Tensor], Tensor]) -> DrawnStep:
        """The same with each tensor changed."""
        angles = None if self.angles is None else change(self.angles)
        return DrawnStep(change(self.windows), angles, self.draws.map(change))


class Ahead:
    """What chance decides about the steps to come, on a GPU before they need it.

    A copy from ordinary memory waits for all that the GPU has been told to do, so that nothing could be prepared while
    it works; one copy from pinned memory for many steps does not.

    Args:
        choose: what chance decides about a step, on the CPU; the same shapes for all steps.
        total: steps of the run.
        device: where it goes.
    """

    def __init__(self, choose: Callable[[int], DrawnStep], total: int, device: torch.device) -> None:
        self._choose, self._total, self._device = choose, total, device
        self._steps = range(0)
        self._block: DrawnStep | None = None

    def __call__(self, step: int) -> DrawnStep:
        """Of a step, on the device."""
        if step not in self._steps or self._block is None:
            self._steps = range(step, min(step + AHEAD, self._total))
            block: DrawnStep = _stacked([self._choose(number) for number in self._steps])
            self._block = block.map(self._moved)
        return self._block.map(lambda x: x[step - self._steps.start])

    def _moved(self, x: Tensor) -> Tensor:
        return x.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else x


def _stacked(parts: list[Any]) -> Any:
    """Tensors, or data classes of them, stacked along a new first dimension; None of Nones."""
    first = parts[0]
    if first is None or isinstance(first, Tensor):
        return None if first is None else torch.stack(parts)
    return type(first)(**{one.name: _stacked([getattr(part, one.name) for part in parts]) for one in fields(first)})


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
