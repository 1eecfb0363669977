"""What LeRobot knows of a policy of omp before it loads it: ``config.json``, as changed by the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn, get_args

from lerobot.configs.policies import PreTrainedConfig

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.seeds import MAX_SEED
from omp_cli.core.deploy.lerobot.folder import TYPE
from omp_cli.core.policy_config import Weights

WEIGHTS: tuple[Weights, ...] = get_args(Weights)


@PreTrainedConfig.register_subclass(TYPE)
@dataclass
class OmpConfig(PreTrainedConfig):
    """Settings of a policy of omp, each of them ``--policy.NAME=VALUE`` in LeRobot's commands.

    Raises:
        UsageError: a setting that does not fit.
    """

    names: dict[str, list[str]] = field(default_factory=dict)
    """Of the numbers of a feature ("shoulder_pan.pos"), where the policy's data say them."""
    units: dict[str, str] = field(default_factory=dict)
    """Of the numbers of a feature ("deg"), where the policy's data say it."""
    control_hz: float = 0.0
    """Actions per second of the policy's data; 0 where nothing says so."""
    horizon: int = 1
    """Actions that a decision makes."""
    nfe: int | None = None
    """Evaluations of the network per decision; None for the checkpoint's own."""
    weights: str = "ema"  # LeRobot's parser knows no Literal
    """Weights of the checkpoint: their moving average, "ema", or as trained, "raw"."""
    seed: int = 0
    """Seed of the policy's noise."""
    execute: int | None = None
    """Actions of a chunk that are executed before the next decision; None for as many as the policy was trained for."""
    ensemble: float | None = None
    """Coefficient of temporal ensembling (ACT has 0.01); None plays chunks."""
    noise_scale: float = 1.0
    """Standard deviation of the noise that a decision begins with; 1 as in training, 0 for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights not in WEIGHTS:
            raise UsageError(f"--policy.weights={self.weights}: expected one of {', '.join(WEIGHTS)}")
        if not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"--policy.seed={self.seed}: expected 0 to {MAX_SEED}")
        if self.nfe is not None and self.nfe < 1:
            raise UsageError(f"--policy.nfe={self.nfe}: expected 1 or more evaluations")
        if self.use_peft:
            raise UsageError("--policy.use_peft: a policy of omp takes no adapters; leave it out")

    @property
    def observation_delta_indices(self) -> list[int]:
        """Frames that a decision sees, relative to the present one."""
        return list(range(1 - self.n_obs_steps, 1))

    @property
    def action_delta_indices(self) -> list[int]:
        """Actions that a decision makes, relative to the present frame: the first is that of the oldest frame seen."""
        first = 1 - self.n_obs_steps
        return list(range(first, first + self.horizon))

    @property
    def reward_delta_indices(self) -> None:
        """None: no rewards are read."""
        return

    def get_optimizer_preset(self) -> NoReturn:
        """UsageError: see ``not_trained_here``."""
        raise not_trained_here()

    def get_scheduler_preset(self) -> NoReturn:
        """UsageError: see ``not_trained_here``."""
        raise not_trained_here()

    def validate_features(self) -> None:
        """Nothing: the policy compares its features with its checkpoint's when it is made."""


def not_trained_here() -> UsageError:
    """What is raised where LeRobot would train a policy."""
    return UsageError(
        "a policy of omp is not trained by LeRobot: use omp pretrain or omp finetune, then omp export --format lerobot"
    )
