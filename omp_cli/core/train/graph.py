"""A step of learning recorded as one CUDA graph: hundreds of small kernels with a single launch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from omp_cli.core.base.device import no_graph, recording
from omp_cli.core.base.errors import RunFailed, UsageError, one_line
from omp_cli.core.policy_config import Graph

WARM_UP = 3
"""Eager steps before a step is recorded: libraries set themselves up, and moments get their memory."""

Recorder = Callable[[Callable[[], None]], Callable[[], None]]
"""Records what a function launches, without executing it, and returns what replays it."""
Seen = TypeVar("Seen")


def why_eager(setting: str, graph: Graph, device: torch.device, synchronise: bool) -> str | None:
    """Why steps are not recorded, known before the first of them; None where it can be tried.

    Args:
        setting: name of the setting, for people.
        graph: its value.
        device: where steps run.
        synchronise: whether the host waits for the device at every part of a step.
    """
    if graph == "off":
        return f"{setting} is off"
    if (reason := no_graph(device)) is not None:
        return reason
    return "--verbose waits for the device at every part of a step" if synchronise else None


def on_cuda(device: torch.device) -> Recorder:
    """Records on a device. Recordings of one recorder share their memory, so only one of them runs at a time."""
    pool = torch.cuda.graph_pool_handle()

    def record(step: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with recording(graph, device, pool):
            step()
        return graph.replay

    return record


class Replays(Generic[Seen]):
    """A step that is replayed from its recording wherever there can be one.

    Args:
        step: launches a step on a batch; the second argument is its kind. Steps of one kind launch the same kernels on
            batches of the same shapes. On CUDA an optimiser in it is ``capturable``, and its rates are tensors or stay.
        setting: name of the setting that decides over graphs.
        graph: its value.
        eager: why no recording is tried; None where it is.
        device: where steps run.
        note: called with a line for the user.

    Attributes:
        eager: as given, or why the recording failed.

    Raises:
        UsageError: a graph is asked for, and there can be none.
    """

    def __init__(
        self,
        step: Callable[[Any, Any], Seen],
        setting: str,
        graph: Graph,
        eager: str | None,
        device: torch.device,
        note: Callable[[str], None],
    ) -> None:
        if graph == "on" and eager is not None:
            raise UsageError(f"{setting}: on, but {eager}", "leave it at auto")
        self.eager, self._must = eager, graph == "on"
        self._step, self._setting, self._device, self._note = step, setting, device, note
        self._steps = 0
        self._recorded: dict[Hashable, RecordedStep[Seen]] = {}

    @property
    def begun(self) -> bool:
        """Whether there is a recording."""
        return bool(self._recorded)

    @property
    def figure(self) -> str:
        """What a manifest says of it."""
        return "CUDA graph" if self.begun else f"eager: {self.eager or 'too few steps'}"

    def __call__(self, batch: Any, kind: Hashable) -> Seen | None:
        """One step by its recording, made before where there is none.

        Returns:
            What ``step`` returned when it was recorded, which the next step overwrites; None where this step has to be
            eager, as the first few are: if no recording is possible, that is told once.

        Raises:
            RunFailed: a graph was asked for and cannot be made.
        """
        self._steps += 1
        if self.eager is not None or self._steps <= WARM_UP:
            return None
        given = tensors(batch)
        shapes = tuple(x.shape for x in given)
        try:
            if shapes not in self._recorded:
                first = not self._recorded
                self._recorded[shapes] = RecordedStep(self._step, batch, kind, on_cuda(self._device))
                if first:
                    self._note("steps are CUDA graphs")
            return self._recorded[shapes].run(given, kind)
        except RuntimeError as error:  # what waits for the device, or copies from the host, cannot be recorded
            self._recorded, self.eager = {}, one_line(error, 200, typed=True)
            if self._must:
                message = f"{self._setting}: the step cannot be recorded: {self.eager}"
                raise RunFailed(message, "leave it at auto") from error
            self._note(f"no CUDA graph: {self.eager}")
            return None


class RecordedStep(Generic[Seen]):
    """A step over buffers that stay where they are, with a recording for each of its kinds.

    Args:
        step: see ``Replays``.
        batch: tensors of the shapes of all steps to come, in tuples, mappings and data classes.
        kind: recorded at once: whatever gradients there are not yet become this recording's, and other recordings and
            eager steps add to them.
        recorder: records a step.
    """

    def __init__(self, step: Callable[[Any, Any], Seen], batch: Any, kind: Hashable, recorder: Recorder) -> None:
        self._batch = mapped(batch, torch.clone)
        self._buffers = tensors(self._batch)
        self._step, self._recorder = step, recorder
        self._seen: dict[Hashable, Seen] = {}
        self._replays: dict[Hashable, Callable[[], None]] = {}
        self._record(kind)

    def run(self, given: Sequence[Tensor], kind: Hashable) -> Seen:
        """One step on the tensors of a batch, with the learning rates that the optimiser's groups hold now.

        Returns:
            What the step lets one see, which the next one overwrites.

        Raises:
            RuntimeError: such a step cannot be recorded.
        """
        if kind not in self._replays:
            self._record(kind)
        for static, new in zip(self._buffers, given, strict=True):
            static.copy_(new, non_blocking=True)
        self._replays[kind]()
        return self._seen[kind]

    def _record(self, kind: Hashable) -> None:
        def step() -> None:
            self._seen[kind] = self._step(self._batch, kind)

        self._replays[kind] = self._recorder(step)


def mapped(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A batch with each of its tensors changed, always in the same order; see ``RecordedStep``."""
    if isinstance(batch, Tensor):
        return change(batch)
    if batch is None:
        return None
    if isinstance(batch, Mapping):
        return {key: mapped(batch[key], change) for key in sorted(batch)}
    if isinstance(batch, tuple):
        return tuple(mapped(part, change) for part in batch)
    return replace(batch, **{field.name: mapped(getattr(batch, field.name), change) for field in fields(batch)})


def tensors(batch: Any) -> list[Tensor]:
    """The tensors of a batch, in the order of ``mapped``."""
    found: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        found.append(x)
        return x

    mapped(batch, keep)
    return found


def combined(batches: Sequence[Any], combine: Callable[[tuple[Tensor, ...]], Tensor]) -> Any:
    """One batch of several of the same form: ``combine`` (torch.cat, torch.stack) makes each tensor of theirs."""
    places = zip(*map(tensors, batches), strict=True)
    return mapped(batches[0], lambda _: combine(next(places)))
