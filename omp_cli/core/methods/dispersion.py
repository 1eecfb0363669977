"""Dispersive regularisation: embeddings of different observations should not collapse (math.md section 4).

Legend: h (B, D) embeddings, tau temperature, m margin. All forms are low when the rows of h lie far apart.
Any method has the term by a ``DispersionConfig`` in its configuration and ``dispersed`` at the end of its loss.
Distances come from the Gram matrix of centred rows, not from torch.cdist, which has no forward-mode derivative.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from omp_cli.core.base.config import Above0, AtLeast0, Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.methods.base import Gather, LossReport
from omp_cli.core.methods.path import at_least_float32, full_precision

Form = Literal[
    "infonce_l2",
    "max_normalised",
    "infonce_cosine",
    "hinge",
    "covariance",
    "as-released",
    "as-released-cosine",
    "as-released-hinge",
    "as-released-covariance",
]

_CLAMP = 10.0  # of the public code's similarities


class DispersionConfig(Settings):
    """Dispersive regularisation."""

    weight: AtLeast0 = 0.0
    """Lambda_Disp."""
    form: Form = "infonce_l2"
    """Which of the formulas; those "as-released" are there to be compared with, not to be used."""
    temperature: Above0 = 0.5
    """Tau of the InfoNCE forms, max_normalised among them."""
    margin: Above0 = 1.0
    """M of the hinge."""
    on: Literal["condition", "net"] = "condition"
    """The condition embedding h, or the hidden features that the network taps (summed over them)."""

    def passed_over(self) -> dict[str, str]:
        """Everything, without weight; what another form has."""
        if not self.weight:
            return dict.fromkeys(("form", "temperature", "margin", "on"), "the weight of the dispersion is 0")
        hinge, covariance = self.form.endswith("hinge"), self.form.endswith("covariance")
        idle = ["margin"] * (not hinge) + ["temperature"] * (hinge or covariance)
        return dict.fromkeys(idle, f"the form is {self.form}")

    def taps(self) -> list[Tensor] | None:
        """A list for the network's hidden layers, where the term is on those."""
        return [] if self.weight > 0 and self.on == "net" else None


def dispersed(
    terms: dict[str, Tensor],
    parts: dict[str, Tensor],
    config: DispersionConfig,
    h: Tensor,
    hidden: list[Tensor] | None,
    gather: Gather,
) -> LossReport:
    """The report of a loss with the dispersive term and its diagnostics added; without weight the term is 0.

    Args:
        terms: weighted terms of the loss so far.
        parts: its unweighted parts.
        config: settings of the term.
        h: condition embeddings, (B', D).
        hidden: what ``config.taps()`` has received, each (B, ...); None for the term on h.
        gather: brings the rows of all processes together.

    Raises:
        UsageError: the network taps no hidden features.
    """
    layers = [h] if hidden is None else hidden
    if not layers:
        raise UsageError("method.dispersion.on = net: this net taps no hidden features", "use on = condition")
    term = h.new_zeros(())
    if config.weight > 0:
        layers = [gather(layer.flatten(1)) for layer in layers]
        losses = [dispersion_loss(layer, config.form, config.temperature, config.margin) for layer in layers]
        loss = torch.stack(losses).sum()
        parts = {**parts, "dispersion": loss.detach()}
        term = config.weight * loss
    terms = {**terms, "dispersion": term}
    features = layers[-1].detach().flatten(1)
    total = torch.stack(list(terms.values())).sum()
    return LossReport(total, parts, terms, diagnostics=lambda: dispersion_diagnostics(features))


