"""Configuration of ``omp export``, ``omp deploy`` and ``omp serve``."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from omp_cli.core.base.config import (
    Above0,
    AtLeast0,
    Count,
    Depth,
    Flag,
    Names,
    Seed,
    Settings,
    Threads,
    Width,
    distinct,
)
from omp_cli.core.policy_config import Graph, Precision, Weights

AGAINST = "--against"
"""The source of a setting that one of several policies in a control loop has of its own."""
Port = Annotated[int, Field(ge=0, le=65535)]


class ExportConfig(Settings):
    """What is exported."""

    format: Annotated[Literal["both", "pt2", "onnx", "lerobot"], Flag(panel="Graph")] = "both"
    """Which files are written: policy.pt2, policy.onnx, or both; or a folder for LeRobot's --policy.path (lerobot)."""
    nfe: Annotated[Depth | None, Flag(panel="Graph")] = None
    """Network evaluations per decision, unrolled in a graph; None for the checkpoint's own."""
    weights: Annotated[Weights, Flag(panel="Graph")] = "ema"
    """Weights of the checkpoint: their moving average (ema), or as trained (raw)."""
    batch: Annotated[Count, Flag(panel="Graph")] = 1
    """Decisions that a call takes together, B."""
    dynamic_batch: Annotated[bool, Flag(panel="Graph", only_on=True)] = False
    """Whether a call takes any number of decisions, whatever ``batch`` says."""
    seed: Seed = 0
    """Seed of the observations and the noise on which the files are compared with the policy."""
    threads: Threads = 1
    """Threads of Torch and of ONNX Runtime while comparing."""
    patience: Above0 = 900.0
    """Seconds that a file may take; its process is ended then."""

    def passed_over(self) -> dict[str, str]:
        """What the format decides in its place, or that any batch goes."""
        if self.format != "lerobot":
            return {"batch": "with dynamic_batch a call takes any number of decisions"} if self.dynamic_batch else {}
        any_batch, copied = "LeRobot shows as many frames at once as it likes", "nothing takes long: files are copied"
        drawn = "nothing is drawn; --policy.seed of LeRobot"
        return {"batch": any_batch, "dynamic_batch": any_batch, "seed": drawn, "patience": copied}


class ActingConfig(Settings):
    """How a policy acts: what ``omp deploy`` and ``omp serve`` share."""

    execute: Annotated[Width | None, Flag(panel="Policy")] = None
    """Actions of a chunk that are executed before the next decision; None for as many as in training."""
    ensemble: Annotated[AtLeast0 | None, Flag(panel="Policy")] = None
    """Coefficient m of temporal ensembling: the policy decides at every step, and the mean of what all chunks say of it
    is executed, weighted by exp(-m i) from the oldest chunk on; None for chunks that are played one after the other.
    Source: ACT, which has m = 0.01.
    """
    noise_scale: Annotated[AtLeast0, Flag(panel="Policy")] = 1.0
    """Standard deviation of the noise that a decision begins with: 1 as in training; smaller keeps to what is likelier;
    with 0 one observation always leads to one action.
    """
    nfe: Annotated[Depth | None, Flag(panel="Policy")] = None
    """Network evaluations per decision, of which an export has its own; None for the checkpoint's own."""
    weights: Annotated[Weights | None, Flag(panel="Policy")] = None
    """Weights of a checkpoint, their moving average (ema) or as trained (raw); an export has its own; None for ema."""
    graph: Graph = "auto"
    """On CUDA, whether a checkpoint's decisions are replayed graphs: "auto" where they can be captured, "on" fails
    where they cannot. An export has its own.
    """
    precision: Annotated[Precision, Flag(panel="Policy")] = "fp32"
    """Precision of a checkpoint's network: fp32, tf32 (of NVIDIA GPUs), bf16 or fp16. What the lower ones change in the
    actions is measured and said; encoder, normalisation and sampler stay in float32. An export has its own.
    """
    seed: Seed = 0
    """Seed of the policy's noise."""
    threads: Threads = 1
    """Threads of Torch and of ONNX Runtime."""

    def passed_over(self) -> dict[str, str]:
        """The settings in whose place another one decides, and which."""
        return {} if self.ensemble is None else {"execute": "temporal ensembling decides at every step"}


def _renamings(values: tuple[str, ...]) -> tuple[str, ...]:
    """The values, unchanged; ValueError where one is not ``/FROM:=/TO``, or two rename one topic."""
    for value in values:
        old, sign, new = value.partition(":=")
        if not (old and sign and re.fullmatch(r"(/[A-Za-z_]\w*)+", new, re.ASCII)):
            raise ValueError(f"{value!r} is not as /RECORDED:=/LIVE, two names of topics")
    distinct(tuple(value.partition(":=")[0] for value in values))
    return values


