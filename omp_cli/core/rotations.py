"""Rotations in numbers that jump nowhere, as networks see and learn them, and back to those that the data have.

A rotation is the first two rows of its matrix (Zhou et al. 2019, "On the Continuity of Rotation Representations in
Neural Networks", arXiv 1812.07035; rows, as Diffusion Policy has them), an angle its cosine and sine. Every other way
of writing a rotation in three or four numbers jumps somewhere, and a network cannot learn a jump.

Legend: n numbers of a vector as the data have it, m as it is learned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omp_cli.core.spec import Rotation, RotationKind

_TINY = 1e-8
"""Below this length a direction is none."""


class Continuous(nn.Module):
    """Maps vectors (..., n) with rotations to (..., m), where these jump nowhere, and back; no parameters.

    Args:
        rotations: in the order of their places.
        width: n.
    """

    def __init__(self, rotations: Sequence[Rotation], width: int) -> None:
        super().__init__()
        self._rotations = tuple(rotations)
        ends = [0, *(rotation.places.stop for rotation in self._rotations)]
        self._between = [r.first - end for r, end in zip(self._rotations, ends, strict=False)]
        self._rest = width - ends[-1]
        for place, rotation in enumerate(self._rotations):  # what is no buffer would be copied at every call
            self.register_buffer(f"_near{place}", torch.tensor(rotation.near), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., n) -> (..., m)."""
        if not self._rotations:
            return x
        parts = self._parts(x, [rotation.numbers for rotation in self._rotations])
        for place, rotation in enumerate(self._rotations):
            parts[2 * place + 1] = spread(rotation, parts[2 * place + 1])
        return torch.cat(parts, -1)

    def inverse(self, y: Tensor) -> Tensor:
        """(..., m) -> (..., n), of rows that a policy may have bent by Gram and Schmidt's rule."""
        if not self._rotations:
            return y
        parts = self._parts(y, [rotation.learned for rotation in self._rotations])
        for place, rotation in enumerate(self._rotations):
            parts[2 * place + 1] = _written(rotation, parts[2 * place + 1], self.get_buffer(f"_near{place}"))
        return torch.cat(parts, -1)

    def _parts(self, x: Tensor, widths: list[int]) -> list[Tensor]:
        """What lies before the first rotation, it, what lies between it and the next, and so on."""
        sizes = [size for pair in zip(self._between, widths, strict=True) for size in pair]
        return list(x.split([*sizes, self._rest], -1))


def mean_of(values: NDArray[Any], rotations: Sequence[Rotation]) -> NDArray[np.float64]:
    """Mean (n,) of vectors (F, n), of rotations in the numbers that jump nowhere: that of pi and -pi is not 0."""
    continuous = Continuous(rotations, values.shape[1]).double()
    learned = continuous(torch.from_numpy(np.asarray(values, np.float64)))
    found: NDArray[np.float64] = continuous.inverse(learned.mean(0)).numpy()
    return found


def nearest(values: NDArray[Any], others: NDArray[Any], rotations: Sequence[Rotation]) -> NDArray[Any]:
    """Values (..., n) in which each rotation is written so that it lies as near as possible to another's.

    What is left between the two is a difference of rotations, and not of ways to write one down.

    Args:
        values: (..., n).
        others: (..., n), broadcast to the shape of the values.
        rotations: in the order of their places.
    """
    if not rotations:
        return values
    found = np.array(values)
    for rotation in rotations:
        mine, theirs = found[..., rotation.places], np.asarray(others)[..., rotation.places]
        candidates = np.stack([np.broadcast_to(x, mine.shape) for x in _alike(rotation, mine, theirs)])
        best = ((candidates - theirs) ** 2).sum(-1).argmin(0)
        found[..., rotation.places] = np.take_along_axis(candidates, best[None, ..., None], 0)[0]
    return found


def _alike(rotation: Rotation, mine: NDArray[Any], theirs: NDArray[Any]) -> list[NDArray[Any]]:
    """What means the same as ``mine`` (..., k), as far as it may be the nearest to ``theirs``."""
    turn = rotation.turn
    if rotation.is_quaternion:
        return [mine, -mine]
    if rotation.kind == "axis-angle":
        angle = np.linalg.norm(mine, axis=-1, keepdims=True)
        axis = mine / np.maximum(angle, _TINY)
        return [mine, axis * (angle - turn), axis * (angle + turn)]
    ways = [mine]
    if rotation.kind == "euler":
        ways.append(np.stack([mine[..., 0] + turn / 2, turn / 2 - mine[..., 1], mine[..., 2] + turn / 2], -1))
    return [way - turn * np.round((way - theirs) / turn) for way in ways]


def spread(rotation: Rotation, x: Tensor) -> Tensor:
    """The numbers of a rotation (..., k) as they are learned, (..., 6) or (..., 2)."""
    if rotation.degrees and not rotation.is_quaternion:
        x = torch.deg2rad(x)
    return _LEARNED[rotation.kind](x)


