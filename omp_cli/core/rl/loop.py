"""The fine-tuning loop: any algorithm, any suite, stoppable at any moment."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from omp_cli.core.base.device import tf32, waiting_for
from omp_cli.core.base.errors import Diverged
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.base.seeds import derived_seed, rollout_seed
from omp_cli.core.base.signals import StopRequest, stop_requests
from omp_cli.core.base.statistics import wilson
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.checkpoint import Checkpoint, copy_checkpoint, open_checkpoint
from omp_cli.core.envs.pool import EnvPool
from omp_cli.core.measure.environments import env_factory, suite_of
from omp_cli.core.rl.base import ALGORITHMS, Algorithm, Start
from omp_cli.core.rl.config import FinetuneConfig
from omp_cli.core.rl.environments import LOST, TrainingEnvs
from omp_cli.core.rl.held_out import EVALUATIONS, HeldOut
from omp_cli.core.rl.inputs import START, chain_length, check_fits
from omp_cli.core.rl.rollout import Collector, Stopped
from omp_cli.core.suites.base import Suite
from omp_cli.core.train.config import TrainConfig
from omp_cli.core.train.journal import Journal, LearningResult
from omp_cli.core.train.optim import make_ema
from omp_cli.core.train.trackers import METRICS

ROLLOUT = ("policy", "environments: step", "environments: start", "records")
"""Parts of the time that go into experience; the rest is learning and bookkeeping."""


class Finetuner:
    """Owns everything that changes during fine-tuning.

    Args:
        config: configuration of the run.
        checkpoint: the checkpoint that it starts from.
        folder: the run's folder; checkpoints and metrics go there.
        device: where the networks learn.
        workers: number of environment processes.
        progress: advances with every iteration.
        synchronise: on a GPU, wait for it at every part, so that ``seconds_by_part`` is right; slower.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        checkpoint: Checkpoint,
        folder: Path,
        device: torch.device,
        workers: int,
        progress: Progress,
        synchronise: bool = False,
    ) -> None:
        check_fits(config, checkpoint)
        self.config, self.folder, self.device, self.progress = config, folder, device, progress
        self.meta = checkpoint.meta
        self.suite: Suite = suite_of(checkpoint)
        algorithm = ALGORITHMS.get(config.algorithm.name)
        self.nfe = chain_length(config, checkpoint)
        self.workers = min(workers, config.envs)
        pretrained = checkpoint.load(config.weights, device)
        self.policy = copy.deepcopy(pretrained)
        self.watch = Stopwatch(waiting_for(device) if synchronise else None)
        torch.manual_seed(derived_seed("finetune", config.seed))
        start = Start(
            policy=self.policy,
            pretrained=pretrained.requires_grad_(False),
            nfe=self.nfe,
            envs=config.envs,
            seed=config.seed,
            device=device,
            watch=self.watch,
            note=progress.note,
            checkpoint=checkpoint,
            reward=config.reward,
            end_on_success=config.end_on_success,
            iterations=config.iterations,
            graph=config.graph,
            synchronise=synchronise,
        )
        self.algorithm: Algorithm = algorithm(config.algorithm, start)
        self.ema = make_ema(self.policy, TrainConfig(ema_max=config.ema_max or 0.0))
        self.journal = Journal(folder, self.policy, self.ema, config.keep, config.tracker)
        self.iteration = 0
        self._earlier: dict[str, Any] = {}
        """Figures of the last iteration before a resumption."""
        self._start = Checkpoint(folder / START / "step-00000000", checkpoint.meta)
        if checkpoint.path.resolve() != self._start.path.resolve():  # a resumed run starts from its own copy
            copy_checkpoint(checkpoint.path, self._start.path)

    def resume(self) -> int:
        """Continue from the newest checkpoint in the run's folder, if there is one; returns its iteration."""
        newest = self.journal.resume(self.algorithm.restore)
        self.iteration = 0 if newest is None else newest.meta.step
        self._earlier = self.journal.row
        return self.iteration

    def run(self) -> LearningResult:
        """Fine-tune to the last iteration or until the time is up.

        Raises:
            Diverged: a loss was not finite; the last checkpoint is from before that.
            Interrupted, Terminated: somebody asked to stop; a checkpoint was written first.
            RunFailed: environments cannot be kept alive, or learning does not see the policy that acted.
        """
        with (
            self.journal.tracking(self.iteration),
            stop_requests() as stop,
            self._pool() as pool,
            self._held_out(stop) as held_out,
            tf32(False),  # torch allows it in convolutions, and log-probabilities of batches of two sizes are compared
        ):
            try:
                self._loop(pool, held_out, stop)
            except Stopped:
                self._save()  # the last finished iteration
                assert stop.error is not None
                place = f"iteration {self.iteration} of {self.config.iterations}"
                raise self.journal.stopped(stop.error, place) from None
        assert self.journal.last is not None
        return LearningResult(self.journal.last, self.journal.best, self._figures(held_out.rows))

    def _loop(self, pool: EnvPool, held_out: HeldOut, stop: StopRequest) -> None:
        config, envs = self.config, TrainingEnvs(pool, self._seeds(), self.config.reward)
        collector = Collector(
            envs, self.policy, self.algorithm.augments, self.device, self.watch, lambda: bool(stop.error)
        )
        self.progress.start("fine-tuning", config.iterations, self.iteration)
        self.watch.start()
        self._save_and_evaluate(held_out)
        while not self._finished:
            torch.manual_seed(derived_seed("finetune", config.seed, self.iteration))
            began = time.perf_counter()
            figures = self._iterate(collector)
            seconds = time.perf_counter() - began
            self.iteration += 1
            self.ema.update()
            self.journal.log(self.iteration, self._row(figures, collector, pool.restarts, seconds))
            self.progress.advance(1, **self._shown(collector))
            self.watch.lap("logging and progress")
            self._save_and_evaluate(held_out)
            if stop.error and not self._finished:
                raise Stopped

    def _iterate(self, collector: Collector) -> dict[str, float]:
        """Collect and learn; Diverged where that leaves weights that are not numbers: no checkpoint may have them."""
        try:
            figures = self.algorithm.iterate(self.iteration, collector)
            if not bool(self.journal.largest(self.algorithm.tensors()).isfinite()):
                raise Diverged(f"diverged at iteration {self.iteration + 1}: weights that are not finite", "lower --lr")
        except Diverged as error:
            raise self.journal.diverged(error.message, error.hint) from None
        return figures

    def _save_and_evaluate(self, held_out: HeldOut) -> None:
        """Save and evaluate what is due after this many iterations."""
        evaluates = held_out.due(self.iteration, self._finished)
        if self._finished or evaluates or self.iteration % self.config.checkpoint_every == 0:
            self._save()
        if evaluates:
            assert self.journal.last is not None
            row, saved = self.journal.row, open_checkpoint(self.journal.last)
            figures: dict[str, Any] = {key: row[key] for key in ("env_steps", "train_seconds") if key in row}
            self.progress.note(f"iteration {self.iteration}: held-out {held_out.evaluate(saved, figures)}")
            self.watch.lap("evaluation")

    @property
    def _finished(self) -> bool:
        limit = self.config.minutes
        used = self.journal.row.get("train_seconds", 0.0)
        return self.iteration >= self.config.iterations or (limit is not None and used >= 60 * limit)

    def _pool(self) -> EnvPool:
        """The environments to learn in."""
        make, ends = env_factory(self._start, max_steps=self.config.max_steps), self.config.end_on_success
        return EnvPool(make, self.config.envs, self.workers, self.progress.note, LOST, end_on_success=ends)

    def _seeds(self) -> Callable[[int, int], int]:
        """Seeds of episodes by environment and number; a resumed run draws seeds that the run before it did not use."""
        base = derived_seed(self.config.seed, self.iteration)
        return lambda env, number: rollout_seed(base, self.meta.spec.task, env, number)

    def _held_out(self, stop: StopRequest) -> HeldOut:
        return HeldOut(
            self.config,
            self.journal,
            self._start,
            nfe=self.nfe,
            workers=self.workers,
            device=self.device,
            step=self.iteration,
            asked_to_stop=lambda: bool(stop.error),
            note=self.progress.note,
        )

    def _save(self) -> None:
        """Write the checkpoint of this iteration, unless it is there."""
        meta = self.meta.model_copy(
            update={
                "step": self.iteration,
                "nfe": self.nfe,
                "finetuned_by": self.config.algorithm.name,
                "frozen_from": self.policy.frozen_from,
            }
        )
        self.journal.save(meta, self.algorithm.tensors())
        self.watch.lap("checkpoints")

    def _row(self, figures: dict[str, float], collector: Collector, restarts: int, seconds: float) -> dict[str, Any]:
        """Figures of the iteration that has just ended, on top of those of the run before a resumption."""
        before, recent = self._earlier, collector.recent
        row: dict[str, Any] = {}
        if recent:
            row["return"] = sum(e.episode_return for e in recent) / len(recent)
            if self.suite.judged:
                row |= {"successes": sum(e.success for e in recent), "recent_episodes": len(recent)}
        row |= figures
        row["env_steps"] = before.get("env_steps", 0) + collector.env_steps
        row["episodes"] = before.get("episodes", 0) + collector.episodes
        row["train_seconds"] = self.journal.row.get("train_seconds", 0.0) + seconds
        new = collector.env_steps - (self.journal.row.get("env_steps", 0) - before.get("env_steps", 0))
        row["env_steps_per_second"] = new / seconds
        row["worker_restarts"] = before.get("worker_restarts", 0) + restarts
        return {key: round(v, 8) if isinstance(v, float) else v for key, v in row.items()}

    def _shown(self, collector: Collector) -> dict[str, float | str]:
        """What the progress line says of an iteration."""
        row, recent = self.journal.row, collector.recent
        shown: dict[str, float | str] = {}
        if recent and self.suite.judged:
            shown["success"] = str(wilson(row["successes"], len(recent)))
        names = ("return", "ratio", "kl", "clip_share", "explained_variance", "bc", "env_steps_per_second")
        shown |= {name: row[name] for name in names if name in row}
        parts = self.watch.seconds
        shown["rollout_share"] = sum(parts.get(p, 0.0) for p in ROLLOUT) / max(sum(parts.values()), 1e-9)
        return shown

    def _figures(self, evaluations: list[dict[str, Any]]) -> dict[str, Any]:
        """The last row, the evaluations, where time went."""
        resumed_at = self.journal.resumed_at
        resumed = {} if resumed_at is None else {"resumed_at_iteration": resumed_at}
        return {
            **self.journal.row,
            **resumed,
            "iterations": self.iteration,
            "nfe": self.nfe,
            "envs": self.config.envs,
            "workers": self.workers,
            "graph": self.algorithm.recording.figure,
            **self.policy.sizes(),
            "evaluations": evaluations,
            "seconds_by_part": self.watch.rounded(),
        }


def finetune_run(run: Run, finetuner: Finetuner, resumed: bool) -> dict[str, Any]:
    """Fine-tune to the end, a ``resumed`` run from its newest checkpoint; its manifest gets the figures and the files.

    Returns:
        The figures.

    Raises:
        OmpError: as ``Finetuner.run``.
    """
    if resumed:
        at = finetuner.resume()
        finetuner.progress.note(f"continuing at iteration {at} of {finetuner.config.iterations}")
    result = finetuner.run()
    result.record(run, METRICS, EVALUATIONS)
    return result.figures
