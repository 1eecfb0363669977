"""Improved MeanFlow: MeanFlow whose du/dt follows the network's own velocity instead of the sample's.

v_theta = u(z_t, t, t) is the tangent of z_t, without gradient, and V = u(z_t, r, t) + (t - r) sg[du/dt] is regressed
onto v = z_1 - z_0. V is a function of z_t alone, as the marginal velocity is; MeanFlow's du/dt depends on the sample's
v besides. DMPO's public fine-tuning of Gym and Kitchen starts from policies trained so.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import field_validator
from torch import Tensor

from omp_cli.core.methods.base import METHODS, VelocityField
from omp_cli.core.methods.meanflow import MeanFlow, MeanFlowConfig, PlainAdaptive


class ImfConfig(MeanFlowConfig):
    """Settings of improved MeanFlow; see ``MeanFlowConfig``. The plain mean square is its loss: no adaptive weight."""

    name: Literal["imf"] = "imf"
    adaptive: PlainAdaptive = PlainAdaptive()

    @field_validator("gain")
    @classmethod
    def _no_gain(cls, value: float) -> float:
        if value != 1:
            raise ValueError("imf has no gain; its tangent is the network's own velocity already")
        return value


@METHODS.register("imf")
class Imf(MeanFlow):
    """|u + (t - r) sg[du/dt] - v|^2, which is MeanFlow's |u - (v - (t - r) du/dt)|^2 but for the tangent."""

    Config = ImfConfig

    @torch.no_grad()
    def _tangent(self, u: VelocityField, z_t: Tensor, t: Tensor, v_tilde: Tensor) -> Tensor:
        """v_theta = u(z_t, t, t)."""
        return u(z_t, t, t)
