"""Configuration of ``omp finetune``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from omp_cli.core.base.config import Above0, Count, CountOrZero, Depth, Flag, Member, Seed, Settings, Threads, Width
from omp_cli.core.families import ALGORITHMS
from omp_cli.core.policy_config import Graph, Weights
from omp_cli.core.train.config import TrackerName

GENERAL = "dmpo"
"""The algorithm of policies for whose method none was made."""


class EvaluationConfig(Settings):
    """Evaluations on held-out start states during fine-tuning, without exploration noise."""

    every: CountOrZero = 20
    """Iterations between them; the start and the end are evaluated as well. 0 evaluates never."""
    episodes: Count = 20
    """Held-out episodes of each evaluation."""

    def passed_over(self) -> dict[str, str]:
        """The episodes, where nothing is evaluated."""
        return {} if self.every else {"episodes": "every = 0 evaluates never"}


class FinetuneConfig(Settings):
    """A whole fine-tuning run; the checkpoint and the place of the results are not part of it."""

    algorithm: Annotated[
        SerializeAsAny[Member],
        BeforeValidator(ALGORITHMS.parse),
        Flag(
            "--algorithm",
            panel="Algorithm",
            key="name",
            help="How the policy improves: dmpo, dppo, reinflow-r, reinflow-s, gaussian or fql.",
            default=f"the one that was made for the checkpoint's method, else {GENERAL}",
            values=ALGORITHMS.names,
        ),
        Flag(
            "--sigma",
            panel="Algorithm",
            key="sigma.value",
            kind=float,
            help="Standard deviation of the exploration noise, or of a learned one at the start.",
        ),
        Flag("--bc", panel="Algorithm", key="bc.weight", kind=float, help="Weight of behaviour cloning at the start."),
        Flag("--lr", panel="Optimisation", key="lr", kind=float, help="Learning rate of the policy."),
    ]
    """How the policy improves."""
    nfe: Annotated[Depth | None, Flag(panel="Algorithm")] = None
    """Network evaluations per decision, K; None for the algorithm's own, else the policy's."""
    envs: Annotated[Width, Flag(panel="Optimisation")] = 16
    """Environments that run at the same time, shared out to the worker processes."""
    iterations: Annotated[Count, Flag(panel="Optimisation")] = 100
    """Iterations of collecting and learning."""
    minutes: Annotated[Above0 | None, Flag(panel="Optimisation")] = None
    """Minutes of collecting and learning after which the run ends as after its last iteration; None for no limit."""
    max_steps: Annotated[Count | None, Flag(panel="Optimisation")] = None
    """Environment steps per episode; None takes the task's own limit."""
    reward: Literal["environment", "success"] = "environment"
    """What the environments reward: the suite's own reward, or 1 for each chunk with success in it and else 0."""
    end_on_success: bool = False
    """Whether success ends an episode (nothing follows), for tasks that go on after it."""
    weights: Weights = "ema"
    """Which of the pre-trained weights to start from."""
    ema_max: float | None = Field(default=None, gt=0, lt=1)
    """Largest decay of a moving average over iterations, which is then evaluated; None keeps no average."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluations during the run."""
    checkpoint_every: Count = 5
    """Iterations between checkpoints."""
    keep: Count = 3
    """Checkpoints kept, spread over the run; the newest always. The best evaluated one is kept besides."""
    tracker: TrackerName = "jsonl"
    """"jsonl" alone, or beside it TensorBoard event files, a run of Weights & Biases, or one of Trackio."""
    graph: Graph = "auto"
    """On CUDA, whether updates are CUDA graphs: "auto" where they can be recorded, "on" fails where they cannot."""
    seed: Seed = 0
    """Seed of everything random."""
    threads: Threads = 1
    """Torch threads."""
