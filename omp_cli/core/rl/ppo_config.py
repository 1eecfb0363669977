"""PPO over chains: settings. Legend: T decisions, K jumps, H horizon, A action dimension, c_v, c_e weights of terms."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from omp_cli.core.base.config import LARGEST, Above0, AtLeast0, Count, CountOrZero, Settings, Share
from omp_cli.core.rl.chain import SigmaConfig
from omp_cli.core.rl.critic import CriticConfig


class BcConfig(Settings):
    """Behaviour cloning towards the pre-trained policy, same z for both: mean square of the normalised actions."""

    weight: AtLeast0 = 0.0
    """Weight of behaviour cloning up to iteration ``begin``."""
    end_weight: AtLeast0 = 0.0
    """Weight of behaviour cloning from iteration ``end`` on."""
    begin: CountOrZero = 0
    """Iteration from which the weight changes, linearly."""
    end: Count = 100
    """Iteration at which the weight has changed."""

    def passed_over(self) -> dict[str, str]:
        """When the weight changes, where it does not."""
        idle = ("begin", "end") if self.weight == self.end_weight else ()
        return dict.fromkeys(idle, "weight and end_weight are the same")

    @model_validator(mode="after")
    def _takes_time(self) -> BcConfig:
        if self.begin >= self.end:
            raise ValueError(f"end has to be above begin (got {self.end} and {self.begin})")
        return self

    def at(self, iteration: int) -> float:
        """Weight at an iteration (DMPO equation 38)."""
        done = min(max((iteration - self.begin) / (self.end - self.begin), 0.0), 1.0)
        return self.weight + done * (self.end_weight - self.weight)


class CosineConfig(Settings):
    """A learning rate in cycles of iterations: it rises in a line to its largest value, then falls by half a cosine.

    As in the public code of DPPO, ReinFlow and DMPO: cosine annealing with warm restarts, one step an iteration.
    """

    end: Above0 | None = None
    """The least rate, at which a cycle begins and ends; None keeps the rate constant."""
    cycle: Count = 100
    """Iterations of one cycle."""
    warmup: CountOrZero = 0
    """Iterations of a cycle over which the rate rises."""

    def passed_over(self) -> dict[str, str]:
        """The cycle, of a rate that stays as it is."""
        return dict.fromkeys(("cycle", "warmup"), "without end the rate is constant") if self.end is None else {}

    @model_validator(mode="after")
    def _falls(self) -> CosineConfig:
        if self.warmup >= self.cycle:
            raise ValueError(f"warmup has to be less than cycle (got {self.warmup} and {self.cycle})")
        return self

    def at(self, largest: float, iteration: int) -> float:
        """Learning rate of an iteration whose cycle rises to ``largest``."""
        if self.end is None:
            return largest
        place = iteration % self.cycle
        if place < self.warmup:
            share = place / self.warmup
        else:
            share = (1 + math.cos(math.pi * (place - self.warmup) / (self.cycle - self.warmup))) / 2
        return self.end + share * (largest - self.end)


class PpoConfig(Settings):
    """Settings of PPO over chains."""

    name: str
    """Registered name."""
    decisions: Count = 64
    """T, decisions per environment and iteration."""
    epochs: Count = 5
    """Passes over the rollout."""
    batch_size: int = Field(1024, ge=2, le=LARGEST)
    """Rows per optimiser step."""
    micro_batch: Count | None = None
    """Rows that are in memory together; gradients are averaged over a batch. None takes the whole batch."""
    lr: Above0 = 2e-5
    """Learning rate of the policy (AdamW)."""
    lr_warmup: Count = 10
    """Iterations over which the policy's learning rate rises: Adam's first steps are as large in directions that do not
    matter as in those that do, and can undo the pre-training.
    """
    schedule: CosineConfig = CosineConfig()
    """How the policy's learning rate goes on; ``lr`` is its largest value."""
    adaptive_lr: bool = False
    """Whether the policy's learning rate follows the KL divergence, from a tenth to ten times of what it would be. It
    is divided by 1.5 after an iteration in which the policy stopped within the first half of its passes, and multiplied
    by 1.5 after one in whose last pass it stayed within half of ``target_kl``. As the adaptive schedules of rsl_rl and
    skrl, which look at every minibatch.
    """
    critic_lr: Above0 = 1e-3
    """Learning rate of the value function (AdamW)."""
    critic_schedule: CosineConfig = CosineConfig()
    """How the value function's learning rate goes on."""
    weight_decay: AtLeast0 = 0.0
    """Weight decay of both, or of the policy alone where the value function has its own."""
    critic_weight_decay: AtLeast0 | None = None
    """Weight decay of the value function; None takes ``weight_decay``."""
    grad_clip: Above0 | None = 1.0
    """Largest gradient norm of policy and value function each; None clips nothing."""
    warmup: CountOrZero = 5
    """Iterations at the start in which only the value function learns."""
    gamma: float = Field(0.99, gt=0, le=1)
    """Discount per decision."""
    gae_lambda: Share = 0.95
    """Lambda of generalised advantage estimation."""
    clip: Above0 = 0.1
    """PPO's epsilon, on the ratio of the reduced log-probability."""
    target_kl: Above0 | None = 0.03
    """Where the estimated KL divergence exceeds it, the policy stops learning for the iteration; None never stops."""
    normalise: bool = True
    """Whether advantages are normalised per minibatch."""
    scale_rewards: bool = True
    """Whether rewards are divided by the running deviation of the discounted return."""
    value_coef: Above0 = 0.5
    """C_v, weight of the value function's loss."""
    entropy_coef: AtLeast0 = 0.0
    """C_e, weight of the mean entropy per entry of the chain; matters only for a learnable sigma. DMPO's equation 36
    sums the entropy over all K H A entries: its c_e is this one divided by K H A. Released code has a mean too, with
    the constant entropy of z^0 in it: its c_e is this one times (K + 1) / K.
    """
    reduction: Literal["sum", "mean"] = "sum"
    """"sum" is the true log-probability of a chain, "mean" divides by its entries (released code)."""
    per_jump: bool = False
    """Each jump is a decision of its own in PPO (DPPO), its advantage discounted by ``jump_gamma`` per jump that
    follows.
    """
    jump_gamma: float = Field(0.99, gt=0, le=1)
    """Discount of an advantage per jump, where ``per_jump`` is on."""
    clip_first: Above0 | None = None
    """PPO's epsilon of the first jump that is tuned, where ``per_jump``: it grows to ``clip``, that of the last, as
    clip_first + (clip - clip_first) (e^{3 x} - 1) / (e^3 - 1) from x = 0 to 1 (DPPO's public code). None for ``clip``.
    """
    ft_denoising_steps: Count | None = None
    """How many jumps are tuned, the last ones, as DPPO's public code calls it. A frozen copy of encoder and network,
    which checkpoints keep, takes those before; they have noise of ``sigma.value``, too, but are no decisions of PPO.
    None for all K, or as many as in an earlier fine-tuning.
    """
    eta: Share = 0.0
    """DDIM's eta while exploring, for diffusion policies."""
    encoder: Literal["trained", "frozen"] = "trained"
    """Whether the policy's encoder learns."""
    augment: bool = True
    """Shift pictures as in pre-training, when they are observed."""
    sigma: SigmaConfig = SigmaConfig()
    """Exploration noise."""
    critic: CriticConfig = CriticConfig()
    """The value function."""
    bc: BcConfig = BcConfig()
    """Behaviour cloning."""

    def next_factor(self, factor: float, passes: float, kl: float) -> float:
        """What ``adaptive_lr`` multiplies the policy's rate by in the next iteration.

        Args:
            factor: the same of the iteration that has just ended.
            passes: passes over the rollout in which the policy learned.
            kl: largest divergence from the policy that acted in the last pass; infinity where none was measured.
        """
        if passes <= self.epochs / 2:
            return max(factor / 1.5, 0.1)
        if self.target_kl is not None and kl < self.target_kl / 2:
            return min(factor * 1.5, 10.0)
        return factor

    def passed_over(self) -> dict[str, str]:
        """The settings that only another kind of chain or noise uses, and why they are passed over."""
        if self.per_jump:
            found = {"reduction": "per_jump is on, and the log-probability of a jump is the mean over its entries"}
        else:
            found = dict.fromkeys(("jump_gamma", "clip_first"), "per_jump is off")
        if self.target_kl is None:
            found["adaptive_lr"] = "target_kl is None, and there is no divergence to follow"
        return found if self.sigma.kind != "fixed" else {**found, "entropy_coef": "sigma is fixed"}
