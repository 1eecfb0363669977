"""MP1 (arXiv 2507.10543): OMP without directional alignment, dispersing the features of the velocity network.

Its published code guides with gain (omega) 2 and takes both terms of the guidance from the conditional network, so
the gain scales the velocity's residual and guides nowhere. Its code's dispersion divides squared distances by their
largest, with temperature 1, so that no scale of the features changes it; ours is the InfoNCE of math.md section 4
(divided by D tau, tau 0.5), as for every method here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from omp_cli.core.config import Above0, AtLeast0
from omp_cli.core.methods.base import METHODS
from omp_cli.core.methods.dispersion import DispersionConfig
from omp_cli.core.methods.meanflow import AlignmentConfig, MeanFlow, MeanFlowConfig


class Mp1Dispersion(DispersionConfig):
    """Dispersive regularisation of the network's hidden features, on by default."""

    weight: AtLeast0 = 0.5
    on: Literal["condition", "net"] = "net"


class Mp1Config(MeanFlowConfig):
    """Settings of MP1; see ``MeanFlowConfig``."""

    name: Literal["mp1"] = "mp1"
    gain: Above0 = 2.0
    dispersion: Mp1Dispersion = Mp1Dispersion()

    @field_validator("alignment")
    @classmethod
    def _no_alignment(cls, value: AlignmentConfig) -> AlignmentConfig:
        if value.weight != 0:
            raise ValueError("mp1 has no directional alignment; method omp has")
        return value


@METHODS.register("mp1")
class Mp1(MeanFlow):
    """MeanFlow policy with a dispersed network."""

    Config = Mp1Config
