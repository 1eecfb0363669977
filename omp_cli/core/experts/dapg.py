"""The published policies of DAPG (hand_dapg, ``dapg/policies/*-v0.pickle``), read without running anything of them.

A file is the pickle of an mjrl policy of PyTorch 1.0: its network's linear layers, and shifts and scales around them.
Each tensor lies in the pickle as a file of torch's old format, a row of pickles and then the numbers.
"""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from omp_cli.core.base.errors import DataError
from omp_cli.core.experts.mlp import Array, DenseLayer, Mlp
from omp_cli.core.experts.pickled import Constructed, called, taken_apart

LARGEST = 16 << 20
"""Bytes; the published files have 39 to 81 thousand."""
_MAGIC = 0x1950A86A20F9469CFC6C
_TYPES = {"torch FloatStorage": "<f4", "torch DoubleStorage": "<f8"}
_TENSOR = "torch._utils _rebuild_tensor_v2"
_PARAMETER = "torch._utils _rebuild_parameter"
_STORAGE = "torch.storage _load_from_bytes"
_GETATTR = "builtins getattr"
_POLICY, _NETWORK = "mjrl.policies.gaussian_mlp MLP", "mjrl.utils.fc_network FCNetwork"
_LINEAR = "torch.nn.modules.linear Linear"
KNOWN = {
    _POLICY,
    _NETWORK,
    _LINEAR,
    _TENSOR,
    _PARAMETER,
    _STORAGE,
    _GETATTR,
    "torch.nn.modules.container ModuleList",
    "torch.nn.backends.thnn _get_thnn_function_backend",
    "torch._C _VariableFunctions",
    "collections OrderedDict",
    "numpy.core.multiarray _reconstruct",
    "numpy.core.multiarray scalar",
    "numpy ndarray",
    "numpy dtype",
}
"""The constructors of these files, none of which is called."""


def read_dapg(path: Path) -> Mlp:
    """The policy's mean.

    Raises:
        DataError: damaged, another kind of pickle, or one that wants something to be run.
    """
    if (size := path.stat().st_size) > LARGEST:
        raise DataError(f"{path}: {size:,} bytes, and a policy of hand_dapg has less than {LARGEST:,}")
    where = str(path)
    policy = taken_apart(io.BytesIO(path.read_bytes()), KNOWN, where)
    network = _state(_state(policy, _POLICY, where).get("model"), _NETWORK, where)
    shifts = {name: _tensor(network.get(name), f"{where}: {name}") for name in ("in_shift", "in_scale")}
    shifts |= {name: _tensor(network.get(name), f"{where}: {name}") for name in ("out_shift", "out_scale")}
    before, after = ((shifts[f"{side}_shift"], shifts[f"{side}_scale"]) for side in ("in", "out"))
    layers = [_layer(layer, where) for layer in _modules(network, where)]
    if not layers:
        raise DataError(f"{where}: a policy without layers")
    activation = called(network.get("nonlinearity"), _GETATTR, 2, f"{where}: nonlinearity")[1]
    return Mlp("a policy of hand_dapg", where, layers, str(activation), before, after)


def _state(value: Any, name: str, where: str) -> dict[str, Any]:
    """The attributes of an object."""
    if not isinstance(value, Constructed) or value.name != name or not isinstance(value.state, dict):
        raise DataError(f"{where}: no {name.replace(' ', '.')} in the pickle where a policy of hand_dapg has one")
    return value.state


def _modules(network: dict[str, Any], where: str) -> list[Any]:
    """The network's linear layers."""
    layers = _items(network.get("_modules"), where).get("fc_layers")
    state = _state(layers, "torch.nn.modules.container ModuleList", where)
    return list(_items(state.get("_modules"), where).values())


def _layer(value: Any, where: str) -> DenseLayer:
    parameters = _items(_state(value, _LINEAR, where).get("_parameters"), where)
    found = []
    for name in ("weight", "bias"):
        parameter = called(parameters.get(name), _PARAMETER, 3, f"{where}: {name}")
        found.append(_tensor(parameter[0], f"{where}: {name}"))
    return DenseLayer(*found)


def _items(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Constructed):
        raise DataError(f"{where}: a module without parts")
    return value.items


def _tensor(value: Any, where: str) -> Array:
    """A tensor that lies in one piece."""
    stored, offset, shape, stride, *_ = called(value, _TENSOR, 6, where)
    (content,) = called(stored, _STORAGE, 1, where)
    numbers = _storage(content, where)
    if not (_counts(shape) and _counts(stride) and _counts((offset,)) and len(shape) == len(stride)):
        raise DataError(f"{where}: a tensor of no shape")
    size = math.prod(shape)
    dense = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    if stride != dense or not 0 < size <= len(numbers) - offset:
        raise DataError(f"{where}: a tensor {shape} in steps of {stride} from {offset} on of {len(numbers)} numbers")
    return numbers[offset : offset + size].reshape(shape).astype(np.float64)


def _counts(values: Any) -> bool:
    """Whether it is a tuple of whole numbers of a size that files hold."""
    return isinstance(values, tuple) and all(type(v) is int and 0 <= v < LARGEST for v in values)


def _storage(content: Any, where: str) -> np.ndarray[Any, Any]:
    """The numbers of a file of torch's old format: magic number, version, machine, object, keys, numbers."""
    if not isinstance(content, bytes):
        raise DataError(f"{where}: no bytes in the place of a tensor's")
    stream = io.BytesIO(content)
    magic, _, _, stored, _ = (taken_apart(stream, _TYPES, where) for _ in range(5))
    if magic != _MAGIC or not isinstance(stored, Constructed) or stored.name or not stored.arguments:
        raise DataError(f"{where}: a tensor that is not in torch's format")
    saved = stored.arguments[0]
    kind = saved[1].name if isinstance(saved, tuple) and len(saved) > 1 and isinstance(saved[1], Constructed) else None
    if kind not in _TYPES:
        raise DataError(f"{where}: a tensor of another type than float32 and float64")
    rest = content[stream.tell() :]
    if len(rest) < 8 or struct.unpack("<q", rest[:8])[0] * np.dtype(_TYPES[kind]).itemsize != len(rest) - 8:
        raise DataError(f"{where}: a tensor that is longer or shorter than it declares")
    return np.frombuffer(rest[8:], _TYPES[kind])
