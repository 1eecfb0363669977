"""The training loop: any policy, any data set, one process or many, stoppable at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omp_cli.core.base.device import autocast, seed_generators, tf32, waiting_for
from omp_cli.core.base.errors import UsageError, also_for_memory
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.seeds import derived_seed
from omp_cli.core.base.signals import stop_requests
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.checkpoint import CheckpointMeta, open_checkpoint
from omp_cli.core.data.split import episodes_of, held_out_of, others
from omp_cli.core.data.store import Dataset
from omp_cli.core.methods import LossReport
from omp_cli.core.policy import LossModule, Policy
from omp_cli.core.train.batches import Batch, Batches
from omp_cli.core.train.build import build_policy, check_arrays, check_compile, memory_cure, never_seen
from omp_cli.core.train.calibrate import measure, settled
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.distributed import World
from omp_cli.core.train.graph import Replays, why_eager
from omp_cli.core.train.inputs import check_same_spec
from omp_cli.core.train.journal import Journal, LearningResult
from omp_cli.core.train.optim import make_ema, make_optimizer, restore_training, set_learning_rate, training_tensors
from omp_cli.core.train.parts import time_parts
from omp_cli.core.train.seen import Seen
from omp_cli.core.train.teacher import learn_from
from omp_cli.core.train.trial import try_parts
from omp_cli.core.train.validation import LOSS, Validation

SHOWN = ("loss", LOSS, "samples_per_second")
"""Figures that the display of the progress shows."""


class Trainer:
    """Owns everything that changes during training.

    Args:
        config: the run.
        dataset: demonstrations, which lie on ``device`` as far as it has room for them; some episodes may be held out
            (``train.hold_out``).
        folder: the run's folder; checkpoints and metrics go there.
        device: where to train.
        world: this process among its peers.
        progress: advances with every step.
        teacher: the trained policy that a distilling method learns from, on ``device`` (``teacher.load_teacher``).
        synchronise: on a GPU, wait for it at every part of a step, so that ``seconds_by_part`` is right; slower.
    """

    def __init__(
        self,
        config: PretrainConfig,
        dataset: Dataset,
        folder: Path,
        device: torch.device,
        world: World,
        progress: Progress,
        teacher: Policy | None = None,
        synchronise: bool = False,
    ) -> None:
        check_compile(config)
        if teacher is not None:
            check_arrays(teacher, dataset)
        train = config.train
        if train.batch_size % world.size:
            raise UsageError(f"train.batch_size {train.batch_size} cannot be shared by {world.size} processes")
        self.held_out = held_out_of(dataset, train.hold_out, config.seed)
        if self.held_out:
            named, of = ", ".join(map(str, self.held_out)), len(dataset.episode_ends)
            progress.note(f"held out of training: {len(self.held_out)} of {of} episodes ({named})")
        unseen = episodes_of(dataset, self.held_out) if self.held_out else None
        self.dataset = dataset = episodes_of(dataset, others(dataset, self.held_out))
        self.config, self.folder, self.world, self.progress, self.device = config, folder, world, progress, device
        self.policy = build_policy(config, dataset).to(device)
        if (remark := never_seen(self.policy)) is not None:
            progress.note(remark)
        net = list(self.policy.net.parameters())
        if left := sum(p.numel() for p in net if not p.requires_grad):
            share = f"{left / 1e6:.1f} of {sum(p.numel() for p in net) / 1e6:.1f} million parameters"
            progress.note(f"{share} of the network are not trained{self.policy.net.untrained}")
        self.teacher = teacher
        self._warm = None if teacher is None else learn_from(self.policy, teacher)
        self.module = LossModule(self.policy, world.gather, teacher)
        keys = dict.fromkeys((*self.policy.keys, *(teacher.keys if teacher else ())))
        self._memory = memory_cure(keys, dataset.spec)
        with also_for_memory(self._memory):
            self.batches = Batches(config, dataset, self.policy, keys, device, world)
        if (remark := train.remark(len(self.batches))) is not None:
            progress.note(remark)
        self.total = train.total_steps(len(self.batches))
        self.every = train.checkpoint_every or max(self.total // 10, 1)
        eager = why_eager("train.graph", train.graph, device, synchronise)
        eager = eager or ("several processes exchange gradients" if world.size > 1 else None)
        eager = eager or ("the network is compiled (train.compile)" if train.compile else None)
        self.recording = Replays(self._step, "train.graph", train.graph, eager, device, progress.note)
        if eager is None:
            self.batches.choose_ahead(self.total)
        self.optimizer = make_optimizer(self.module, train, recorded=eager is None)
        self._wrapped: torch.nn.Module = self.module
        self.ema = make_ema(self.policy, train)
        self.watch = Stopwatch(waiting_for(device) if synchronise else None)
        time_parts(self.module, teacher, self.watch, train.compile)
        self.step = 0
        self.journal = Journal(folder, self.policy, self.ema, train.keep, train.tracker, writes=world.is_main)
        self._measured: dict[str, float] = {}
        averaged = LossModule(self.ema.module, teacher=teacher)
        averaged.score = self.module.score
        self.validation = Validation(config, unseen, averaged, keys, device, world)

    def resume(self) -> int:
        """Continue from the newest checkpoint in the run's folder, if there is one; returns its step."""
        newest = self.journal.resume(
            lambda tensors: restore_training(self.module, self.optimizer, tensors),
            lambda found: check_same_spec(self.folder, found.meta.spec, self.dataset.spec),
        )
        if newest is not None:
            self.step, kept = newest.meta.step, newest.meta.policy["method"]
            self._settle({name: kept[name] for name in self.policy.method.to_measure})
            self.validation.resume(self.folder, self.step)
            if self.validation.is_best(self.step):  # a kill may have come between the checkpoint and its copy
                self.journal.keep_best(newest)
        return self.step

    def _settle(self, settings: dict[str, float]) -> None:
        """Take over what the method measured, if anything."""
        if settings:
            self.config, self._measured = settled(self.config, self.policy, settings), settings
            self.ema.module.method = self.policy.method

    def run(self) -> LearningResult:
        """Train to the last step, in the precision of the run.

        Raises:
            Diverged: a loss or gradient was not finite; the last checkpoint is from before that.
            Interrupted, Terminated: somebody asked to stop; a checkpoint was written first.
        """
        with also_for_memory(self._memory), tf32(self.config.train.precision == "tf32"):
            return self._run()

    def _run(self) -> LearningResult:
        train, journal = self.config.train, self.journal
        if self.policy.method.to_measure:  # a resumed run has it from its checkpoint
            measured = measure(self.policy, *self.batches(self.step, World()), train.precision, self.world)
            self._settle(measured.settings)
            self.progress.note(measured.note)
        if self._warm is not None and self.step == 0:
            self.progress.note("starts from the teacher's weights" if self._warm else "starts from fresh weights")
        if self.step < self.total:
            try_parts(self.module, lambda: self.batches(self.step, self.world))
        self._wrapped = self.world.wrap(self.module, self.device)
        if train.compile:
            # Logging each term's gradient goes through the same graph twice, which donated buffers do not survive.
            torch._functorch.config.donated_buffer = False
            self.policy.net.compile()
        self.progress.start("training", self.total, self.step)
        started, first = time.perf_counter(), self.step
        self.watch.start()
        # Peers would stop at different steps and wait for each other for ever, so torchrun's own way applies there.
        with journal.tracking(self.step), stop_requests(enabled=self.world.size == 1) as stop:
            while self.step < self.total:
                validate = self.validation.due(self.step + 1, self.total)
                log = validate or (self.step + 1) % train.log_every == 0 or self.step + 1 == self.total
                figures = self._update(log)
                self.step += 1
                if validate:
                    figures |= self.validation.measure(self.step)
                    self.watch.lap("validation")
                best = validate and self.validation.is_best(self.step)
                if log:
                    lr = float(self.optimizer.param_groups[0]["lr"])
                    rate = (self.step - first) * train.batch_size / (time.perf_counter() - started)
                    figures |= {"lr": lr, "samples_per_second": rate, **self._measured}
                    journal.log(self.step, figures)
                self.progress.advance(1, **self._shown())
                self.watch.lap("logging and progress")
                if best or self.step % self.every == 0 or self.step == self.total or stop.error:
                    self._save()
                    if best and self.world.is_main and (saved := journal.last) is not None:
                        journal.keep_best(open_checkpoint(saved))
                    self.watch.lap("checkpoints")
                if stop.error and self.step < self.total:
                    raise journal.stopped(stop.error, f"step {self.step} of {self.total}")
        last = journal.last  # once it is written
        self.watch.lap("checkpoints")
        seconds = time.perf_counter() - started
        assert last is not None, "the last step is saved"
        kept = journal.best if self.validation.figures else None
        return LearningResult(last, kept, self._figures(seconds, self.step - first))

    def _update(self, log: bool) -> dict[str, float]:
        """One step of training, replayed where it can be; returns the logged figures, none unless ``log``."""
        set_learning_rate(self.optimizer, self.config.train.learning_rate(self.step, self.total))
        batch = self.batches(self.step)
        self.watch.lap("data")
        self._seed_modules()
        tried = self.recording.eager is None
        seen = self.recording(batch, log)
        if seen is not None:
            self.watch.lap("CUDA graph")
        else:
            if tried:  # a recording that failed may have drawn
                self._seed_modules()
            seen = self._step(batch, log)
        self.ema.update()
        self.watch.lap("moving average")
        if not log:
            return {}
        figures = seen.numbers()
        self._check_finite(self.step + 1, {"loss": figures["loss"], "gradient norm": figures["grad_norm"]})
        return figures

    def _step(self, batch: Batch, log: bool) -> Seen:
        """Loss, gradients and optimiser on a batch, as they are recorded too."""
        train, watch = self.config.train, self.watch
        with autocast(train.precision, self.device):
            report: LossReport = self._wrapped(*batch)
        watch.lap("loss")
        seen = Seen.of(report, self.module.parameters()) if log else Seen()
        if log:
            watch.lap("logging and progress")
        # A recording makes the gradients' memory anew at every replay, and eager steps after it use the same.
        self.optimizer.zero_grad(set_to_none=not self.recording.begun)
        report.total.backward()
        watch.lap("backward")
        if log or train.grad_clip is not None:
            seen.figures["grad_norm"] = norm = self._gradient_norm()
            if train.grad_clip is not None:
                torch.nn.utils.clip_grads_with_norm_(self.module.parameters(), train.grad_clip, norm)
        # Looking at a number makes the host wait for an accelerator: there only logged and saved steps are checked. On
        # a CPU a gradient that is not finite shows in the next loss, and never in a checkpoint (``_save``).
        if self.device.type == "cpu":
            known = {"gradient norm": seen.figures["grad_norm"]} if "grad_norm" in seen.figures else {}
            self._check_finite(self.step + 1, {"loss": report.total.detach(), **known})
        watch.lap("gradient norm")
        self.optimizer.step()
        watch.lap("optimiser")
        return seen

    def _shown(self) -> dict[str, float]:
        """What the display of the progress says: figures of the last row that has them."""
        row = self.journal.row | {LOSS: self.validation.last}
        return {name: row[name] for name in SHOWN if row.get(name) is not None}

    def _seed_modules(self) -> None:
        """Augmentation and dropout draw from torch's own generators: so they are a function of (seed, step) as well."""
        seed_generators(derived_seed("modules", self.config.seed, self.step, self.world.rank), self.device)

    def _gradient_norm(self) -> Tensor:
        return torch.nn.utils.get_total_norm([p.grad for p in self.module.parameters() if p.grad is not None])

    def _check_finite(self, step: int, figures: Mapping[str, Tensor | float]) -> None:
        if not all(math.isfinite(value) for value in figures.values()):
            found = ", ".join(f"{name} {float(value)}" for name, value in figures.items())
            raise self.journal.diverged(f"diverged at step {step}: {found}", "lower --lr, or set train.grad_clip=1.0")

    def _save(self) -> None:
        self._check_finite(self.step, {"gradient norm": self._gradient_norm()})
        tensors, provenance = training_tensors(self.module, self.optimizer), self.dataset.provenance
        self._check_finite(self.step, {"largest weight or moment": self.journal.largest(tensors)})
        meta = CheckpointMeta(
            step=self.step,
            policy=self.config.policy().model_dump(mode="json"),
            spec=self.dataset.spec,
            suite=self.dataset.suite,
            dataset_sha256=self.dataset.sha256,
            start_states=provenance["start_states"],
            reference=provenance.get("reference"),
            nfe=self.policy.nfe,
            held_out=self.held_out,
        )
        self.journal.save(meta, tensors)
        self.world.barrier()

    def _figures(self, seconds: float, steps: int) -> dict[str, Any]:
        resumed_at = self.journal.resumed_at
        return {
            **{name: None if value is None else round(value, 6) for name, value in self.journal.row.items()},
            **self.validation.figures,
            **({} if resumed_at is None else {"resumed_at_step": resumed_at}),
            **({} if self._warm is None else {"warm_start": self._warm}),
            "steps": self.step,
            **self.policy.sizes(),
            "windows": len(self.batches),
            "episodes": len(self.dataset.episode_ends),
            **({"held_out": list(self.held_out)} if self.held_out else {}),
            "train_seconds": round(seconds, 2),
            "ms_per_step": round(1e3 * seconds / max(steps, 1), 2),
            "processes": self.world.size,
            "precision": self.config.train.precision,
            "graph": self.recording.figure,
            "seconds_by_part": self.watch.rounded(),
        }
