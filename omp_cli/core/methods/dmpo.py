"""DMPO, stage 1 (arXiv 2601.20701): MeanFlow with a dispersed condition embedding, for the light image policy."""

from __future__ import annotations

from typing import Literal

from omp_cli.core.base.config import AtLeast0
from omp_cli.core.methods.base import METHODS
from omp_cli.core.methods.dispersion import DispersionConfig
from omp_cli.core.methods.meanflow import MeanFlow, MeanFlowConfig, PlainAdaptive


class DmpoDispersion(DispersionConfig):
    """Dispersive regularisation of the condition embedding, on by default."""

    weight: AtLeast0 = 0.5


class DmpoConfig(MeanFlowConfig):
    """Settings of DMPO; see ``MeanFlowConfig``. The plain mean square is its loss: no adaptive weight."""

    name: Literal["dmpo"] = "dmpo"
    adaptive: PlainAdaptive = PlainAdaptive()
    dispersion: DmpoDispersion = DmpoDispersion()


@METHODS.register("dmpo")
class Dmpo(MeanFlow):
    """One-step MeanFlow policy that PPO can fine-tune."""

    Config = DmpoConfig
