"""What a training run leaves in its folder and goes on from: checkpoints, the best of them, rows of figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omp_cli.core.base.errors import Diverged, OmpError
from omp_cli.core.base.files import quoted, remove
from omp_cli.core.base.run import BEST, CHECKPOINTS, Run
from omp_cli.core.checkpoint import (
    EMA,
    MODEL,
    TRAINING,
    Checkpoint,
    CheckpointMeta,
    checkpoint_path,
    checkpoints_in,
    copy_checkpoint,
    newest_saved,
)
from omp_cli.core.policy import Policy
from omp_cli.core.train.optim import MovingAverage
from omp_cli.core.train.saving import States, copied_states, save_checkpoint, thin
from omp_cli.core.train.trackers import METRICS, Tracker, make_trackers, rows_until


@dataclass(frozen=True)
class LearningResult:
    """What a finished pre-training or fine-tuning reports.

    Attributes:
        checkpoint: the last one.
        best: the one that did best on held-out episodes; None where that was not measured.
        figures: JSON types.
    """

    checkpoint: Path
    best: Path | None
    figures: dict[str, Any]

    def record(self, run: Run, *logs: str) -> None:
        """Give a run's manifest the figures, the checkpoints and the ``logs``, files in the run's folder."""
        run.metrics(**self.figures)
        for path in (self.checkpoint, self.best, *(run.folder / log for log in logs)):
            if path is not None:
                run.artifact(path)


class Journal:
    """Keeps a run's checkpoints and figures; pre-training counts in steps and fine-tuning in iterations.

    A checkpoint is a copy of the moment at which it is saved. Training goes on while it is written, one at a time, and
    whoever asks for it waits: the next one, the end of the run, an evaluation.

    Args:
        folder: folder of the run.
        policy: the policy that is trained.
        ema: the policy's moving average.
        keep: checkpoints that are kept, spread over the run.
        tracker: where figures go, see ``trackers``.
        writes: False for all but the first of several processes.

    Attributes:
        row: figures that were logged last, also by the process that this one goes on from.
        resumed_at: the step that this process went on from; None for a run from the beginning.
    """

    def __init__(
        self, folder: Path, policy: Policy, ema: MovingAverage, keep: int, tracker: str, writes: bool = True
    ) -> None:
        self.folder, self._policy, self._ema = folder, policy, ema
        self._keep, self._tracker, self._writes = keep, tracker, writes
        self._trackers: list[Tracker] = []
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[Path] | None = None
        self._last: Path | None = None
        self.row: dict[str, Any] = {}
        self.resumed_at: int | None = None

    def resume(
        self,
        restore: Callable[[dict[str, Tensor]], None],
        check: Callable[[Checkpoint], None] = lambda newest: None,
    ) -> Checkpoint | None:
        """Go on from the run's newest checkpoint, if there is one.

        ``restore`` takes what lies beside the weights; ``check`` looks at the checkpoint before anything is read of it.
        """
        newest = newest_saved(self.folder / CHECKPOINTS)
        self.resumed_at = 0 if newest is None else newest.meta.step
        if newest is None:
            return None
        check(newest)
        newest.read_into(self._policy, MODEL)
        newest.read_into(self._ema.module, EMA)
        restore(newest.tensors(TRAINING))
        self._ema.n_averaged = newest.meta.step
        self._last = newest.path
        rows = rows_until(self.folder / METRICS, newest.meta.step)
        self.row = {key: value for key, value in rows[-1].items() if key != "step"} if rows else {}
        return newest

    @contextmanager
    def tracking(self, step: int) -> Iterator[None]:
        """Rows of steps after ``step`` are logged inside; those of work that is done again are dropped."""
        self._trackers = make_trackers(self._tracker, self.folder, step) if self._writes else []
        try:
            yield
        finally:
            for tracker in self._trackers:
                tracker.close()
            wait([] if self._writing is None else [self._writing])  # a run has ended when its files have

    def log(self, step: int, row: dict[str, Any]) -> None:
        """Record the figures of a step that has ended."""
        self.row = row
        for tracker in self._trackers:
            tracker.log(step, row)

    def save(self, meta: CheckpointMeta, training: Mapping[str, Tensor]) -> None:
        """Begin to write the checkpoint of a step, unless it is there, and then to delete older ones beyond ``keep``.

        Raises:
            OSError: the one before could not be written; as ``last``.
        """
        path = checkpoint_path(self.folder / CHECKPOINTS, meta.step)
        if not self._writes:
            self._last = path
        elif path != self.last:
            states = copied_states(self._policy, self._ema.module, training)
            self._writing = self._writer.submit(self._write, meta, states)

    def _write(self, meta: CheckpointMeta, states: States) -> Path:
        written = save_checkpoint(self.folder / CHECKPOINTS, meta, states)
        thin(self.folder / CHECKPOINTS, self._keep)
        return written

    @property
    def last(self) -> Path | None:
        """The newest checkpoint, once it is written, or the one that this process went on from; None before the first.

        Raises:
            OSError: it could not be written, which is raised once.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            self._last = writing.result()
        return self._last

    def keep_best(self, checkpoint: Checkpoint) -> None:
        """Copy a checkpoint to ``best``, in place of the one there; nothing for a process that does not write."""
        if not self._writes:
            return
        best = self.folder / BEST / checkpoint.path.name
        copy_checkpoint(checkpoint.path, best)
        for other in checkpoints_in(self.folder / BEST):
            if other != best:
                remove(other)

    @property
    def best(self) -> Path | None:
        """The best checkpoint; None without evaluations."""
        found = checkpoints_in(self.folder / BEST)
        return found[-1] if found else None

    def largest(self, training: Mapping[str, Tensor]) -> Tensor:
        """The largest magnitude of all that a checkpoint would hold, a scalar on the CPU; not finite where one is."""
        modules = (self._policy, self._ema.module)
        held = (x for module in modules for x in (*module.parameters(), *module.buffers()))
        numbers = [x for x in (*held, *training.values()) if x.is_floating_point() and x.numel()]
        found: dict[torch.device, list[Tensor]] = {}
        for x in numbers:
            low, high = x.detach().aminmax()  # one pass, and no copy of a large tensor
            found.setdefault(x.device, []).append(torch.maximum(-low, high).float())
        return torch.stack([torch.stack(of_one).max().cpu() for of_one in found.values()]).max()  # a wait per device

    def diverged(self, message: str, hint: str) -> Diverged:
        """The error of a run whose numbers are not finite, with the checkpoint from before that."""
        kept = f"the last good checkpoint is {self.last}" if self.last else "no checkpoint had been written yet"
        return Diverged(f"{message}; {kept}", hint)

    def stopped(self, error: type[OmpError], place: str) -> OmpError:
        """The error of a run that somebody stopped at ``place`` ("step 3 of 9"), once its checkpoint is written."""
        assert self.last is not None
        return error(f"stopped at {place}", f"continue with --resume {quoted(self.folder)}")
