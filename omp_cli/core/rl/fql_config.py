"""Flow Q-learning: settings. Legend: B batch, Q value of an observation and a chunk."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from omp_cli.core.base.config import LARGEST, Above0, AtLeast0, Count, CountOrZero, Depth, Settings, Share
from omp_cli.core.rl.critic import QConfig


class FqlSigma(Settings):
    """Noise added to the student's normalised actions while exploring, besides that of its z; 0 as in the paper."""

    value: AtLeast0 = 0.0
    """Standard deviation of the exploration noise."""


class FqlConfig(Settings):
    """Settings of FQL."""

    name: Literal["fql"] = "fql"
    """Registered name."""
    decisions: Count = 16
    """Decisions per environment and iteration."""
    updates: Above0 = 1.0
    """Gradient steps per decision of all environments."""
    offline_steps: CountOrZero = 0
    """Gradient steps on the demonstrations before the first decision; they are the first iterations."""
    student_every: Count = 2
    """Gradient steps of the critics per one of the student."""
    distil_steps: CountOrZero = 500
    """Gradient steps at the start in which the student only follows the teacher, and the critics learn."""
    batch_size: int = Field(256, ge=2, le=LARGEST)
    """B, decisions per gradient step."""
    demonstrations: Share = 0.5
    """Share of a batch that comes from the demonstrations, where they have rewards."""
    capacity: Count = 100_000
    """Decisions that the replay keeps."""
    fill: Count = 1000
    """Decisions that are collected before learning from them begins, also after a resumption."""
    lr: Above0 = 3e-4
    """Learning rate of the student (Adam)."""
    critic_lr: Above0 = 3e-4
    """Learning rate of the critics (Adam)."""
    gamma: float = Field(0.99, gt=0, le=1)
    """Discount per decision."""
    tau: float = Field(0.005, gt=0, le=1)
    """Share of the critics that their moving average takes over per gradient step."""
    alpha: AtLeast0 = 3.0
    """Weight of the distillation."""
    flow: bool = False
    """Whether the teacher goes on learning, by its own training loss on the actions of the batch (the paper's BC flow
    loss); else it stays as pre-trained.
    """
    normalise: bool = True
    """Whether Q in the student's loss is divided by its mean magnitude over the batch, so that alpha does not depend on
    the scale of rewards.
    """
    combine: Literal["mean", "min"] = "mean"
    """What of the two critics counts in their target; the student climbs their mean."""
    teacher_nfe: Depth | None = None
    """Evaluations of the teacher; None for what it was fine-tuned with, else 4 where it was trained for several steps
    (reflow, shortcut) and 1 for other flows.
    """
    encoder: Literal["trained", "frozen"] = "trained"
    """Whether the student's encoder learns."""
    augment: bool = True
    """Shift pictures as in pre-training, anew whenever a decision is learned from."""
    sigma: FqlSigma = FqlSigma()
    """Exploration noise."""
    critic: QConfig = QConfig()
    """The critics."""

    def steps(self, envs: int) -> int:
        """Gradient steps of an iteration with N environments."""
        return max(1, round(self.updates * self.decisions * envs))

    def not_reached(self, iterations: int, envs: int, done: int) -> str:
        """What a run does not come to that goes on with an empty replay, in words; "" where it comes to all.

        Args:
            iterations: iterations that are left.
            envs: N, the number of environments.
            done: gradient steps so far.
        """
        decisions, steps = iterations * self.decisions * envs, done + iterations * self.steps(envs)
        if decisions < self.fill:
            return (
                f"the policy stays as it is: {self.fill} decisions are collected before learning begins "
                f"(algorithm.fill), and this run has {decisions} left"
            )
        if steps <= self.distil_steps:
            return (
                f"the critics do not pull at the student, which follows the teacher alone for {self.distil_steps} "
                f"gradient steps (algorithm.distil_steps), and this run has at most {steps}"
            )
        return ""

    @model_validator(mode="after")
    def _reachable(self) -> FqlConfig:
        if self.fill > self.capacity:
            raise ValueError(f"fill has to be at most capacity (got {self.fill} and {self.capacity})")
        return self
