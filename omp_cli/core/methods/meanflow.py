"""MeanFlow with its two optional terms; every method of the OMP family is this class with other numbers.

Legend: z_0 data chunk, z_1 noise, z_t point of the path, v velocity, v_tilde guided velocity, u mean velocity,
dudt its total derivative, h condition embeddings; B batch, H horizon, A action dimension, D feature dimension.
Total: L = L_MF + lambda_Disp L_Disp + lambda_DA L_DA (OMP; math.md sections 2 and 4).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator
from torch import Tensor

from omp_cli.core.base.config import Above0, AtLeast0, HalfWidth, Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods.alignment import Scope, alignment_loss, cosine
from omp_cli.core.methods.base import METHODS, Draws, Gather, Jump, LossReport, Measured, VelocityField, same
from omp_cli.core.methods.derivative import Derivative, value_and_derivative
from omp_cli.core.methods.dispersion import DispersionConfig, dispersed
from omp_cli.core.methods.epsilon import EpsilonChoice, pick_epsilon
from omp_cli.core.methods.path import FlowConfig, at_least_float32, path_jumps, point, rows, velocity
from omp_cli.core.methods.teaching import Teaching
from omp_cli.core.methods.times import TimeConfig, draw_times, moving_rows

AUTO: Literal["auto"] = "auto"


def _half_width(value: Any) -> Any:
    """A number in ]0, 1] or "auto"; one message for both."""
    if value == AUTO or (isinstance(value, float | int) and not isinstance(value, bool) and 0 < value <= 1):
        return value
    raise ValueError(f"must be a number above 0 and at most 1, or auto (got {value!r})")


class AdaptiveConfig(Settings):
    """Adaptive weight w = sg[1 / (delta^2 + c)^p] of a sample, delta^2 its mean square error (math.md section 4)."""

    p: AtLeast0 = 0.5
    """Power p of the adaptive weight of a sample, 1 / (its mean square error + c)^p; 0 turns the weight off."""
    c: Above0 = 1e-3
    """C of the adaptive weight, which keeps it finite where the error is 0."""

    def passed_over(self) -> dict[str, str]:
        """C, where every sample's weight is 1."""
        return {} if self.p else {"c": "the power of the adaptive weight is 0"}


class PlainAdaptive(AdaptiveConfig):
    """Adaptive weight, off by default: the loss is the plain mean square."""

    p: AtLeast0 = 0.0


class AlignmentConfig(Settings):
    """Directional alignment: ``weight`` is lambda_DA, ``scope`` what one cosine is taken over."""

    weight: AtLeast0 = 0.0
    """Lambda_DA, weight of directional alignment."""
    scope: Scope = "chunk"
    """Whether one cosine is taken over the whole "chunk", or one over each time step."""

    def passed_over(self) -> dict[str, str]:
        """Everything, without weight."""
        return {} if self.weight else {"scope": "the weight of the alignment is 0"}


class MeanFlowConfig(FlowConfig):
    """Settings of the MeanFlow family; see also ``FlowConfig``."""

    name: str = "meanflow"
    """Registered name."""
    derivative: Derivative = "forward"
    """How du/dt is computed: "jvp", "forward" or "dde"."""
    epsilon: Annotated[HalfWidth | Literal["auto"], BeforeValidator(_half_width)] = 5e-3
    """Half width of the central difference; 5e-3 is about where float32 truncation and rounding balance. "auto" lets a
    training run measure it on its first batch and keep the number.
    """
    gain: Above0 = 1.0
    """Omega of MP1, v_tilde = omega v + (1 - omega) u(z_t, t, t); 1 means v itself."""
    adaptive: AdaptiveConfig = AdaptiveConfig()
    """Adaptive weight of a sample."""
    times: TimeConfig = TimeConfig()
    """Distribution of (r, t)."""
    dispersion: DispersionConfig = DispersionConfig()
    """Dispersive regularisation."""
    alignment: AlignmentConfig = AlignmentConfig()
    """Directional alignment."""

    def passed_over(self) -> dict[str, str]:
        """The half width of a difference that is not taken."""
        return {} if self.derivative == "dde" else {"epsilon": f"the derivative is {self.derivative}, not dde"}


