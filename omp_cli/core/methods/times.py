"""How the interval [r, t] of a training sample, or its one time t, is drawn (math.md section 3).

Legend: B batch; r interval start, t interval end, 0 <= r <= t <= 1, t = 1 is noise.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from omp_cli.core.base.config import Above0, Settings, Share

Law = Literal["logit-normal", "uniform"]
Mean = Annotated[float, Field(ge=-100, le=100)]
"""The mean of a logit, whose sigmoid is 0 or 1 in float32 long before these bounds."""


class TimeConfig(Settings):
    """Distribution of (r, t)."""

    distribution: Law = "logit-normal"
    """Law of the two draws; mu and sigma matter to the logit-normal only."""
    mu_t: Mean = -0.4
    """Mean of the logit of the draw for t."""
    sigma_t: Above0 = 1.0
    """Standard deviation of the logit of the draw for t."""
    mu_r: Mean = -0.4
    """Mean of the logit of the draw for r."""
    sigma_r: Above0 = 1.0
    """Standard deviation of the logit of the draw for r."""
    equal_share: Share = 0.5
    """Share of the rows that get r = t (plain flow matching)."""
    inference_share: Share = 0.0
    """Share of the rows at t = 1, r = 0, where one-step sampling evaluates the network."""

    def passed_over(self) -> dict[str, str]:
        """The parameters of the law that is not taken."""
        idle = ("mu_t", "sigma_t", "mu_r", "sigma_r") if self.distribution == "uniform" else ()
        return dict.fromkeys(idle, "the distribution is uniform")

    @model_validator(mode="after")
    def _shares_fit(self) -> TimeConfig:
        if self.equal_share + self.inference_share > 1:
            raise ValueError("equal_share and inference_share add up to more than 1")
        return self


class OneTimeConfig(Settings):
    """Distribution of t where there is no r: uniform, or sigmoid(N(mu, sigma^2))."""

    distribution: Law = "uniform"
    """Law of t; mu and sigma matter to the logit-normal only."""
    mu: Mean = -0.4
    """Mean of the logit of t."""
    sigma: Above0 = 1.0
    """Standard deviation of the logit of t."""

    def passed_over(self) -> dict[str, str]:
        """The parameters of the law that is not taken."""
        idle = ("mu", "sigma") if self.distribution == "uniform" else ()
        return dict.fromkeys(idle, "the distribution is uniform")


def draw_time(batch: int, law: Law, mu: float, sigma: float, generator: torch.Generator) -> Tensor:
    """Draw one time per row, (B,), float32 on the generator's device."""
    if law == "uniform":
        return torch.rand(batch, generator=generator, device=generator.device)
    return torch.sigmoid(mu + sigma * torch.randn(batch, generator=generator, device=generator.device))


def draw_times(batch: int, config: TimeConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw r and t, each (B,), float32 on the generator's device.

    Exactly ``int(equal_share * B)`` random rows have r = t and ``int(inference_share * B)`` others t = 1, r = 0.
    """
    first = draw_time(batch, config.distribution, config.mu_t, config.sigma_t, generator)
    second = draw_time(batch, config.distribution, config.mu_r, config.sigma_r, generator)
    t, r = torch.maximum(first, second), torch.minimum(first, second)

    order = torch.randperm(batch, generator=generator, device=generator.device)
    n_equal, n_inference = count_of(config.equal_share, batch), count_of(config.inference_share, batch)
    equal, inference = order[:n_equal], order[n_equal : n_equal + n_inference]
    r[equal] = t[equal]
    t[inference], r[inference] = 1.0, 0.0
    return r, t


def moving_rows(r: Tensor, t: Tensor, config: TimeConfig) -> Tensor | None:
    """The rows (M,) that ``draw_times`` did not give r = t, ascending; None where these are all.

    M depends on B and the share alone, for the shapes of a CUDA graph may not change: where two draws happen to be
    equal, such a row is among them.
    """
    n_equal = count_of(config.equal_share, len(t))
    return torch.argsort((r == t).byte(), stable=True)[: len(t) - n_equal].sort().values if n_equal else None


def count_of(share: float, batch: int) -> int:
    """int(share * batch) as on paper: 0.29 * 100 is 29, not 28."""
    return int(round(share * batch, 6))
