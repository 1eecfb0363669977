"""Configuration of ``omp finetune``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from omp_cli.core.checkpoint import Weights
from omp_cli.core.config import Above0, Count, CountOrZero, Depth, Settings, Threads, Width
from omp_cli.core.rl.base import TUNERS
from omp_cli.core.seeds import Seed


class EvaluationConfig(Settings):
    """Evaluations on held-out start states during fine-tuning, without exploration noise.

    Attributes:
        every: iterations between them; the start and the end are evaluated as well. 0 for none at all.
        episodes: of each.
    """

    every: CountOrZero = 20
    episodes: Count = 20


class FinetuneConfig(Settings):
    """A whole fine-tuning run; the checkpoint and the place of the results are not part of it.

    Attributes:
        method: how the policy improves.
        nfe: K, evaluations of the network per decision; None for the fine-tuning method's own, or the policy's.
        envs: N environments, shared out to the worker processes.
        iterations: of collecting and learning.
        minutes: time of collecting and learning after which the run ends in good order; None for no limit.
        max_steps: environment steps per episode; None takes the task's own limit.
        reward: the suite's own, or 1 for each chunk with success in it and 0 otherwise.
        end_on_success: whether success ends an episode (nothing follows), for tasks that go on after it.
        weights: which of the pre-trained weights to start from.
        ema_max: largest decay of a moving average over iterations, which is then evaluated; None for none.
        evaluation: during the run.
        checkpoint_every: iterations between checkpoints.
        keep: checkpoints kept, spread over the run; the newest always. The best evaluated one is kept besides.
        tracker: "jsonl" alone, or TensorBoard event files beside it.
        seed: of everything random.
        threads: torch threads.
    """

    method: Annotated[SerializeAsAny[Settings], BeforeValidator(TUNERS.parse)]
    nfe: Depth | None = None
    envs: Width = 16
    iterations: Count = 100
    minutes: Above0 | None = None
    max_steps: Count | None = None
    reward: Literal["environment", "success"] = "environment"
    end_on_success: bool = False
    weights: Weights = "ema"
    ema_max: float | None = Field(default=None, gt=0, lt=1)
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint_every: Count = 5
    keep: Count = 3
    tracker: Literal["jsonl", "tensorboard"] = "jsonl"
    seed: Seed = 0
    threads: Threads = 1
