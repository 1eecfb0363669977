"""Gaussian PPO, DPPO's and DMPO's baseline: one mean per observation, a learnable deviation per action dimension."""

from __future__ import annotations

from typing import Literal

from omp_cli.core.base.config import Above0
from omp_cli.core.methods import Method
from omp_cli.core.methods.gaussian import Gaussian
from omp_cli.core.rl.base import ALGORITHMS
from omp_cli.core.rl.chain import SigmaConfig
from omp_cli.core.rl.ppo import Ppo
from omp_cli.core.rl.ppo_config import PpoConfig


class GaussianSigma(SigmaConfig):
    """DPPO's bounds."""

    kind: Literal["fixed", "vector", "net"] = "vector"
    value: Above0 = 0.1
    low: Above0 = 0.01
    high: Above0 = 0.2


class GaussianPpoConfig(PpoConfig):
    """Settings of Gaussian PPO; see ``PpoConfig``."""

    name: Literal["gaussian"] = "gaussian"
    sigma: GaussianSigma = GaussianSigma()


@ALGORITHMS.register("gaussian")
class GaussianPpo(Ppo):
    """Gaussian PPO, for policies pre-trained by ``omp pretrain --method gaussian``."""

    Config = GaussianPpoConfig

    @classmethod
    def fits(cls, method: type[Method]) -> bool:
        """See the base class."""
        return issubclass(method, Gaussian)
