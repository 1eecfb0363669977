"""The fine-tuning loop: any method of the family, any suite, stoppable at any moment."""

from __future__ import annotations

import copy
import shutil
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from omp_cli.core.rl.workers import Workers

from omp_cli.core.checkpoint import (
    EMA,
    FOLDER,
    MODEL,
    TRAINING,
    Checkpoint,
    Weights,
    checkpoints_in,
    load_tensors,
    load_weights,
    open_checkpoint,
    save_checkpoint,
    thin,
)
from omp_cli.core.errors import OmpError, UsageError
from omp_cli.core.files import atomic, read_jsonl, remove
from omp_cli.core.measure.statistics import wilson
from omp_cli.core.measure.success import EvalConfig, environments, evaluate, summarise
from omp_cli.core.methods import METHODS
from omp_cli.core.policy import PolicyConfig
from omp_cli.core.progress import Progress, Silent
from omp_cli.core.rl.base import TUNERS, Start, Tuner
from omp_cli.core.rl.config import FinetuneConfig
from omp_cli.core.rl.rollout import Collector, Stopped
from omp_cli.core.seeds import derived_seed, rollout_seed
from omp_cli.core.signals import StopRequest, stop_requests
from omp_cli.core.suites.base import Suite, recorded_suite
from omp_cli.core.suites.chunking import chunk_env_factory
from omp_cli.core.timing import Stopwatch
from omp_cli.core.train.config import TrainConfig
from omp_cli.core.train.optim import make_ema
from omp_cli.core.train.trackers import METRICS, JsonLines, Tracker, make_trackers

START, BEST, EVALUATIONS = "start", "best", "evaluations.jsonl"
ROLLOUT = ("policy", "environments: step", "environments: start", "records")
"""Parts of the time that go into experience; the rest is learning and bookkeeping."""


@dataclass(frozen=True)
class FinetuneResult:
    """What a finished run reports.

    Attributes:
        checkpoint: the last one.
        best: the one with the best evaluation; None without evaluations.
        figures: JSON types.
    """

    checkpoint: Path
    best: Path | None
    figures: dict[str, Any]


def tuner_for(policy: PolicyConfig) -> str:
    """The fine-tuning method made for a pre-training method: the one of its own, else DMPO.

    Raises:
        UsageError: there is none.
    """
    method = METHODS.build(policy.method)
    fitting = [name for name in TUNERS.names() if TUNERS.get(name).fits(method)]
    if not fitting:
        raise UsageError(f"no fine-tuning method for a policy of method {policy.method.name}")  # type: ignore[attr-defined]
    special = [name for name in fitting if name.startswith("reinflow")]
    return (special or [name for name in fitting if name == "dmpo"] or fitting)[0]


def check_fits(config: FinetuneConfig, checkpoint: Checkpoint) -> None:
    """UsageError where the method cannot start from the checkpoint, or the suite lacks what is asked for."""
    name, policy = config.method.name, checkpoint.config()  # type: ignore[attr-defined]
    tuner = TUNERS.get(name)
    if not tuner.fits(METHODS.build(policy.method)):
        raise UsageError(
            f"method {name}: cannot start from a policy of method {policy.method.name}; it takes {tuner.takes}",  # type: ignore[attr-defined]
            f"use --method {tuner_for(policy)}",
        )
    suite = recorded_suite(checkpoint.meta.suite)
    if not suite.judged and (config.end_on_success or config.reward == "success"):
        raise UsageError(f"suite {checkpoint.meta.spec.suite} has no success, only a return", "leave reward as it is")


