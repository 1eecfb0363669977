"""Configuration of ``omp pretrain``."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from omp_cli.core.config import Above0, AtLeast0, Count, CountOrZero, Settings, Share, Threads
from omp_cli.core.policy import PolicyConfig
from omp_cli.core.seeds import Seed

Beta = Annotated[float, Field(ge=0, lt=1)]
"""Decay of a moving average of AdamW's."""


class TrainConfig(Settings):
    """Optimisation.

    Attributes:
        steps: optimiser steps; with ``epochs`` given, computed from it.
        epochs: passes over all windows (the papers count so); where given, ``steps`` does not count.
        batch_size: windows per step, over all processes.
        draws: noises and times per window and step; each observation is encoded once and shared by its draws.
        turn: degrees; each window is turned about the vertical through the gripper by an angle within [-turn, turn]:
            cloud, positions and action displacements together, for tasks that name both (``Spec.displacements``).
            Turned displacements are clipped as the environment clips them.
        lr: peak learning rate of AdamW.
        betas: AdamW's.
        eps: AdamW's.
        weight_decay: AdamW's.
        lr_end: learning rate at the last step of the cosine.
        warmup_steps: steps of linear warm-up; None for ``warmup_share`` of the run.
        warmup_share: counts where ``warmup_steps`` is None.
        schedule: what follows the warm-up.
        grad_clip: largest gradient norm; None for no clipping (as the public code, whatever its configuration says).
        ema_power: EMA decay of update n is ``min(ema_max, 1 - (1 + n)^-ema_power)``.
        ema_max: its limit.
        precision: "fp32", or "bf16" autocast around the loss (parameters and optimiser stay float32).
        compile: compile the velocity network; refused where that is known to fail.
        log_every: steps between log lines.
        checkpoint_every: steps between checkpoints; None for ten over the run.
        keep: checkpoints kept, spread over the run; the newest always.
        tracker: "jsonl" alone, or TensorBoard event files beside it.
    """

    steps: Count = 2000
    epochs: Count | None = None
    batch_size: Count = 128
    draws: Count = 1
    turn: float = Field(default=0.0, ge=0, le=180)
    lr: Above0 = 1e-4
    lr_end: AtLeast0 = 0.0
    betas: tuple[Beta, Beta] = (0.95, 0.999)
    eps: Above0 = 1e-8
    weight_decay: AtLeast0 = 1e-6
    warmup_steps: CountOrZero | None = None
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    grad_clip: Above0 | None = None
    ema_power: AtLeast0 = 0.75
    ema_max: Share = 0.9999
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    log_every: Count = 50
    checkpoint_every: Count | None = None
    keep: Count = 5
    tracker: Literal["jsonl", "tensorboard"] = "jsonl"

    def passed_over(self) -> dict[str, str]:
        """What another setting decides in its place."""
        found = {}
        if self.epochs is not None:
            found["steps"] = f"train.epochs = {self.epochs} decides"
        if self.warmup_steps is not None:
            found["warmup_share"] = f"train.warmup_steps = {self.warmup_steps} decides"
        if self.schedule == "constant":
            found["lr_end"] = "the schedule is constant"
        return found

    def remark(self, windows: int) -> str | None:
        """What to tell of a batch that is larger than the data set; None where there is nothing to tell."""
        if self.batch_size <= windows:
            return None
        return (
            f"train.batch_size {self.batch_size} is more than the {windows} windows of the data set: a step sees some "
            "of them more than once"
        )

    def total_steps(self, windows: int) -> int:
        """Optimiser steps of the whole run on a data set of that many windows."""
        return self.steps if self.epochs is None else math.ceil(self.epochs * windows / self.batch_size)

    def learning_rate(self, step: int, total: int) -> float:
        """Learning rate of step 0, 1, ... total - 1."""
        warmup = round(self.warmup_share * total) if self.warmup_steps is None else self.warmup_steps
        if step < warmup:
            return self.lr * (step + 1) / warmup
        if self.schedule == "constant":
            return self.lr
        done = (step - warmup) / max(total - warmup, 1)
        return self.lr_end + (self.lr - self.lr_end) * 0.5 * (1 + math.cos(math.pi * done))


class PretrainConfig(PolicyConfig):
    """A whole pre-training run; the data set and the place of the results are not part of it."""

    train: TrainConfig = TrainConfig()
    seed: Seed = 0
    threads: Threads = 1

    def policy(self) -> PolicyConfig:
        """The part that describes the policy."""
        return PolicyConfig(method=self.method, net=self.net, encoder=self.encoder, chunk=self.chunk)
