"""PointNet with a max over points, and its exact two-pass form (DP3's encoder; critical points: PointNet, 2017).

Legend: M clouds, N points of a cloud, C channels of the last layer, U critical points of all clouds together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Points per piece of the unrecorded pass. On a CPU its activations should stay in the cache. A GPU wants work, but
# 2**18 points at once would take more memory than the second pass saves (omp memprofile).
_PIECE_CPU, _PIECE_GPU = 2048, 2**16


class PointNet(nn.Module):
    """Per-point layers (linear, layer norm, ReLU), max over points, linear, layer norm: (M, N, 3) -> (M, out).

    Only the points where some channel attains its maximum, at most C of N and in practice 50 to 110 of 512, have any
    gradient. ``two_pass`` finds them without recording anything and then runs forward and backward on them alone:
    same value, same gradient, a fraction of the time and memory.

    Args:
        channels: widths of the per-point layers.
        out: width of the projection.
        two_pass: whether to skip the points without gradient when gradients are recorded.
    """

    def __init__(self, channels: Sequence[int], out: int, two_pass: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *channels[:-1]), channels, strict=True):
            layers += [nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.ReLU()]
        # The last ReLU commutes with the max over points: it goes after it, where it costs nothing.
        self.layers = nn.Sequential(*layers[:-1])
        self.project = nn.Sequential(nn.ReLU(), nn.Linear(channels[-1], out), nn.LayerNorm(out))
        self.two_pass = two_pass

    def forward(self, cloud: Tensor) -> Tensor:
        """cloud (M, N, 3) -> (M, out)."""
        if not torch.is_grad_enabled():
            return self.project(self.layers(cloud).amax(1))
        # The number of critical points is known on the device alone, and a CUDA graph's shapes are fixed.
        if self.two_pass and not (cloud.is_cuda and torch.cuda.is_current_stream_capturing()):
            return self.project(self._max_of_critical(cloud))
        return self.project(self.layers(cloud).max(1).values)

    def _max_of_critical(self, cloud: Tensor) -> Tensor:
        """Maximum over points, recorded for the critical points only: (M, N, 3) -> (M, C)."""
        with torch.no_grad():
            piece = max(1, (_PIECE_CPU if cloud.device.type == "cpu" else _PIECE_GPU) // cloud.shape[1])
            winner = torch.cat([argmax_over_points(self.layers(part)) for part in cloud.split(piece)])  # (M, C)
            winner += cloud.shape[1] * torch.arange(cloud.shape[0], device=cloud.device)[:, None]
            critical = torch.zeros(cloud.shape[:2].numel(), dtype=torch.bool, device=cloud.device)
            critical[winner] = True
            row = critical.cumsum(0)[winner] - 1  # where a winner stands among the critical points
            entry = row * winner.shape[1] + torch.arange(winner.shape[1], device=cloud.device)
        values = self.layers(cloud.flatten(0, 1)[critical])  # (U, C)
        # Not gather: that would keep the values for the backward pass, which needs their number alone.
        return values.flatten().index_select(0, entry.flatten()).view_as(entry)


def argmax_over_points(x: Tensor) -> Tensor:
    """Index along dimension 1 of each channel's maximum: (M, N, C) -> (M, C).

    By blocks: ``amax`` is vectorised on a CPU, while ``max`` with indices is ten times slower and now sees only the
    block maxima and the best block.
    """
    clouds, points, channels = x.shape
    size = math.gcd(points, 16)
    blocks = x.view(clouds, points // size, size, channels)
    best = blocks.amax(2).max(1, keepdim=True).indices  # (M, 1, C)
    inner = blocks.gather(1, best[:, :, None].expand(-1, -1, size, -1)).squeeze(1)
    return best.squeeze(1) * size + inner.max(1).indices
