"""Environments that are made anew when one of their processes dies, at their start or at any time after it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.errors import WorkerDied
from omp_cli.core.measure.environments import environments, worker_seconds
from omp_cli.core.measure.episodes import Episode, EvalConfig
from omp_cli.core.measure.success import evaluate
from omp_cli.core.progress import Progress
from omp_cli.core.timing import Stopwatch

TRIES = 3
"""Of one evaluation, and of one start, when processes die."""
T = TypeVar("T")


class Rollouts:
    """Evaluations of the checkpoints of one run; use as a context manager.

    The episodes are the same however often a process dies on the way. What is made, and may fail three times in a row
    before ``WorkerDied`` ends the run, is a start of all processes or a whole evaluation.

    Args:
        checkpoint: any of the run; its task and chunking are used.
        config: of the evaluations.
        workers: environment processes.
        note: told of an environment process that died, in one line.
        filmed: episodes of which pictures may be asked for.
    """

    def __init__(
        self, checkpoint: Checkpoint, config: EvalConfig, workers: int, note: Callable[[str], None], filmed: int = 0
    ) -> None:
        self._arguments = (checkpoint, config, workers, filmed)
        self._config, self._note = config, note
        self._open = ExitStack()
        self._envs: VectorEnv | None = None

    def __enter__(self) -> Rollouts:
        self._tried("start of the environments", self._started)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def evaluate(
        self,
        checkpoint: Checkpoint,
        episodes: int,
        device: torch.device,
        progress: Progress,
        filmed: int = 0,
        watch: Stopwatch | None = None,
    ) -> tuple[list[Episode], list[NDArray[np.uint8]]]:
        """See ``success.evaluate``; WorkerDied when a process died in every try."""

        def once() -> tuple[list[Episode], list[NDArray[np.uint8]]]:
            return evaluate(checkpoint, self._config, episodes, self._started(), device, progress, filmed, watch)

        return self._tried("evaluation", once)

    def seconds(self) -> dict[str, float]:
        """Seconds by part that all environments of the last start together spent; of one that has died, none."""
        try:
            return worker_seconds(self._started())
        except WorkerDied as error:
            self._note(f"times of the environments are not known: {error.message}")
            self._close()
            return {}

    def _tried(self, what: str, work: Callable[[], T]) -> T:
        for _ in range(TRIES - 1):
            try:
                return work()
            except WorkerDied as error:
                self._note(f"{what}: {error.message}; made anew")
                self._close()
        return work()

    def _started(self) -> VectorEnv:
        if self._envs is None:
            self._envs = self._open.enter_context(environments(*self._arguments))
        return self._envs

    def _close(self) -> None:
        self._envs = None
        self._open.close()
