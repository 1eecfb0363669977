"""DPPO (arXiv 2409.00588): PPO on a diffusion policy, each denoising step a decision of its own."""

from __future__ import annotations

from typing import Literal

from omp_cli.core.base.config import Above0, Share
from omp_cli.core.methods import Method
from omp_cli.core.methods.diffusion import Diffusion
from omp_cli.core.rl.base import ALGORITHMS
from omp_cli.core.rl.ppo import Ppo
from omp_cli.core.rl.ppo_config import PpoConfig


class DppoConfig(PpoConfig):
    """Settings of DPPO; see ``PpoConfig``. A step's log-probability is the mean over its entries, hence ``clip``."""

    name: Literal["dppo"] = "dppo"
    per_jump: bool = True
    eta: Share = 1.0
    clip: Above0 = 0.01
    target_kl: Above0 | None = 1.0


@ALGORITHMS.register("dppo")
class Dppo(Ppo):
    """DPPO, for diffusion policies in their usual number of DDIM steps (10); each sigma is at least ``sigma.value``."""

    Config = DppoConfig
    nfe = None

    @classmethod
    def fits(cls, method: type[Method]) -> bool:
        """See the base class."""
        return issubclass(method, Diffusion)
