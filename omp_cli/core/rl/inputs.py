"""Before a fine-tuning: by which algorithm, over how many steps from noise to data, and from which checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

from omp_cli.core.base.errors import DataError, MissingDependency, UsageError
from omp_cli.core.base.files import read_jsonl
from omp_cli.core.base.manifest import FILE_NAME, Manifest, read_manifest
from omp_cli.core.base.run import CHECKPOINTS
from omp_cli.core.checkpoint import Checkpoint, checkpoint_of, checkpoints_in, newest_saved, open_checkpoint
from omp_cli.core.encoders import ENCODERS
from omp_cli.core.measure.environments import suite_of
from omp_cli.core.methods import METHODS
from omp_cli.core.methods.diffusion import Diffusion
from omp_cli.core.rl.base import ALGORITHMS
from omp_cli.core.rl.config import GENERAL, FinetuneConfig
from omp_cli.core.rl.critic import CriticConfig
from omp_cli.core.rl.ppo_config import PpoConfig
from omp_cli.core.train.trackers import METRICS

START = "start"
"""The folder of a run's own copy of the checkpoint that it began with."""


def algorithm_for(trained: str) -> str:
    """The algorithm made for policies of a pre-training method: one of its own, else ``GENERAL``.

    Raises:
        UsageError: there is none.
    """
    method = METHODS.get(trained)
    fitting = [name for name in ALGORITHMS.names() if ALGORITHMS.get(name).fits(method)]
    if not fitting:
        raise UsageError(f"no algorithm fine-tunes a policy of method {trained}")
    return ([name for name in fitting if not ALGORITHMS.get(name).general] or [GENERAL])[0]


def check_algorithm(config: FinetuneConfig, trained: str) -> None:
    """UsageError where the algorithm cannot start from a policy of the pre-training method ``trained``."""
    name = config.algorithm.name
    algorithm = ALGORITHMS.get(name)
    if not algorithm.fits(METHODS.get(trained)):
        takes = ", ".join(known for known in METHODS.names() if algorithm.fits(METHODS.get(known)))
        raise UsageError(
            f"algorithm {name}: cannot start from a policy of method {trained}; it takes those of {takes}",
            f"use --algorithm {algorithm_for(trained)}",
        )


def check_fits(config: FinetuneConfig, checkpoint: Checkpoint) -> None:
    """UsageError where the algorithm cannot start from the checkpoint or learn from a rollout, or the suite lacks what
    is asked for; MissingDependency where the policy is of data that no simulator shows.
    """
    check_algorithm(config, checkpoint.config().method.name)
    if isinstance(config.algorithm, PpoConfig) and config.envs == config.algorithm.decisions == 1:
        raise UsageError(
            "envs and algorithm.decisions are 1: PPO learns nothing from one decision, for advantages are compared",
            "take more of either",
        )
    suite = suite_of(checkpoint)
    if not suite.simulated:
        raise MissingDependency(
            "this policy learned from real data, and there is no simulator of them to fine-tune it in",
            "describe the robot's environment as a suite and prepare the recording for it: omp --plugin FILE prepare "
            "SUITE PATH (examples/add_a_suite.py shows such a FILE)",
        )
    if not suite.judged and (config.end_on_success or config.reward == "success"):
        raise UsageError(f"suite {checkpoint.meta.spec.suite} has no success, only a return", "leave reward as it is")


def passed_over(config: FinetuneConfig, checkpoint: Checkpoint) -> dict[str, str]:
    """The settings that do not count for the checkpoint's policy, each with the reason; see ``Settings.passed_over``.

    Args:
        config: of the run, with its number of steps per decision.
        checkpoint: what it starts from.
    """
    policy, algorithm, found = checkpoint.config(), config.algorithm, {}
    if not issubclass(METHODS.get(policy.method.name), Diffusion):
        found["algorithm.eta"] = f"steps of a policy of method {policy.method.name} have no noise of their own"
    if not getattr(policy.encoder, "shift", 0):
        found["algorithm.augment"] = "the policy sees no pictures, or they were not shifted in its pre-training"
    critic, keys = getattr(algorithm, "critic", None), ENCODERS.get(policy.encoder.name).keys
    if isinstance(critic, CriticConfig) and critic.sees is None and keys == ("state",):
        found["algorithm.critic.train_encoder"] = "the policy sees the state alone, so a critic has no encoder"
    if isinstance(algorithm, PpoConfig) and algorithm.per_jump and 1 in (config.nfe, algorithm.ft_denoising_steps):
        found |= dict.fromkeys(("algorithm.clip_first", "algorithm.jump_gamma"), "one step is tuned")
    return found


def chain_length(config: FinetuneConfig, checkpoint: Checkpoint) -> int:
    """K: what is asked for, else that of an earlier fine-tuning, what the algorithm usually takes, or the policy's."""
    return config.nfe or usual_chain(config, checkpoint)[0]


def usual_chain(config: FinetuneConfig, checkpoint: Checkpoint) -> tuple[int, bool]:
    """K where none is asked for, and whether the algorithm decides it: a policy goes on as it was fine-tuned before."""
    usual = ALGORITHMS.get(config.algorithm.name).nfe
    if usual is None or checkpoint.meta.finetuned_by is not None:
        return checkpoint.nfe, False
    return usual, True


def read_by(checkpoint: Checkpoint) -> list[tuple[str, Path, str]]:
    """Kind, path and hash of what a fine-tuning reads: the checkpoint, and the data set that it was trained on.

    The data set counts because ``omp eval`` shows the return of its demonstrations.
    """
    found = [("checkpoint", checkpoint.path, checkpoint.sha256())]
    if (checkpoint.run / FILE_NAME).is_file():
        found += [(i.kind, Path(i.path), i.sha256) for i in read_manifest(checkpoint.run).inputs if i.kind == "dataset"]
    return found


def check_goes_on(run: Path, manifest: Manifest, config: FinetuneConfig) -> None:
    """UsageError where a run that was given another end is past it; one that was stopped may end where it is."""
    newest = newest_saved(run / CHECKPOINTS)
    done = 0 if newest is None else newest.meta.step
    spent = [row["train_seconds"] / 60 for row in read_jsonl(run / METRICS) if row["step"] <= done]
    if config.iterations < done + (manifest.status == "succeeded"):
        raise UsageError(
            f"{run}: has done {done} iterations already, and {config.iterations} count from its beginning",
            f"ask for more: --iterations {2 * done}",
        )
    if spent and config.minutes is not None and config.minutes <= spent[-1]:
        raise UsageError(
            f"{run}: has taken {spent[-1]:.1f} minutes already, and {config.minutes:g} count from its beginning",
            f"ask for more: --minutes {math.ceil(2 * spent[-1])}",
        )


def start_of(run: Path, manifest: Manifest) -> Checkpoint:
    """The checkpoint that a run began with: its own copy, or the original where a kill prevented that copy.

    Raises:
        DataError: the copy is not what the run's manifest says of it.
        UsageError: neither is to be found.
    """
    begun = [i for i in manifest.inputs if i.kind == "checkpoint"]
    if own := checkpoints_in(run / START):
        copy = open_checkpoint(own[-1])
        if begun and copy.sha256() not in [read.sha256 for read in begun]:
            raise DataError(f"checkpoint {copy.path}: not what the run began with, so it was changed", "start it again")
        return copy
    for read in begun:
        if (found := checkpoint_of(run, read.path, read.sha256)) is not None:
            return found
    raise UsageError(f"{run}: ended before it had copied its checkpoint", "start it again without --resume")
