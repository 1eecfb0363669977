"""Configuration of ``omp pretrain``."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from omp_cli.core.base.config import Above0, AtLeast0, Count, CountOrZero, Flag, Seed, Settings, Share, Threads
from omp_cli.core.policy_config import Graph, PolicyConfig

Beta = Annotated[float, Field(ge=0, lt=1)]
"""Decay of a moving average of AdamW's."""


TrackerName = Literal["jsonl", "tensorboard", "wandb", "trackio"]
"""Where a run's figures go (``train.trackers``)."""


class TrainConfig(Settings):
    """Optimisation."""

    steps: Annotated[Count, Flag(panel="Optimisation")] = 2000
    """Steps of the optimiser, counted from the beginning of the run; where ``epochs`` is given, computed from it."""
    epochs: Count | None = None
    """Passes over all windows (the papers count so); where given, ``steps`` does not count."""
    batch_size: Annotated[Count, Flag(panel="Optimisation")] = 128
    """Windows per step, over all processes."""
    draws: Count = 1
    """Noises and times per window and step; each observation is encoded once and shared by its draws."""
    turn: float = Field(default=0.0, ge=0, le=180)
    """Degrees; each window is turned about the vertical through the gripper by an angle within [-turn, turn]: cloud,
    positions and action displacements together, for tasks that name both (``Spec.displacements``). Turned displacements
    are clipped as the environment clips them.
    """
    lr: Annotated[Above0, Flag(panel="Optimisation")] = 1e-4
    """Peak learning rate of AdamW."""
    lr_end: AtLeast0 = 0.0
    """Learning rate that the cosine would reach one step after the last."""
    betas: tuple[Beta, Beta] = (0.95, 0.999)
    """AdamW's decays of the moving averages of gradient and squared gradient."""
    eps: Above0 = 1e-8
    """AdamW's epsilon."""
    weight_decay: AtLeast0 = 1e-6
    """AdamW's weight decay."""
    warmup_steps: CountOrZero | None = None
    """Steps of linear warm-up; None for ``warmup_share`` of the run."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in the linear warm-up, where ``warmup_steps`` is None."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate goes on after the warm-up."""
    grad_clip: Above0 | None = None
    """Largest gradient norm; None clips nothing (as the public code, whatever its configuration says)."""
    ema_power: AtLeast0 = 0.75
    """EMA decay of update n is ``min(ema_max, 1 - (1 + n)^-ema_power)``."""
    ema_max: Share = 0.9999
    """Largest decay of the EMA."""
    precision: Annotated[Literal["fp32", "tf32", "bf16"], Flag(panel="Optimisation")] = "fp32"
    """Precision of the loss: fp32; tf32, which rounds operands to 10 bits on NVIDIA GPUs and is fp32 elsewhere; or bf16
    autocast around it. Parameters and optimiser are float32 with all of them, and so is dde's difference.
    """
    graph: Graph = "auto"
    """On CUDA, whether a step is one CUDA graph: "auto" where it can be recorded, "on" fails where it cannot."""
    compile: Annotated[bool, Flag(panel="Optimisation", only_on=True)] = False
    """Whether the velocity network is compiled; of the derivatives that a method may have, only dde allows it."""
    log_every: Count = 50
    """Steps between two lines of the log."""
    checkpoint_every: Count | None = None
    """Steps between checkpoints; None for ten over the run."""
    keep: Count = 5
    """Checkpoints kept, spread over the run; the newest always."""
    hold_out: Annotated[float | None, Flag(panel="Optimisation")] = Field(default=None, ge=0, lt=1)
    """Share of the episodes that are held out of training and normalisation, chosen by the seed, at least one; 0 for
    none; None for those that the data set itself holds out.
    """
    validate_every: CountOrZero = 0
    """Steps between measurements of the loss on the held-out episodes, with the same noise and times each; 0 measures
    none. The checkpoint where it was lowest is kept as ``best``.
    """
    tracker: TrackerName = "jsonl"
    """"jsonl" alone, or beside it TensorBoard event files, a run of Weights & Biases, or one of Trackio."""

    def passed_over(self) -> dict[str, str]:
        """What another setting decides in its place."""
        found = {}
        if self.epochs is not None:
            found["steps"] = f"train.epochs = {self.epochs} decides"
        if self.warmup_steps is not None:
            found["warmup_share"] = f"train.warmup_steps = {self.warmup_steps} decides"
        if self.schedule == "constant":
            found["lr_end"] = "the schedule is constant"
        if self.ema_max == 0:
            found["ema_power"] = "ema_max = 0 averages nothing"
        return found

    def remark(self, windows: int) -> str | None:
        """What to tell of a batch larger than the data set, or of a warm-up that does not end; None for nothing."""
        found, total = [], self.total_steps(windows)
        if self.batch_size > windows:
            found.append(
                f"train.batch_size {self.batch_size} is more than the {windows} windows of the data set: a step sees "
                "some of them more than once"
            )
        if (warmup := self._warmup(total)) > total:
            end = self.learning_rate(total - 1, total)
            found.append(f"the warm-up of {warmup} steps is longer than the run of {total}: the rate ends at {end:.0e}")
        return "; ".join(found) or None

    def total_steps(self, windows: int) -> int:
        """Optimiser steps of the whole run on a data set of that many windows."""
        return self.steps if self.epochs is None else math.ceil(self.epochs * windows / self.batch_size)

    def learning_rate(self, step: int, total: int) -> float:
        """Learning rate of step 0, 1, ... total - 1."""
        warmup = self._warmup(total)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        if self.schedule == "constant":
            return self.lr
        done = (step - warmup) / max(total - warmup, 1)
        return self.lr_end + (self.lr - self.lr_end) * 0.5 * (1 + math.cos(math.pi * done))

    def _warmup(self, total: int) -> int:
        return round(self.warmup_share * total) if self.warmup_steps is None else self.warmup_steps


class PretrainConfig(PolicyConfig):
    """A whole pre-training run; the data set and the place of the results are not part of it."""

    train: TrainConfig = TrainConfig()
    """Optimisation."""
    seed: Seed = 0
    """Seed of everything random."""
    threads: Threads = 1
    """Torch threads."""

    def policy(self) -> PolicyConfig:
        """The part that describes the policy."""
        return PolicyConfig(method=self.method, net=self.net, encoder=self.encoder, chunk=self.chunk)
