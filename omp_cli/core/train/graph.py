"""A training step recorded as one CUDA graph: hundreds of small kernels with a single launch (``train.graph``).

The steps that are logged or saved run eagerly, on the same parameters, gradients and moments: only they look at
numbers, so that nothing waits for the device between two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from omp_cli.core.base.device import no_graph
from omp_cli.core.methods import Draws, LossReport
from omp_cli.core.train.config import TrainConfig
from omp_cli.core.train.distributed import World
from omp_cli.core.train.optim import MovingAverage

WARM_UP = 3
"""Eager steps before a step is recorded: libraries set themselves up, and moments and gradients get their memory."""

Step = Callable[[], None]
Batch = tuple[Mapping[str, Tensor], Tensor, Draws]


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


def record_on_cuda(step: Step, device: torch.device) -> Step:
    """Capture what a function launches on a device, without executing it; returns what replays it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph):
        step()
    return graph.replay


class RecordedStep:
    """Forward, backward, clipping, AdamW and moving average over buffers that stay where they are.

    Args:
        module: the loss.
        optimizer: has made steps, so that its moments exist; on CUDA ``capturable`` and with rates that are tensors.
        ema: the moving average, after its first update.
        batch: observations, raw chunks and draws of the shapes of all steps to come.
        precision: makes the context in which the loss is computed.
        grad_clip: largest gradient norm.
        record: turns the step into what repeats it; the function itself, where there is nothing to record with.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        ema: MovingAverage,
        batch: Batch,
        precision: Callable[[], AbstractContextManager[object]],
        grad_clip: float | None,
        record: Callable[[Step, torch.device], Step] = record_on_cuda,
    ) -> None:
        obs, actions, draws = batch
        self._module, self._optimizer, self._ema = module, optimizer, ema
        self._precision, self._grad_clip = precision, grad_clip
        self._obs, self._actions = {key: x.clone() for key, x in obs.items()}, actions.clone()
        self._draws = draws.map(torch.clone)
        self._weight = torch.zeros((), device=actions.device)
        # What has no gradient after a step is not part of the loss, and AdamW leaves it alone.
        self._parameters = [p for p in module.parameters() if p.grad is not None]
        self._grads = [p.grad for p in self._parameters if p.grad is not None]
        self._replay = record(self._step, actions.device)

    def run(self, batch: Batch) -> None:
        """One step on a batch, with the learning rates that the optimiser's groups hold now."""
        obs, actions, draws = batch
        for key, static in self._obs.items():
            static.copy_(obs[key], non_blocking=True)
        self._actions.copy_(actions, non_blocking=True)
        for static, new in zip(self._draws.tensors(), draws.tensors(), strict=True):
            static.copy_(new, non_blocking=True)
        self._weight.fill_(self._ema.next_weight())
        self._replay()
        self._ema.n_averaged += 1

    def _step(self) -> None:
        # Gradients keep their place: an eager step between two replays adds to the same memory.
        torch._foreach_zero_(self._grads)
        with self._precision():
            report: LossReport = self._module(self._obs, self._actions, self._draws)
        report.total.backward()
        if self._grad_clip is not None:
            norm = torch.nn.utils.get_total_norm(self._grads)
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self._grad_clip, norm)
        self._optimizer.step()
        self._ema.follow(self._weight)