@METHODS.register("meanflow")
class MeanFlow(Teaching):
    """Regress u(z_t, r, t | c) onto sg[v_tilde - (t - r) du/dt] (the MeanFlow identity)."""

    Config = MeanFlowConfig
    config: MeanFlowConfig

    def __init__(self, config: MeanFlowConfig) -> None:
        super().__init__(config)
        self.to_measure = ("epsilon",) if config.derivative == "dde" and config.epsilon == AUTO else ()

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Noise (B, H, A) and times (B,), float32 on the generator's device."""
        noise = torch.randn(shape, generator=generator, device=generator.device)
        r, t = draw_times(shape[0], self.config.times, generator)
        return Draws(noise, r, t, moving=moving_rows(r, t, self.config.times))

    def loss(self, u: VelocityField, z_0: Tensor, h: Tensor, draws: Draws, gather: Gather = same) -> LossReport:
        """L_MF + lambda_Disp L_Disp + lambda_DA L_DA; see ``Method.loss`` for the arguments.

        ``parts`` holds the unweighted terms (``meanflow`` as plain mean square, without the adaptive weight), the
        mean ``cosine`` of u and v; ``diagnostics`` those of the features' dispersion.
        """
        draws = draws.to(z_0)
        z_1, r, t = draws.noise, draws.r, draws.t
        z_t, v = point(z_0, z_1, t), velocity(z_0, z_1)
        v_tilde = self._guided(u, z_t, t, v)
        hidden, along = self.config.dispersion.taps(), self._tangent(u, z_t, t, v_tilde)
        how, moving = self.config.derivative, draws.moving
        u_t, dudt = value_and_derivative(u, z_t, r, t, along, how, self._epsilon, features=hidden, moving=moving)
        u_t = at_least_float32(u_t)

        target = v_tilde - rows(t - r, v) * dudt
        squares = (u_t - target).square().flatten(1).mean(1)
        weights = (squares.detach() + self.config.adaptive.c) ** -self.config.adaptive.p
        terms = {"meanflow": (weights * squares).mean()}
        parts = {"meanflow": squares.detach().mean()}
        self._align(u_t, v, terms, parts)
        return dispersed(terms, parts, self.config.dispersion, h, hidden, gather)

    def jumps(self, nfe: int, eta: float = 0.0) -> tuple[Jump, ...]:
        """K jumps on the step grid; see the base class."""
        return path_jumps(nfe, clip=self.config.clip_steps)

    def measure(self, u: VelocityField, z_0: Tensor, draws: Draws) -> Measured:
        """The half width; see the base class."""
        choice = self.measure_epsilon(u, z_0, draws)
        note = f"epsilon {choice.epsilon:g}: du/dt is off by {choice.error:.1e} on the first batch"
        return Measured({"epsilon": choice.epsilon}, note)

    def check_compilable(self) -> None:
        """UsageError for the exact derivatives."""
        if self.config.derivative != "dde":
            raise UsageError(
                f"--compile with derivative {self.config.derivative!r}: torch cannot trace forward-mode AD through "
                "LayerNorm and GroupNorm (pytorch #197090)",
                "use --derivative dde, or leave --compile out",
            )

    def measure_epsilon(self, u: VelocityField, z_0: Tensor, draws: Draws) -> EpsilonChoice:
        """The best half width for the central difference at these points; see ``loss`` for the arguments."""
        draws = draws.to(z_0)
        t, z_t = draws.t, point(z_0, draws.noise, draws.t)
        v_tilde = self._guided(u, z_t, t, velocity(z_0, draws.noise))
        return pick_epsilon(u, z_t, draws.r, t, self._tangent(u, z_t, t, v_tilde))

    @property
    def _epsilon(self) -> float:
        """The half width, a number wherever it is used."""
        if self.config.epsilon != AUTO:
            return self.config.epsilon
        if self.config.derivative == "dde":
            raise UsageError(
                "method.epsilon: auto is measured when omp pretrain starts; this loss needs a number",
                "give a number: --epsilon 0.005",
            )
        return math.nan  # the exact derivatives have none

    @torch.no_grad()
    def _guided(self, u: VelocityField, z_t: Tensor, t: Tensor, v: Tensor) -> Tensor:
        """v_tilde = omega v + (1 - omega) u(z_t, t, t), without gradient: (B, H, A)."""
        gain = self.config.gain
        return v if gain == 1 else gain * v + (1 - gain) * u(z_t, t, t)

    def _tangent(self, u: VelocityField, z_t: Tensor, t: Tensor, v_tilde: Tensor) -> Tensor:
        """What z_t moves along in du/dt, without gradient: (B, H, A)."""
        return v_tilde

    def _align(self, u_t: Tensor, v: Tensor, terms: dict[str, Tensor], parts: dict[str, Tensor]) -> None:
        """Add directional alignment and the mean cosine to the report."""
        config = self.config.alignment
        cos = cosine(u_t if config.weight > 0 else u_t.detach(), v, config.scope)
        parts["cosine"] = cos.detach().mean()
        if config.weight > 0:
            loss = alignment_loss(cos)
            parts["alignment"] = loss.detach()
            terms["alignment"] = config.weight * loss
