"""ReinFlow (arXiv 2505.22094): PPO on a flow of several steps with a learnable, bounded noise."""

from __future__ import annotations

from typing import Literal

from omp_cli.core.base.config import Above0, AtLeast0
from omp_cli.core.methods import Method
from omp_cli.core.methods.reflow import ReFlow
from omp_cli.core.methods.shortcut import ShortCut
from omp_cli.core.rl.base import ALGORITHMS
from omp_cli.core.rl.chain import SigmaConfig
from omp_cli.core.rl.ppo import Ppo
from omp_cli.core.rl.ppo_config import PpoConfig


class ReinFlowSigma(SigmaConfig):
    """A network's noise between the public code's bounds for Hopper and Walker2d."""

    kind: Literal["fixed", "vector", "net"] = "net"
    value: Above0 = 0.15
    low: Above0 = 0.10
    high: Above0 = 0.24


class ReinFlowRConfig(PpoConfig):
    """Settings of ReinFlow-R; see ``PpoConfig``."""

    name: Literal["reinflow-r"] = "reinflow-r"
    entropy_coef: AtLeast0 = 0.01
    sigma: ReinFlowSigma = ReinFlowSigma()


class ReinFlowSConfig(ReinFlowRConfig):
    """Settings of ReinFlow-S; see ``PpoConfig``."""

    name: Literal["reinflow-s"] = "reinflow-s"  # type: ignore[assignment]


@ALGORITHMS.register("reinflow-r")
class ReinFlowR(Ppo):
    """ReinFlow-R: four steps of a ReFlow policy."""

    Config = ReinFlowRConfig
    nfe = 4

    @classmethod
    def fits(cls, method: type[Method]) -> bool:
        """See the base class."""
        return issubclass(method, ReFlow)


@ALGORITHMS.register("reinflow-s")
class ReinFlowS(Ppo):
    """ReinFlow-S: four steps of a ShortCut policy."""

    Config = ReinFlowSConfig
    nfe = 4

    @classmethod
    def fits(cls, method: type[Method]) -> bool:
        """See the base class."""
        return issubclass(method, ShortCut)
