"""Which windows, noises and times belong to which step: a function of (seed, step), so a run can stop anywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from omp_cli.core.base.device import moved
from omp_cli.core.base.seeds import derived_seed
from omp_cli.core.data.store import Dataset
from omp_cli.core.data.windows import make_windows
from omp_cli.core.methods import Draws
from omp_cli.core.policy import Policy
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.distributed import World
from omp_cli.core.train.graph import combined, mapped
from omp_cli.core.train.observed import Observed
from omp_cli.core.train.turning import check_turnable, reach_of, turn_angles, turned

AHEAD = 32
"""Steps whose random numbers go to a GPU together."""
READ_AHEAD = 4
"""Steps whose frames of mapped files are being read while one is worked on."""

Batch = tuple[Mapping[str, Tensor], Tensor, Draws]
"""Observations, raw chunks and draws of a step."""


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


class Batches:
    """All windows of a data set, on a device, and of each step those that it gets, with the draws of its loss.

    Args:
        config: the run; UsageError where it turns windows that cannot be turned.
        dataset: the demonstrations.
        policy: says what its method draws.
        keys: the arrays of the data set that policy and teacher read as observations.
        device: where the data go.
        world: this process among its peers, which share every batch.
    """

    def __init__(
        self,
        config: PretrainConfig,
        dataset: Dataset,
        policy: Policy,
        keys: Iterable[str],
        device: torch.device,
        world: World,
    ) -> None:
        self._config, self._policy, self._spec, self._device, self._world = config, policy, dataset.spec, device, world
        windows = make_windows(dataset.episode_ends, config.chunk)
        self._observed = Observed(dataset, keys, windows, device)
        self._action = torch.from_numpy(windows.action).to(device)
        self._actions = torch.from_numpy(dataset.whole("action")).to(device)
        if config.train.turn:
            check_turnable(self._observed.keys, self._spec)
            self._reach = reach_of(self._actions, self._spec)
        self._ahead: Ahead | None = None
        self._asked = -1

    def __len__(self) -> int:
        return len(self._action)

    def choose_ahead(self, total: int) -> None:
        """From now on decide about many of the ``total`` steps at once."""
        self._ahead = Ahead(self.choose, total, self._device)

    def __call__(self, step: int, world: World | None = None) -> Batch:
        """Observations, raw action chunks and draws of a step, the share of this process (of ``world``)."""
        if self._ahead is not None and world is None:
            drawn = self._ahead(step)
        else:
            drawn = mapped(self.choose(step, world), lambda x: x.to(self._device))
        obs = self._observed(drawn.windows, lambda: self._windows(step, world))
        actions = self._actions[self._action[drawn.windows]]
        if self._observed.reads:
            for later in range(max(self._asked, step) + 1, step + READ_AHEAD + 1):
                self._observed.read_ahead(self._windows(later, world))
            self._asked = max(self._asked, step + READ_AHEAD)
        if drawn.angles is not None:
            obs, actions = turned(obs, actions, drawn.angles, self._spec, self._reach)
        return obs, actions, drawn.draws

    def choose(self, step: int, world: World | None = None) -> DrawnStep:
        """What chance decides about a step, for this process (for those of ``world``), on the CPU."""
        train, seed = self._config.train, self._config.seed
        start, stop = (world or self._world).part(train.batch_size)
        shape = (train.batch_size * train.draws, self._config.chunk.horizon, self._spec.learned_action_dim)
        generator = torch.Generator().manual_seed(derived_seed("step", seed, step))
        draws = self._policy.method.draw(shape, generator)
        angles = turn_angles(train.turn, train.batch_size, seed, step)[start:stop] if train.turn else None
        return DrawnStep(self._windows(step, world), angles, draws.part(start * train.draws, stop * train.draws))

    def _windows(self, step: int, world: World | None) -> Tensor:
        """Numbers of a step's windows, on the CPU, the share of this process (of ``world``)."""
        size = self._config.train.batch_size
        start, stop = (world or self._world).part(size)
        return batch_indices(len(self), size, self._config.seed, step)[start:stop]


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
            block = combined([self._choose(n) for n in self._steps], torch.stack)
            self._block = mapped(block, lambda x: moved(x, self._device))
        drawn: DrawnStep = mapped(self._block, lambda x: x[step - self._steps.start])
        return drawn


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