def dispersion_loss(h: Tensor, form: Form, temperature: float = 0.5, margin: float = 1.0) -> Tensor:
    """One of the forms, (B, D) -> scalar; zero for a single row, which has nothing to be dispersed from.

    * infonce_l2: log mean_{i,j} exp(-|h_i - h_j|^2 / (D tau));
    * max_normalised: log mean_{i,j} exp(-|h_i - h_j|^2 / (M tau)), M = max_{i,j} |h_i - h_j|^2 with its gradient; what
      MP1's code computes (its paper does not divide by M). It lies in (-1 / tau, 0] and is free of scale: it spreads
      the rows evenly over the room that they take, and never pushes them to take more;
    * infonce_cosine: log mean_{i,j} exp(cos(h_i, h_j) / tau);
    * hinge: mean_{i != j} max(0, m - |h_i - h_j|)^2;
    * covariance: sum_{a != b} C_ab^2 / D with C the (unbiased) batch covariance;
    * as-released: -mean_i log sum_j exp(min(|h_i - h_j| / tau, 10)), 10 on the diagonal. For comparison: what DMPO's
      public code computes under the name of infonce_l2. It is saturated, with a gradient of exactly 0, where all
      distances exceed 10 tau, and pushes the pairs most that are already the farthest;
    * as-released-cosine: -mean_i log sum_j exp(-min(max(cos(h_i, h_j) / tau, -10), 10)), 10 on the diagonal, which
      leaves next to no gradient;
    * as-released-hinge: mean_{i != j} max(0, m - |h_i - h_j|), not squared;
    * as-released-covariance: mean_{a != b} C_ab^2 + mean_a max(0, 1 - C_aa), a term more than DMPO's equation 25.
    """
    if h.shape[0] < 2:
        return h.sum() * 0
    with full_precision(h):
        h = at_least_float32(h)
        if form == "infonce_l2":
            return _log_mean_exp(-squared_distances(h) / (h.shape[1] * temperature))
        if form == "max_normalised":
            return _log_mean_exp(-_over_largest(squared_distances(h), h) / temperature)
        if form == "infonce_cosine":
            unit = nn.functional.normalize(h, dim=1)
            return _log_mean_exp(unit @ unit.T / temperature)
        if form == "hinge":
            return (margin - _distances(h)).clamp_min(0).square().mean()
        if form == "covariance":
            return _off_diagonal_covariance(h)
        if form == "as-released-cosine":
            unit = nn.functional.normalize(h, dim=1)
            return _released_infonce(-unit @ unit.T / temperature)
        if form == "as-released-hinge":
            return (margin - _distances(h)).clamp_min(0).mean()
        if form == "as-released-covariance":
            variances = _centred(h).square().sum(0) / (len(h) - 1)
            return _off_diagonal_covariance(h) / max(h.shape[1] - 1, 1) + (1 - variances).clamp_min(0).mean()
        return _released_infonce(squared_distances(h).clamp_min(torch.finfo(h.dtype).tiny).sqrt() / temperature)


@torch.no_grad()
def dispersion_diagnostics(h: Tensor) -> dict[str, Tensor]:
    """What makes a dead or collapsed term visible: (B, D) -> scalars.

    * mean_distance: mean of |h_i - h_j| over i != j;
    * effective_rank: exp of the entropy of the normalised singular values of the centred h (Roy and Vetterli 2007);
      between 1 and min(B - 1, D), and 0 when all rows are equal.
    """
    if h.shape[0] < 2:
        zero = h.new_zeros(())
        return {"mean_distance": zero, "effective_rank": zero}
    with full_precision(h):
        # float64: the square roots of the eigenvalues' rounding noise would otherwise count as extra rank.
        x = _centred(h.double())
        gram = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
        singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
        total = singular.sum()
        p = singular / total.clamp_min(torch.finfo(x.dtype).tiny)
        rank = torch.exp(-torch.xlogy(p, p).sum()) * (total > 1e-6 * h.double().norm())
        return {"mean_distance": _distances(x).mean().to(h.dtype), "effective_rank": rank.to(h.dtype)}


def squared_distances(h: Tensor) -> Tensor:
    """|h_i - h_j|^2: (B, D) -> (B, B), exactly 0 on the diagonal."""
    x = _centred(h)  # distances do not change, and the subtraction below loses fewer digits
    square = x.square().sum(1)
    return (square[:, None] + square[None, :] - 2 * x @ x.T).clamp_min(0).fill_diagonal_(0)


def _distances(h: Tensor) -> Tensor:
    """|h_i - h_j| over i < j: (B, D) -> (B (B - 1) / 2,). Rows that coincide get gradient 0 instead of NaN."""
    i, j = torch.triu_indices(h.shape[0], h.shape[0], offset=1, device=h.device)
    return squared_distances(h)[i, j].clamp_min(torch.finfo(h.dtype).tiny).sqrt()


def _over_largest(squares: Tensor, h: Tensor) -> Tensor:
    """squares (B, B) of rows h (B, D), divided by the largest; as they are where all rows coincide but for rounding."""
    largest = squares.amax()
    rounding = (torch.finfo(h.dtype).eps * h.detach().abs().amax()).square()
    return squares / torch.where(largest > rounding, largest, torch.ones_like(largest))


def _centred(h: Tensor) -> Tensor:
    return h - h.mean(0)


def _log_mean_exp(x: Tensor) -> Tensor:
    return torch.logsumexp(x.flatten(), 0) - math.log(x.numel())


def _released_infonce(exponents: Tensor) -> Tensor:
    """The clamped form of the public code of exponents (B, B); its diagonal is not left out but at the clamp."""
    exponents = exponents.clamp(-_CLAMP, _CLAMP)
    exponents = exponents.masked_fill(torch.eye(len(exponents), dtype=torch.bool, device=exponents.device), _CLAMP)
    return -torch.logsumexp(exponents, 1).mean()


def _off_diagonal_covariance(h: Tensor) -> Tensor:
    """sum_{a != b} C_ab^2 / D by sum_ab C_ab^2 = |X X^T|_F^2 / (B - 1)^2: (B, B) instead of (D, D)."""
    n, dim = h.shape
    x = _centred(h)
    everything = (x @ x.T).square().sum() / (n - 1) ** 2
    variances = x.square().sum(0) / (n - 1)
    return (everything - variances.square().sum()) / dim
