"""DP3 (arXiv 2403.03954): diffusion on point clouds that predicts the clean chunk."""

from __future__ import annotations

from typing import Literal

from omp_cli.core.methods.base import METHODS
from omp_cli.core.methods.diffusion import Diffusion, DiffusionConfig


class Dp3Config(DiffusionConfig):
    """Settings of DP3; see ``DiffusionConfig``."""

    name: Literal["dp3"] = "dp3"
    prediction: Literal["noise", "sample"] = "sample"


@METHODS.register("dp3")
class Dp3(Diffusion):
    """Sample prediction, 100 training steps, 10 at inference."""

    Config = Dp3Config
