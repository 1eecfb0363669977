"""Dispersive regularisation: embeddings of different observations should not collapse (math.md section 4).

Legend: h (B, D) embeddings, tau temperature, m margin. All forms are low when the rows of h lie far apart.
Distances come from the Gram matrix of centred rows, not from torch.cdist, which has no forward-mode derivative.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from omp_cli.core.methods.path import at_least_float32, full_precision

Form = Literal["infonce_l2", "infonce_cosine", "hinge", "covariance"]


def dispersion_loss(h: Tensor, form: Form, temperature: float = 0.5, margin: float = 1.0) -> Tensor:
    """One of the four forms, (B, D) -> scalar; zero for a single row, which has nothing to be dispersed from.

    * infonce_l2: log mean_{i,j} exp(-|h_i - h_j|^2 / (D tau));
    * infonce_cosine: log mean_{i,j} exp(cos(h_i, h_j) / tau);
    * hinge: mean_{i != j} max(0, m - |h_i - h_j|)^2;
    * covariance: sum_{a != b} C_ab^2 / D with C the (unbiased) batch covariance.
    """
    if h.shape[0] < 2:
        return h.sum() * 0
    with full_precision(h):
        h = at_least_float32(h)
        if form == "infonce_l2":
            return _log_mean_exp(-squared_distances(h) / (h.shape[1] * temperature))
        if form == "infonce_cosine":
            unit = nn.functional.normalize(h, dim=1)
            return _log_mean_exp(unit @ unit.T / temperature)
        if form == "hinge":
            return (margin - _distances(h)).clamp_min(0).square().mean()
        return _off_diagonal_covariance(h)


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


def _centred(h: Tensor) -> Tensor:
    return h - h.mean(0)


def _log_mean_exp(x: Tensor) -> Tensor:
    return torch.logsumexp(x.flatten(), 0) - math.log(x.numel())


def _off_diagonal_covariance(h: Tensor) -> Tensor:
    """sum_{a != b} C_ab^2 / D by sum_ab C_ab^2 = |X X^T|_F^2 / (B - 1)^2: (B, B) instead of (D, D)."""
    n, dim = h.shape
    x = _centred(h)
    everything = (x @ x.T).square().sum() / (n - 1) ** 2
    variances = x.square().sum(0) / (n - 1)
    return (everything - variances.square().sum()) / dim
