"""Directional alignment, OMP's loss on the direction of u alone (math.md section 4).

Legend: u predicted mean velocity, v velocity of the path (the paper's v_0), both (B, H, A); alpha the angle between
them. What the mean square lacks: its gradient in alpha, 2 |u| |v| sin(alpha), vanishes with |v|; this one's does not.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Scope = Literal["chunk", "step"]

EPS_DIR = 1e-6  # eps_dir of the paper, keeps the quotient finite when a velocity is zero
FLOOR = 1e-4  # smallest argument of the logarithm, cos(alpha) = -0.9998; math.md asks only for "small"


def cosine(u: Tensor, v: Tensor, scope: Scope = "chunk") -> Tensor:
    """cos(alpha) = <v, u> / (|v| |u| + eps_dir): (B,) over the flattened chunk, or (B, H) per time step."""
    if scope == "chunk":
        u, v = u.flatten(1), v.flatten(1)
    norms = torch.linalg.vector_norm(u, dim=-1) * torch.linalg.vector_norm(v, dim=-1)
    return (u * v).sum(-1) / (norms + EPS_DIR)


def alignment_loss(cos: Tensor) -> Tensor:
    """L_DA = mean of -log((cos(alpha) + 1) / 2): cosines of any shape -> scalar.

    Below ``FLOOR`` the logarithm goes on as its tangent line. A clamp would bound the loss as well, but with gradient
    zero just where the direction is most wrong.
    """
    a = (cos + 1) / 2
    above = -torch.log(a.clamp_min(FLOOR))
    line = -math.log(FLOOR) + (FLOOR - a) / FLOOR
    return torch.where(a > FLOOR, above, line).mean()