Renamings = Annotated[Names, AfterValidator(_renamings)]
"""Topics that have other names, as ROS writes it: /RECORDED:=/LIVE."""


Recorded = Literal["nothing", "all", "successes", "corrections"]
"""What of the episodes on a robot is kept as data."""


class RosConfig(Settings):
    """How ``omp deploy --ros`` meets a robot on ROS."""

    version: Literal[1, 2] | None = None
    """Of ROS: rospy speaks to 1, rclpy to 2; None for that of the recording."""
    python: str | None = None
    """The Python that has rclpy or rospy, of any version from 3.8 on; None for omp's own where that has it, else
    /usr/bin/python3.
    """
    listen: Renamings = ()
    """Topics that the robot says under other names than in the recording: /joints:=/left/joints."""
    publish: Renamings = ()
    """Topics by which it is commanded under other names than in the recording: /command:=/left/command."""
    episode: str | None = None
    """A number, or true and false, by topic and path as in format.episode, that says when the robot may be moved: an
    episode begins when it is not 0, and ends when it is. None begins at once, and ends by --seconds or Ctrl-C.
    """
    stop: Literal["nothing", "zero"] = "nothing"
    """What is published when an episode ends in which the robot was moved: nothing, so that the last command stands, or
    once 0 for every number of the action (zero), which stops what is moved by velocities.
    """
    shadow: bool = False
    """Whether nothing is published: the policy decides by what it sees, and ticks.jsonl has its actions."""
    patience: Above0 = 10.0
    """Seconds in which everything that the policy reads has to have been said before the first tick."""
    silence: Above0 = 1.0
    """Seconds without a word of a joint, a transform or a topic that said something steadily in the recording, or of
    ros.episode where that does, after which the loop ends; at least three of its steps.
    """

    def passed_over(self) -> dict[str, str]:
        """What publishes, where nothing is published."""
        silent = "with ros.shadow nothing is published"
        return {"publish": silent, "stop": silent} if self.shadow else {}


class DeployConfig(ActingConfig):
    """The control loop of ``omp deploy``."""

    hz: Annotated[Above0 | None, Flag(panel="Loop")] = None
    """Ticks of the loop per second; None for the rate of the policy's data."""
    seconds: Annotated[Above0 | None, Flag(panel="Loop")] = None
    """Seconds from the first tick on after which the loop ends; None for no limit but the episodes' end and Ctrl-C."""
    episodes: Annotated[Count, Flag(panel="Loop")] = 1
    """Episodes of the recording, or of the robot; those that a person lets not count are made up for."""
    episode_seconds: Annotated[Above0 | None, Flag(panel="Loop")] = None
    """Seconds after which an episode ends; None for no limit but the robot's own done() and a person's word."""
    label: Annotated[str | None, Flag(panel="Loop")] = Field(default=None, min_length=1)
    """Name of the policy in tables of ``omp report``; None for its method and derivative."""
    judge: Annotated[bool, Flag(panel="Loop", only_on=True)] = False
    """Whether a person at the keyboard says when an episode begins, and whether it has succeeded; without it what the
    robot says counts, where it says so.
    """
    record: Annotated[Recorded, Flag(panel="Loop")] = "nothing"
    """What becomes a data set in the run's folder: whole episodes (all), those that succeeded (successes), or the
    stretches in which the robot says that it was sent another action than the policy's (corrections).
    """
    ros: RosConfig = RosConfig()
    """The robot on ROS of --ros."""


class ServeConfig(ActingConfig):
    """The policy server of ``omp serve``."""

    host: Annotated[str, Flag(panel="Server")] = "127.0.0.1"
    """Address to listen at. There is no password: whoever reaches it can ask the policy; 0.0.0.0 is everybody."""
    port: Annotated[Port, Flag(panel="Server")] = 8000
    """Port to listen at; 0 takes a free one, which is printed."""
    reply: Annotated[Literal["chunk", "step"], Flag(panel="Server")] = "chunk"
    """What a message is answered with: chunk, all actions of a decision, which the client plays; or step, the action of
    this step alone, chunks being played (or ensembled) here.
    """
    max_mib: Annotated[Count, Flag(panel="Server")] = 64
    """Largest message that is read, in MiB."""

    def passed_over(self) -> dict[str, str]:
        """What another setting decides in its place."""
        chunk = {"ensemble": "a client that gets chunks plays them itself; --reply step"}
        return super().passed_over() | (chunk if self.reply == "chunk" and self.ensemble is not None else {})
