"""What an evaluation is asked for, what it records of each episode, and the figures of all of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from omp_cli.core.base.config import AtLeast0, Count, CountOrZero, Depth, Flag, Seed, Settings, Threads, Width
from omp_cli.core.base.errors import DataError
from omp_cli.core.base.statistics import spread, wilson
from omp_cli.core.policy_config import Graph, Precision, Weights
from omp_cli.core.suites.base import Suite
from omp_cli.core.suites.ends import Ends


class EvalConfig(Settings):
    """How a policy is evaluated."""

    episodes: Annotated[Count, Flag(panel="Episodes")] = 50
    """Episodes, each from a start state that no demonstration used."""
    nfe: Annotated[Depth | None, Flag(panel="Episodes")] = None
    """Network evaluations per decision; None for the checkpoint's own."""
    execute: Annotated[Width | None, Flag(panel="Episodes")] = None
    """Actions of a chunk that are executed before the next decision; None for as many as in training."""
    noise_scale: Annotated[AtLeast0, Flag(panel="Episodes")] = 1.0
    """Standard deviation of the noise that a decision begins with: 1 as in training; smaller keeps to what is likelier;
    with 0 one observation always leads to one action.
    """
    weights: Annotated[Weights, Flag(panel="Episodes")] = "ema"
    """Weights of the checkpoint: their moving average (ema), or as trained (raw)."""
    seed: Seed = 0
    """Seed of the start states and of the policy's noise."""
    max_steps: Annotated[Count | None, Flag(panel="Episodes")] = None
    """Environment steps per episode; None takes the task's own limit."""
    curve: Annotated[CountOrZero, Flag(panel="Episodes")] = 0
    """Episodes of each earlier checkpoint of the run, to plot success or return over training; 0 evaluates the last one
    alone.
    """
    graph: Graph = "auto"
    """On CUDA, whether decisions are replayed graphs: "auto" where they can be captured, "on" fails where they
    cannot.
    """
    precision: Annotated[Precision, Flag(panel="Episodes")] = "fp32"
    """Precision of the network: fp32, tf32 (of NVIDIA GPUs), bf16 or fp16."""
    threads: Threads = 1
    """Torch threads."""
    together: Width = 1
    """Environments that are stepped together, shared out among the workers, of which each has at least one; their
    decisions are one batch, which is faster where physics is cheap.
    """
    label: Annotated[str | None, Flag(panel="Episodes")] = Field(default=None, min_length=1)
    """Name of the policy in reports; None takes its method and derivative."""


