"""OMP (arXiv 2512.19347): MeanFlow with dispersive regularisation and directional alignment.

The paper's two rows are ``derivative = "jvp"`` and ``derivative = "dde"``. Its weights are not public; 0.5 for the
dispersive term is MP1's, 0.1 for the alignment is ours.
"""

from __future__ import annotations

from typing import Literal

from omp_cli.core.base.config import AtLeast0
from omp_cli.core.methods.base import METHODS
from omp_cli.core.methods.dispersion import DispersionConfig
from omp_cli.core.methods.meanflow import AlignmentConfig, MeanFlow, MeanFlowConfig


class OmpDispersion(DispersionConfig):
    """Dispersive regularisation, on by default."""

    weight: AtLeast0 = 0.5


class OmpAlignment(AlignmentConfig):
    """Directional alignment, on by default."""

    weight: AtLeast0 = 0.1


class OmpMethodConfig(MeanFlowConfig):
    """Settings of OMP; see ``MeanFlowConfig``."""

    name: Literal["omp"] = "omp"
    dispersion: OmpDispersion = OmpDispersion()
    alignment: OmpAlignment = OmpAlignment()


@METHODS.register("omp")
class Omp(MeanFlow):
    """One-step MeanFlow policy with directional alignment."""

    Config = OmpMethodConfig
