"""A training as the work of a run, whose manifest receives what came of it."""

from __future__ import annotations

from typing import Any

from omp_cli.core.base.run import Run
from omp_cli.core.train.loop import Trainer
from omp_cli.core.train.trackers import METRICS


def train_run(run: Run | None, trainer: Trainer, resumed: bool) -> dict[str, Any]:
    """Train to the end, a ``resumed`` run from its newest checkpoint; its manifest gets the figures and the files.

    Args:
        run: the run; None in a process beside the first one, which writes nothing.
        trainer: the training.
        resumed: whether the run goes on.

    Returns:
        The figures.

    Raises:
        OmpError: as ``Trainer.run``.
    """
    if resumed:
        trainer.progress.note(f"continuing at step {trainer.resume()} of {trainer.total}")
    result = trainer.run()
    if run is not None:
        result.record(run, METRICS)
    return result.figures
