"""A training step recorded as one CUDA graph: hundreds of small kernels with a single launch (``train.graph``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from omp_cli.core.base.device import no_graph, recording
from omp_cli.core.methods import Draws
from omp_cli.core.train.config import TrainConfig
from omp_cli.core.train.distributed import World
from omp_cli.core.train.seen import Seen

WARM_UP = 3
"""Eager steps before a step is recorded: libraries set themselves up, and moments get their memory."""

Batch = tuple[Mapping[str, Tensor], Tensor, Draws]
Recorder = Callable[[Callable[[], None]], Callable[[], None]]
"""Records what a function launches, without executing it, and returns what replays it."""


def why_eager(train: TrainConfig, device: torch.device, world: World, synchronise: bool) -> str | None:
    """Why steps are not recorded, known before the first of them; None where it can be tried."""
    if train.graph == "off":
        return "train.graph is off"
    if (reason := no_graph(device)) is not None:
        return reason
    if world.size > 1:
        return "several processes exchange gradients"
    if train.compile:
        return "the network is compiled (train.compile)"
    if synchronise:
        return "--verbose waits for the device at every part of a step"
    return None


def on_cuda(device: torch.device) -> Recorder:
    """Records on a device. Recordings of one recorder share their memory, so only one of them runs at a time."""
    pool = torch.cuda.graph_pool_handle()

    def record(step: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with recording(graph, device, pool):
            step()
        return graph.replay

    return record


class RecordedStep:
    """A step over buffers that stay where they are; one recording of plain steps, one of those that are logged.

    Args:
        step: forward to optimiser on a batch; the flag says whether the step is logged. On CUDA its optimiser is
            ``capturable``, has made steps, so that its moments exist, and its rates are tensors.
        batch: observations, raw chunks and draws of the shapes of all steps to come.
        recorder: records a step.
    """

    def __init__(self, step: Callable[[Batch, bool], Seen], batch: Batch, recorder: Recorder) -> None:
        obs, actions, draws = batch
        self._batch = {key: x.clone() for key, x in obs.items()}, actions.clone(), draws.map(torch.clone)
        self._step, self._recorder = step, recorder
        self._seen: dict[bool, Seen] = {}
        self._replays: dict[bool, Callable[[], None]] = {}
        self._record(log=False)  # first, for its gradients are those that logged steps and eager ones add to

    def run(self, batch: Batch, log: bool) -> Seen:
        """One step on a batch, with the learning rates that the optimiser's groups hold now.

        Returns:
            What the step lets one see, which the next one overwrites.

        Raises:
            RuntimeError: such a step cannot be recorded.
        """
        if log not in self._replays:
            self._record(log)
        for static, new in zip(_tensors(self._batch), _tensors(batch), strict=True):
            static.copy_(new, non_blocking=True)
        self._replays[log]()
        return self._seen[log]

    def _record(self, log: bool) -> None:
        def step() -> None:
            self._seen[log] = self._step(self._batch, log)

        self._replays[log] = self._recorder(step)


def _tensors(batch: Batch) -> tuple[Tensor, ...]:
    obs, actions, draws = batch
    return *(obs[key] for key in sorted(obs)), actions, *draws.tensors()
