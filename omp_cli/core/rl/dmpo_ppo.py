"""DMPO, stage 2 (arXiv 2601.20701): PPO on a one-step policy, fixed noise, behaviour cloning towards the start."""

from __future__ import annotations

from typing import Literal

from omp_cli.core.base.config import AtLeast0
from omp_cli.core.methods import Method
from omp_cli.core.rl.base import ALGORITHMS, is_flow
from omp_cli.core.rl.ppo import Ppo
from omp_cli.core.rl.ppo_config import BcConfig, PpoConfig


class DmpoBc(BcConfig):
    """Behaviour cloning, on by default and fading."""

    weight: AtLeast0 = 0.05


class DmpoPpoConfig(PpoConfig):
    """Settings of DMPO; see ``PpoConfig``."""

    name: Literal["dmpo"] = "dmpo"
    bc: DmpoBc = DmpoBc()


@ALGORITHMS.register("dmpo")
class DmpoPpo(Ppo):
    """DMPO's second stage, for every policy whose jumps are those of a flow."""

    Config = DmpoPpoConfig
    general = True

    @classmethod
    def fits(cls, method: type[Method]) -> bool:
        """See the base class."""
        return is_flow(method)
