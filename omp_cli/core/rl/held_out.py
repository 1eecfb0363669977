"""Evaluations on held-out start states while fine-tuning goes on, and the best checkpoint so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from omp_cli.core.base.files import read_jsonl
from omp_cli.core.base.progress import Silent
from omp_cli.core.base.statistics import counted
from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.envs.pool import EnvPool
from omp_cli.core.measure.environments import environments, suite_of
from omp_cli.core.measure.episodes import EvalConfig, summarise
from omp_cli.core.measure.success import evaluate
from omp_cli.core.rl.config import FinetuneConfig
from omp_cli.core.rl.rollout import Stopped
from omp_cli.core.train.journal import Journal
from omp_cli.core.train.trackers import JsonLines

EVALUATIONS = "evaluations.jsonl"


class HeldOut:
    """Environments, in worker processes of their own, and what was measured in them so far.

    Args:
        config: the run's configuration.
        journal: the run's journal; ``evaluations.jsonl`` lies beside what it writes, and it keeps the best checkpoint.
        checkpoint: any checkpoint of the run; its task and chunking are used.
        nfe: K, the number of function evaluations.
        workers: environment processes.
        device: where the network runs.
        step: rows after this iteration are dropped (they belong to work that a resumed run repeats).
        asked_to_stop: asked after every episode; ``Stopped`` is raised where it says so.
        note: called with one line when an environment process dies; its episode is then begun anew.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        journal: Journal,
        checkpoint: Checkpoint,
        nfe: int,
        workers: int,
        device: torch.device,
        step: int,
        asked_to_stop: Callable[[], bool],
        note: Callable[[str], None],
    ) -> None:
        wanted = config.evaluation
        self._every, self._journal, self._device = wanted.every, journal, device
        self._asked_to_stop, self._note, self._checkpoint = asked_to_stop, note, checkpoint
        self._envs: EnvPool | None = None
        self._suite = suite_of(checkpoint)
        self._config = EvalConfig(
            episodes=wanted.episodes,
            nfe=nfe,
            seed=config.seed,
            max_steps=config.max_steps,
            together=min(config.envs, 8),
        )
        self._workers = min(workers, wanted.episodes)
        self._file = JsonLines(journal.folder / EVALUATIONS, step)

    def __enter__(self) -> HeldOut:
        if self._every:
            self._envs = environments(self._checkpoint, self._config, self._workers, self._told)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._envs is not None:
            self._envs.close()

    def _told(self, line: str) -> None:
        self._note(f"held-out episodes: {line}")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The evaluations so far: "step", "return", "episodes", where there is success also "success", "successes"."""
        return read_jsonl(self._journal.folder / EVALUATIONS)

    def due(self, iteration: int, last: bool) -> bool:
        """Whether the policy of an iteration is to be evaluated; a kill may have prevented it before."""
        due = self._every > 0 and (last or iteration % self._every == 0)
        return due and all(row["step"] != iteration for row in self.rows)

    def evaluate(self, checkpoint: Checkpoint, figures: dict[str, Any]) -> str:
        """Roll a checkpoint out, without exploration noise, and keep it if it is the best so far.

        Args:
            checkpoint: the checkpoint of the iteration that has ended; its moving average counts.
            figures: further figures of its row.

        Returns:
            The result in one line.
        """
        metric = self._suite.metric
        assert self._envs is not None, "only evaluations that are due are made"
        progress = _Stoppable(self._asked_to_stop)
        count = self._config.episodes
        found = summarise(evaluate(checkpoint, self._config, count, self._envs, self._device, progress)[0], self._suite)
        row = {"return": found["mean_return"], "episodes": count}
        line = f"return {row['return']:.4g}"
        if "success_any" in found:
            success = counted(found)
            row |= {"success": success["rate"], "successes": success["successes"]}
            line = f"success {success['successes']}/{success['episodes']}, {line}"
        if all(row[metric] > other[metric] for other in self.rows):
            self._journal.keep_best(checkpoint)
        self._file.log(checkpoint.meta.step, row | figures)
        return line


class _Stoppable(Silent):
    """Ends an evaluation after an episode; a resumed run makes it anew."""

    def __init__(self, asked_to_stop: Callable[[], bool]) -> None:
        self._asked_to_stop = asked_to_stop

    def advance(self, units: int = 1, **figures: float | str) -> None:
        """An episode is over."""
        if self._asked_to_stop():
            raise Stopped
