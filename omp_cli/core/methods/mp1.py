"""MP1 (arXiv 2507.10543): OMP without directional alignment, dispersing the features of the velocity network.

Its published code guides with gain (omega) 2 and takes both terms of the guidance from the conditional network, so
the gain scales the velocity's residual and guides nowhere. Its code's dispersion, unlike its paper's, divides squared
distances by their largest, with temperature 1 (form "max_normalised"), and is summed over what the network taps: of the
U-Net the two upper levels, after the second residual block and before downsampling, as in MP1; of the light net, which
has no levels, the middle block (the third of four). Runs of omp up to 0.1 had "infonce_l2" with temperature 0.5, which
they recorded and go on with.
"""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from omp_cli.core.base.config import Above0, AtLeast0
from omp_cli.core.methods.base import METHODS
from omp_cli.core.methods.dispersion import DispersionConfig, Form
from omp_cli.core.methods.meanflow import AlignmentConfig, MeanFlow, MeanFlowConfig


class Mp1Dispersion(DispersionConfig):
    """Dispersive regularisation of the network's hidden features as in MP1's code, on by default."""

    weight: AtLeast0 = 0.5
    form: Form = "max_normalised"
    temperature: Above0 = 1.0
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