class Finetuner:
    """Owns everything that changes during fine-tuning.

    Args:
        config: the run.
        checkpoint: where it starts.
        folder: the run's folder; checkpoints and metrics go there.
        device: where to learn.
        workers: environment processes.
        progress: told of every iteration.
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
        self.suite: Suite = recorded_suite(self.meta.suite)
        tuner = TUNERS.get(config.method.name)  # type: ignore[attr-defined]
        self.nfe = config.nfe or tuner.nfe
        self.workers = min(workers, config.envs)
        pretrained = checkpoint.load(config.weights, device)
        self.policy = copy.deepcopy(pretrained)
        self.watch = Stopwatch(torch.cuda.synchronize if synchronise and device.type == "cuda" else None)
        torch.manual_seed(derived_seed("finetune", config.seed))
        start = Start(
            self.policy,
            pretrained.requires_grad_(False),
            self.nfe,
            config.envs,
            config.seed,
            device,
            self.watch,
            progress.note,
            checkpoint,
            config.reward,
            config.end_on_success,
        )
        self.tuner: Tuner = tuner(config.method, start)
        self.ema = make_ema(self.policy, TrainConfig(ema_max=config.ema_max or 0.0))
        self.iteration = 0
        self.row: dict[str, Any] = {}
        """Figures of the last iteration."""
        self._earlier: dict[str, Any] = {}
        """The same of the last iteration before a resumption."""
        self._resumed_at: int | None = None
        self._saved: Path | None = None
        self._start = folder / START / "step-00000000"
        if not self._start.exists():  # a resumed run starts from its own copy
            with atomic(self._start) as temporary:
                shutil.copytree(checkpoint.path, temporary, ignore=shutil.ignore_patterns(TRAINING))

    def resume(self) -> int:
        """Continue from the newest checkpoint in the run's folder, if there is one; returns its iteration."""
        for leftover in (self.folder / FOLDER).glob(".*.tmp*"):
            remove(leftover)
        found = checkpoints_in(self.folder / FOLDER)
        if found:
            newest = open_checkpoint(found[-1])
            load_weights(self.policy, newest.path / MODEL)
            load_weights(self.ema.module, newest.path / EMA)
            self.tuner.restore(load_tensors(newest.path / TRAINING))
            self.iteration = self.ema.n_averaged = newest.meta.step
            self._saved = newest.path
            rows = [row for row in read_jsonl(self.folder / METRICS) if row["step"] <= self.iteration]
            self.row = self._earlier = rows[-1] if rows else {}
        self._resumed_at = self.iteration
        return self.iteration

    def run(self) -> FinetuneResult:
        """Fine-tune to the last iteration or until the time is up.

        Raises:
            Diverged: a loss was not finite; the last checkpoint is from before that.
            Interrupted, Terminated: somebody asked to stop; a checkpoint was written first.
            RunFailed: environments cannot be kept alive, or learning does not see the policy that acted.
        """
        trackers = make_trackers(self.config.tracker, self.folder, self.iteration)
        evaluations = JsonLines(self.folder / EVALUATIONS, self.iteration)
        try:
            with ExitStack() as stack, stop_requests() as stop:
                envs = stack.enter_context(self._workers())
                held_out = stack.enter_context(self._held_out()) if self.config.evaluation.every else None
                self._loop(envs, held_out, trackers, evaluations, stop)
        finally:
            for tracker in [*trackers, evaluations]:
                tracker.close()
        assert self._saved is not None
        best = checkpoints_in(self.folder / BEST)
        return FinetuneResult(self._saved, best[-1] if best else None, self._figures())

    def _loop(
        self,
        envs: Workers,
        held_out: VectorEnv | None,
        trackers: list[Tracker],
        evaluations: Tracker,
        stop: StopRequest,
    ) -> None:
        config, every = self.config, self.config.evaluation.every
        collector = Collector(envs, self.policy, self.tuner.augments, self.device, self.watch, lambda: bool(stop.error))
        self.watch.start()
        if held_out is not None and self.iteration == 0:
            self._evaluate(self._start, config.weights, held_out, evaluations)
        self.progress.start("fine-tuning", config.iterations, self.iteration)
        while not self._finished:
            torch.manual_seed(derived_seed("finetune", config.seed, self.iteration))
            began = time.perf_counter()
            try:
                figures = self.tuner.iterate(self.iteration, collector)
            except Stopped:
                raise self._stopped(stop) from None
            seconds = time.perf_counter() - began
            self.iteration += 1
            self.ema.update_parameters(self.policy)
            self.row = self._row(figures, collector, envs, seconds)
            for tracker in trackers:
                tracker.log(self.iteration, self.row)
            self.progress.advance(1, **self._shown(collector))
            self.watch.lap("logging and progress")
            evaluates = held_out is not None and (self._finished or self.iteration % every == 0)
            if self._finished or evaluates or self.iteration % config.checkpoint_every == 0:
                self._save()
            if held_out is not None and evaluates:
                self._evaluate(self._saved, "ema", held_out, evaluations)
            if stop.error and not self._finished:
                raise self._stopped(stop)

    @property
    def _finished(self) -> bool:
        limit = self.config.minutes
        used = self.row.get("train_seconds", 0.0)
        return self.iteration >= self.config.iterations or (limit is not None and used >= 60 * limit)

    def _stopped(self, stop: StopRequest) -> OmpError:
        """Save the last finished iteration, and say that the run can go on."""
        assert stop.error is not None
        if self.iteration:
            self._save()
        return stop.error(
            f"stopped at iteration {self.iteration} of {self.config.iterations}", "continue with --resume"
        )

    def _workers(self) -> Workers:
        """The environments to learn in. A resumed run starts on episodes that the one before did not begin."""
        config, task, policy = self.config, self.meta.spec.task, self.policy
        make = chunk_env_factory(
            self.meta.suite,
            task,
            keys=policy.keys,
            n_obs=policy.chunk.n_obs,
            execute=policy.chunk.execute,
            max_steps=config.max_steps,
            points=getattr(policy.encoder.config, "points", None),
            reference=self.meta.reference,
        )
        return Workers(
            make,
            config.envs,
            self.workers,
            lambda env, number: rollout_seed(derived_seed(config.seed, self.iteration), task, env, number),
            end_on_success=config.end_on_success,
            reward=config.reward,
            note=self.progress.note,
        )

    def _held_out(self) -> AbstractContextManager[VectorEnv]:
        config = self._eval_config("ema")
        return environments(open_checkpoint(self._start), config, min(self.workers, config.episodes))

    def _eval_config(self, weights: Weights) -> EvalConfig:
        config = self.config
        return EvalConfig(
            episodes=config.evaluation.episodes,
            nfe=self.nfe,
            weights=weights,
            seed=config.seed,
            max_steps=config.max_steps,
            together=min(config.envs, 8),
        )

    def _evaluate(self, path: Path | None, weights: Weights, envs: VectorEnv, evaluations: Tracker) -> None:
        """Roll a checkpoint out on held-out start states, and keep it if no other was better."""
        assert path is not None
        config = self._eval_config(weights)
        episodes, _ = evaluate(open_checkpoint(path), config, config.episodes, envs, self.device, Silent())
        figures = summarise(episodes, self.suite)
        success = figures.get("success_any", {})
        row = {"return": figures["mean_return"], "episodes": config.episodes}
        row |= {"success": success["rate"], "successes": success["successes"]} if success else {}
        row |= {key: self.row[key] for key in ("env_steps", "train_seconds") if key in self.row}
        earlier = read_jsonl(self.folder / EVALUATIONS)
        metric = self.suite.metric
        if self.iteration and all(row[metric] > other[metric] for other in earlier):
            self._keep_as_best(path)
        evaluations.log(self.iteration, row)
        shown = f"{success['successes']}/{success['episodes']}, " if success else ""
        self.progress.note(
            f"iteration {self.iteration}: held-out {'success ' + shown if success else ''}return {row['return']:.4g}"
        )
        self.watch.lap("evaluation")

    def _keep_as_best(self, path: Path) -> None:
        kept = self.folder / BEST / path.name
        with atomic(kept) as temporary:
            shutil.copytree(path, temporary, ignore=shutil.ignore_patterns(TRAINING))
        for other in checkpoints_in(self.folder / BEST):
            if other != kept:
                remove(other)

    def _save(self) -> None:
        meta = self.meta.model_copy(
            update={
                "step": self.iteration,
                "nfe": self.nfe,
                "finetuned_by": self.config.method.name,  # type: ignore[attr-defined]
            }
        )
        self._saved = save_checkpoint(self.folder / FOLDER, meta, self.policy, self.ema.module, self.tuner.tensors())
        thin(self.folder / FOLDER, self.config.keep)
        self.watch.lap("checkpoints")

    def _row(self, figures: dict[str, float], collector: Collector, envs: Workers, seconds: float) -> dict[str, Any]:
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
        row["train_seconds"] = self.row.get("train_seconds", 0.0) + seconds
        new = collector.env_steps - (self.row.get("env_steps", 0) - before.get("env_steps", 0))
        row["env_steps_per_second"] = new / seconds
        row["worker_restarts"] = before.get("worker_restarts", 0) + envs.restarts
        return {key: round(v, 8) if isinstance(v, float) else v for key, v in row.items()}

    def _shown(self, collector: Collector) -> dict[str, float | str]:
        """What the progress line says of an iteration."""
        row, recent = self.row, collector.recent
        shown: dict[str, float | str] = {}
        if recent and self.suite.judged:
            shown["success"] = str(wilson(row["successes"], len(recent)))
        names = ("return", "ratio", "kl", "clip_share", "explained_variance", "bc", "env_steps_per_second")
        shown |= {name: row[name] for name in names if name in row}
        parts = self.watch.seconds
        shown["rollout_share"] = sum(parts.get(p, 0.0) for p in ROLLOUT) / max(sum(parts.values()), 1e-9)
        return shown

    def _figures(self) -> dict[str, Any]:
        """The last row, the first and last evaluation, where time went."""
        resumed = {} if self._resumed_at is None else {"resumed_at_iteration": self._resumed_at}
        evaluations = read_jsonl(self.folder / EVALUATIONS)
        return {
            **self.row,
            **resumed,
            "iterations": self.iteration,
            "nfe": self.nfe,
            "envs": self.config.envs,
            "workers": self.workers,
            "reduction": getattr(self.config.method, "reduction", None),
            "parameters": sum(p.numel() for p in self.policy.parameters()),
            "evaluations": evaluations,
            "seconds_by_part": self.watch.rounded(),
        }
