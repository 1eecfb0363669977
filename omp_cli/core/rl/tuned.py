"""Which jumps of a chain are tuned: all, or the last ones after those of a frozen copy (DPPO, arXiv 2409.00588)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods import Jump
from omp_cli.core.policy import Policy
from omp_cli.core.rl.ppo_config import PpoConfig


def tuned_jumps(policy: Policy, jumps: Sequence[Jump], config: PpoConfig) -> int:
    """How many jumps, the last ones, are tuned; the policy gets its frozen copy for those before (DPPO, section 4.2).

    Raises:
        UsageError: there are not so many, or an earlier fine-tuning has frozen others.
    """
    key, wanted = "algorithm.ft_denoising_steps", config.ft_denoising_steps
    if policy.frozen_from is not None:
        there = sum(jump.t < policy.frozen_from for jump in jumps)
        if there == 0 or wanted not in (None, there):
            raise UsageError(
                f"{key}: of {len(jumps)} steps the last {there} are the policy's own, a frozen copy takes those before",
                f"leave it out, or set it to {there}" if there else "take a larger --nfe",
            )
        wanted = there
    tuned = len(jumps) if wanted is None else wanted
    if tuned > len(jumps):
        raise UsageError(f"{key}: {tuned}, and a decision has {len(jumps)} steps", f"take 1 to {len(jumps)}, or --nfe")
    if tuned < len(jumps) and policy.frozen is None:
        policy.freeze_from((jumps[-tuned - 1].t + jumps[-tuned].t) / 2)
    return tuned


def clips(config: PpoConfig, tuned: int) -> list[float]:
    """PPO's epsilon of each tuned jump; see ``PpoConfig.clip_first``."""
    first = config.clip if config.clip_first is None else config.clip_first
    places = [k / (tuned - 1) if tuned > 1 else 1.0 for k in range(tuned)]
    return [first + (config.clip - first) * math.expm1(3 * x) / math.expm1(3) for x in places]