def _written(rotation: Rotation, y: Tensor, near: Tensor) -> Tensor:
    """What was learned of a rotation (..., 6) or (..., 2) as the data have it, (..., k)."""
    x = _WRITTEN[rotation.kind](y if rotation.kind == "angle" else whole_matrix(y))
    if rotation.degrees and not rotation.is_quaternion:
        x = torch.rad2deg(x)
    if not any(rotation.near):
        return x
    if rotation.is_quaternion:
        return torch.where((x * near).sum(-1, keepdim=True) < 0, -x, x)
    if rotation.kind == "axis-angle":
        other = x - rotation.turn * x / x.norm(dim=-1, keepdim=True).clamp_min(_TINY)  # the longer way round
        nearer = (other - near).square().sum(-1, keepdim=True) < (x - near).square().sum(-1, keepdim=True)
        return torch.where(nearer, other, x)
    return x - rotation.turn * torch.round((x - near) / rotation.turn)


def _from_axis_angle(x: Tensor) -> Tensor:
    """Rodrigues' formula: I cos + [r] sin / angle + r r^T (1 - cos) / angle^2 with x = r (..., 3)."""
    angle = x.norm(dim=-1, keepdim=True)
    half = torch.sinc(angle / (2 * math.pi))  # sin(angle / 2) / (angle / 2), so that small angles cancel nothing
    a, b = torch.sinc(angle / math.pi), half.square() / 2
    (x0, x1, x2), c = x.split(1, -1), torch.cos(angle)
    rows = [c + b * x0 * x0, b * x0 * x1 - a * x2, b * x0 * x2 + a * x1]
    rows += [b * x0 * x1 + a * x2, c + b * x1 * x1, b * x1 * x2 - a * x0]
    return torch.cat(rows, -1)


def _from_euler(x: Tensor) -> Tensor:
    """Of R_z(x2) R_y(x1) R_x(x0)."""
    (cx, cy, cz), (sx, sy, sz) = torch.cos(x).split(1, -1), torch.sin(x).split(1, -1)
    rows = [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx]
    return torch.cat([*rows, sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx], -1)


def _from_quaternion(x: Tensor) -> Tensor:
    """Of (x, y, z, w)."""
    a, b, c, w = (x / x.norm(dim=-1, keepdim=True).clamp_min(_TINY)).split(1, -1)
    rows = [1 - 2 * (b * b + c * c), 2 * (a * b - c * w), 2 * (a * c + b * w)]
    return torch.cat([*rows, 2 * (a * b + c * w), 1 - 2 * (a * a + c * c), 2 * (b * c - a * w)], -1)


def _from_angle(x: Tensor) -> Tensor:
    return torch.cat([torch.cos(x), torch.sin(x)], -1)


def whole_matrix(rows: Tensor) -> Tensor:
    """The rotation (..., 9), by rows, whose first row has the direction of the first of two (..., 6)."""
    first, second = rows.split(3, -1)
    first = first / first.norm(dim=-1, keepdim=True).clamp_min(_TINY)
    second = second - (first * second).sum(-1, keepdim=True) * first
    second = second / second.norm(dim=-1, keepdim=True).clamp_min(_TINY)
    return torch.cat([first, second, torch.linalg.cross(first, second)], -1)


def _to_quaternion(matrix: Tensor) -> Tensor:
    """(x, y, z, w) of a matrix (..., 9): of 4 q q^T, whose entries are sums of the matrix's, the longest column."""
    xx, xy, xz, yx, yy, yz, zx, zy, zz = matrix.unbind(-1)
    columns = [
        [1 + xx - yy - zz, xy + yx, xz + zx, zy - yz],
        [xy + yx, 1 - xx + yy - zz, yz + zy, xz - zx],
        [xz + zx, yz + zy, 1 - xx - yy + zz, yx - xy],
        [zy - yz, xz - zx, yx - xy, 1 + xx + yy + zz],
    ]
    product = torch.stack([torch.stack(column, -1) for column in columns], -2)
    longest = product.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    q = product.gather(-2, longest.expand(*longest.shape[:-1], 4)).squeeze(-2)
    return q / q.norm(dim=-1, keepdim=True).clamp_min(_TINY)


def _to_axis_angle(matrix: Tensor) -> Tensor:
    q = _to_quaternion(matrix)
    axis, w = q.split([3, 1], -1)
    axis, w = torch.where(w < 0, -axis, axis), w.abs()  # the shorter way round
    sine = axis.norm(dim=-1, keepdim=True)
    return axis * torch.where(sine < _TINY, 2.0, 2 * torch.atan2(sine, w) / sine.clamp_min(_TINY))


def _to_euler(matrix: Tensor) -> Tensor:
    xx, _, _, yx, _, _, zx, zy, zz = matrix.split(1, -1)
    return torch.cat([torch.atan2(zy, zz), torch.atan2(-zx, (xx * xx + yx * yx).sqrt()), torch.atan2(yx, xx)], -1)


def _to_angle(pair: Tensor) -> Tensor:
    cosine, sine = pair.split(1, -1)
    return torch.atan2(sine, cosine)


_LEARNED: dict[RotationKind, Callable[[Tensor], Tensor]] = {
    "axis-angle": _from_axis_angle,
    "euler": _from_euler,
    "quaternion": _from_quaternion,
    "quaternion-wxyz": lambda x: _from_quaternion(x.roll(-1, -1)),
    "angle": _from_angle,
}
_WRITTEN: dict[RotationKind, Callable[[Tensor], Tensor]] = {
    "axis-angle": _to_axis_angle,
    "euler": _to_euler,
    "quaternion": _to_quaternion,
    "quaternion-wxyz": lambda matrix: _to_quaternion(matrix).roll(1, -1),
    "angle": _to_angle,
}
