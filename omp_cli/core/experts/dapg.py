"""The published policies of DAPG (hand_dapg, ``dapg/policies/*-v0.pickle``), read without running anything of them.

A file is the pickle of an mjrl policy of PyTorch 1.0: its network's linear layers, and shifts and scales around them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from omp_cli.core.base.errors import DataError
from omp_cli.core.experts import tensors
from omp_cli.core.experts.mlp import DenseLayer, Mlp
from omp_cli.core.experts.pickled import Constructed, called, taken_apart

LARGEST = 16 << 20
"""Bytes; the published files have 39 to 81 thousand."""
_GETATTR = "builtins getattr"
_POLICY, _NETWORK = "mjrl.policies.gaussian_mlp MLP", "mjrl.utils.fc_network FCNetwork"
_LINEAR = "torch.nn.modules.linear Linear"
KNOWN = tensors.KNOWN | {
    _POLICY,
    _NETWORK,
    _LINEAR,
    _GETATTR,
    "torch.nn.modules.container ModuleList",
    "torch.nn.backends.thnn _get_thnn_function_backend",
    "torch._C _VariableFunctions",
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
    stored = tensors.InPickle()
    before, after = (
        (
            stored.tensor(network.get(f"{side}_shift"), f"{where}: {side}_shift"),
            stored.tensor(network.get(f"{side}_scale"), f"{where}: {side}_scale"),
        )
        for side in ("in", "out")
    )
    layers = [_layer(layer, stored, where) for layer in _modules(network, where)]
    if not layers:
        raise DataError(f"{where}: a policy without layers")
    activation = called(network.get("nonlinearity"), _GETATTR, 2, f"{where}: nonlinearity")[1]
    if not isinstance(activation, str):
        raise DataError(f"{where}: nonlinearity: no text in the place of a function's name")
    return Mlp("a policy of hand_dapg", where, layers, activation, before, after)


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


def _layer(value: Any, stored: tensors.InPickle, where: str) -> DenseLayer:
    parameters = _items(_state(value, _LINEAR, where).get("_parameters"), where)
    return DenseLayer(*(stored.tensor(parameters.get(name), f"{where}: {name}") for name in ("weight", "bias")))


def _items(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Constructed):
        raise DataError(f"{where}: a module without parts")
    return value.items