@dataclass
class Episode:
    """One evaluation episode; its figures grow while it runs.

    Attributes:
        task: task name.
        index: number of the episode in the evaluation.
        seed: seed of its start state; never a demonstration's.
        start_state: hash of that state.
        checkpoint_step: training step of the evaluated weights.
        weights: "ema" or "raw".
        nfe: evaluations of the network per decision.
        success_any: the suite's success flag at any step.
        success_chunk: the flag held for a whole executed chunk.
        success_end: the flag at the last step; counts where the suite is judged at the end.
        first_success: number of environment steps until the flag was first seen at the end of a chunk; None if never.
        steps: environment steps until the episode ended.
        episode_return: sum of rewards.
        terminated: whether the task ended the episode (the robot fell, all is done), not the step limit.
        mode: the way in which it did the task, where the suite tells them apart.
        ends: how near it came to success, where the suite says so (``suites.ends``).
    """

    task: str
    index: int
    seed: int
    start_state: str
    checkpoint_step: int
    weights: Weights
    nfe: int
    success_any: bool = False
    success_chunk: bool = False
    first_success: int | None = None
    steps: int = 0
    episode_return: float = 0.0
    terminated: bool = False
    mode: str | None = None
    success_end: bool = False
    ends: Ends = field(default_factory=dict)

    def add(self, reward: float, info: Mapping[str, Any], terminated: bool) -> None:
        """Account for a chunk.

        Args:
            reward: sum of the rewards of the chunk's steps.
            info: what ``ChunkEnv.step`` says of the chunk.
            terminated: whether the task ended with this chunk.

        Raises:
            DataError: the reward is not a finite number, and a return would be none.
        """
        if not math.isfinite(reward):
            where = f"by step {info['steps']} of episode {self.index}"
            raise DataError(f"{self.task}: the environment's reward {where} is {reward}", "its step() says the reward")
        self.episode_return += reward
        self.steps = int(info["steps"])
        self.success_any |= bool(info["success_any"])
        self.success_chunk |= bool(info["success_all"])
        self.success_end = bool(info["success_end"])
        if self.success_any and self.first_success is None:
            self.first_success = self.steps
        self.mode = info.get("mode", self.mode)
        self.ends = info.get("ends", self.ends)
        self.terminated = terminated

    def succeeded(self, suite: Suite) -> bool:
        """Whether it is a success by the rule that counts in its suite, so far or, once it is over, for good."""
        return self.success_end if suite.judged_at_end else self.success_any

    def end(self) -> None:
        """Round the figures: decisions in batches of another size differ in their last bits."""
        self.episode_return = round(self.episode_return, 4)
        self.ends = {name: v if isinstance(v, bool) else round(v, 4) for name, v in self.ends.items()}

    def as_dict(self, suite: Suite) -> dict[str, Any]:
        """Plain data without what the suite does not have."""
        left_out = {"terminated"} if suite.metric == "success" else set()
        left_out |= {"mode"} if self.mode is None else set()
        left_out |= set() if self.ends else {"ends"}
        left_out |= set() if suite.judged_at_end else {"success_end"}
        left_out |= set() if suite.judged else {"success_any", "success_chunk", "first_success"}
        return {key: value for key, value in asdict(self).items() if key not in left_out}


def summarise(episodes: Sequence[Episode], suite: Suite) -> dict[str, Any]:
    """Mean return and length; rates by both success rules where there is success; a spread where the return counts."""
    count = len(episodes)
    figures: dict[str, Any] = {}
    if suite.judged:
        figures["success_any"] = wilson(sum(e.success_any for e in episodes), count).as_dict()
        figures["success_chunk"] = wilson(sum(e.success_chunk for e in episodes), count).as_dict()
    if suite.judged_at_end:
        figures["success_end"] = wilson(sum(e.success_end for e in episodes), count).as_dict()
    figures["mean_return"] = round(float(np.mean([e.episode_return for e in episodes])), 3)
    figures["mean_steps"] = round(float(np.mean([e.steps for e in episodes])), 1)
    if suite.metric == "return":
        figures |= {"metric": "return"} | ({} if suite.counts is None else {"counts": suite.counts})
        figures["return"] = spread([e.episode_return for e in episodes]).as_dict()
        figures["steps"] = spread([float(e.steps) for e in episodes]).as_dict()
        figures["terminated"] = sum(e.terminated for e in episodes)
    return figures


def by_episode(episodes: Sequence[Episode], suite: Suite) -> dict[str, list[Any]]:
    """What came of each episode, in order, as columns: success by the rule that counts, steps, return, and its ends."""
    columns: dict[str, list[Any]] = {}
    if suite.judged:
        columns["success"] = [e.succeeded(suite) for e in episodes]
    columns["steps"] = [e.steps for e in episodes]
    columns["return"] = [e.episode_return for e in episodes]
    for name in dict.fromkeys(name for e in episodes for name in e.ends):
        columns[name] = [e.ends.get(name) for e in episodes]
    return columns


def starts_hash(episodes: Sequence[Episode]) -> str:
    """Hash of the start states, in order: two evaluations that share it can be compared start by start."""
    return hashlib.sha256("".join(episode.start_state for episode in episodes).encode()).hexdigest()


def so_far(episodes: Sequence[Episode], suite: Suite) -> dict[str, str]:
    """The figure that a progress bar shows."""
    if suite.metric == "success":
        return {"success": str(wilson(sum(e.succeeded(suite) for e in episodes), len(episodes)))}
    mean = float(np.mean([e.episode_return for e in episodes]))
    return {"mean_return": f"{mean:.1f}"} if suite.counts is None else {suite.counts: f"{mean:.2f}"}
