"""Diffusion Policy (arXiv 2303.04137): diffusion that predicts the noise; usually on pictures."""

from __future__ import annotations

from typing import Literal

from omp_cli.core.methods.base import METHODS
from omp_cli.core.methods.diffusion import Diffusion, DiffusionConfig


class DpConfig(DiffusionConfig):
    """Settings of Diffusion Policy; see ``DiffusionConfig``."""

    name: Literal["dp"] = "dp"


@METHODS.register("dp")
class Dp(Diffusion):
    """Noise prediction, 100 training steps."""

    Config = DpConfig
