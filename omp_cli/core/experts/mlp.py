"""Experts that are a multi-layer perceptron, and the arrays of an npz that make one.

``w0`` (n_1, S), ``b0`` (n_1,), ``w1`` ... to the last layer, which has A rows; ``in_shift``, ``in_scale`` (S,) and
``out_shift``, ``out_scale`` (A,), where they are there:

    action = out_scale * net((state - in_shift) / (in_scale + 1e-8)) + out_shift

as in the networks of mjrl (Rajeswaran et al., RSS 2018). Between the layers lies tanh, or what the text
``activation`` says.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, did_you_mean
from omp_cli.core.data.foreign import AGAIN, short
from omp_cli.core.data.readers.npz import arrays_of
from omp_cli.core.experts.base import Reflex

Array = NDArray[np.float64]
Activation = Callable[[Array], Array]
MARGIN = 1e-8
EXPECTED = "w0 (n, S), b0 (n,), w1 ..., and maybe in_shift, in_scale, out_shift, out_scale, activation"


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


ACTIVATIONS: Mapping[str, Activation] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "elu": _elu,
    "leakyrelu": lambda x: np.where(x > 0, x, 0.01 * x),
    "silu": lambda x: x / (1.0 + np.exp(-np.clip(x, -500.0, None))),
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-np.clip(x, -500.0, None))),
}
"""By torch's names in small letters, with torch's usual constants."""


@dataclass(frozen=True)
class DenseLayer:
    """weight (n_out, n_in) and bias (n_out,)."""

    weight: Array
    bias: Array


class Mlp(Reflex):
    """A perceptron between two shifts and scales.

    Args:
        kind: what it is, for provenance.
        name: the file, for messages.
        layers: from the input on.
        activation: between them, a name of ``ACTIVATIONS``.
        before: shift and scale (S,) each of what it reads.
        after: shift and scale (A,) each of what it says.
        last: what becomes of the last layer's output before that.

    Raises:
        DataError: the layers do not fit each other, or hold values that are not finite.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        layers: Sequence[DenseLayer],
        activation: str = "tanh",
        before: tuple[Array, Array] | None = None,
        after: tuple[Array, Array] | None = None,
        last: Activation | None = None,
    ) -> None:
        if activation not in ACTIVATIONS:
            hint = did_you_mean(short(activation), ACTIVATIONS) or f"known: {', '.join(ACTIVATIONS)}"
            raise DataError(f"{name}: the activation {short(activation)!r}, which omp does not know", hint)
        _check(name, layers)
        super().__init__(name, layers[0].weight.shape[1], layers[-1].weight.shape[0])
        self.kind, self._layers, self._activation, self._last = kind, tuple(layers), ACTIVATIONS[activation], last
        self._before = _pair(name, "in", before, self.inputs)
        self._after = _pair(name, "out", after, self.outputs)

    def action(self, seen: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """See the base class."""
        x = (seen.astype(np.float64) - self._before[0]) / (self._before[1] + MARGIN)
        for layer in self._layers[:-1]:
            x = self._activation(layer.weight @ x + layer.bias)
        x = self._layers[-1].weight @ x + self._layers[-1].bias
        x = x if self._last is None else self._last(x)
        return (self._after[1] * x + self._after[0]).astype(np.float32)


def read_npz(path: Path) -> Mlp:
    """The perceptron of an npz file.

    Raises:
        DataError: damaged, or not the arrays of one.
    """
    found = arrays_of(path, lambda name: re.fullmatch(r"[wb]\d{1,3}|(in|out)_(shift|scale)|activation", name), EXPECTED)
    count = sum(name.startswith("w") for name in found)
    needed = [f"{kind}{index}" for index in range(count) for kind in "wb"]
    missing = [name for name in needed if name not in found]
    if not count or missing:
        raise DataError(f"{path}: no {missing[0] if missing else 'w0'} in it", f"expected: {EXPECTED}")
    layers = [DenseLayer(_numbers(path, found, f"w{i}"), _numbers(path, found, f"b{i}")) for i in range(count)]
    pairs = {}
    for side in ("in", "out"):
        names = [f"{side}_shift", f"{side}_scale"]
        there = [name in found for name in names]
        if any(there) and not all(there):
            raise DataError(f"{path}: {side}_shift and {side}_scale belong together, one is missing")
        pairs[side] = (_numbers(path, found, names[0]), _numbers(path, found, names[1])) if all(there) else None
    activation = found.get("activation", np.array("tanh"))
    if activation.shape != () or activation.dtype.kind != "U":
        raise DataError(f"{path}: activation is {activation.shape} {activation.dtype}, expected one text")
    name = str(activation).lower()
    return Mlp("a perceptron of an npz file", str(path), layers, name, pairs["in"], pairs["out"])


def is_npz(path: Path) -> bool:
    """Whether the file is an archive of NumPy's arrays."""
    names = entries(path)
    return bool(names) and all(name.endswith(".npy") for name in names)


def entries(path: Path) -> list[str]:
    """The names in a zip file, none where the file is of another kind; DataError where it is damaged."""
    if not zipfile.is_zipfile(path):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: a damaged zip file ({error})", AGAIN) from None


def _numbers(path: Path, found: Mapping[str, NDArray[Any]], name: str) -> Array:
    if found[name].dtype.kind not in "fiu":
        raise DataError(f"{path}: {name} is of {found[name].dtype}, expected numbers")
    return found[name].astype(np.float64)


def _check(name: str, layers: Sequence[DenseLayer]) -> None:
    """DataError unless each layer takes what the one before it gives."""
    width: int | None = None
    for index, layer in enumerate(layers):
        shape, bias = layer.weight.shape, layer.bias.shape
        if len(shape) != 2 or 0 in shape or bias != shape[:1] or width not in (None, shape[1]):
            takes = "" if width is None else f", and layer {index - 1} gives {width} numbers"
            raise DataError(f"{name}: layer {index} has weights {shape} and biases {bias}{takes}")
        if not (np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()):
            raise DataError(f"{name}: layer {index} has values that are not finite")
        width = shape[0]


def _pair(name: str, side: str, given: tuple[Array, Array] | None, dim: int) -> tuple[Array, Array]:
    """Shift and scale; none is (0, 1)."""
    if given is None:
        return np.zeros(dim), np.ones(dim) - (MARGIN if side == "in" else 0.0)
    for array, of in zip(given, ("shift", "scale"), strict=True):
        if array.shape != (dim,) or not np.isfinite(array).all():
            raise DataError(f"{name}: {side}_{of} is {array.shape}, expected {dim} finite numbers")
    return given
