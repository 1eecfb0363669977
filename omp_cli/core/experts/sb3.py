"""Policies of Stable-Baselines3 and its contrib package from their zip files, without these packages.

The weights (``policy.pth``) are read without running anything of them. The settings (``data``) are JSON that holds
pickles besides; those are left alone, and what is needed stands beside them as text: the range of the actions and the
activation. What acts is the policy's mean, as ``predict(..., deterministic=True)``:

    SAC, TQC            actor.latent_pi, actor.mu; relu, then tanh
    TD3, DDPG           actor.mu; relu, then tanh
    PPO, A2C, TRPO      mlp_extractor, action_net; tanh, then clipped to the range of the actions
    ARS                 action_net; relu, then tanh

Statistics of VecNormalize are not in the zip, so a policy that was trained behind it does not find its inputs here.
Of PPO, A2C, TRPO and ARS the settings tell: their ``_last_original_obs`` is null unless VecNormalize was there. SAC and
its kind set it either way.
"""

from __future__ import annotations

import io
import lzma
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from omp_cli.core.base.errors import DataError, data_error
from omp_cli.core.data.foreign import affordable, json_object, member, number, short
from omp_cli.core.experts.mlp import Activation, Array, DenseLayer, Mlp, entries
from omp_cli.core.experts.tensors import InZip

WEIGHTS, SETTINGS = "policy.pth", "data"
_OTHER = "omp evaluates SB3's MlpPolicy with actions from a Box"
_ACTOR = r"(actor|action_net|mlp_extractor\.(shared|policy)_net)\."
_FOREIGN = r"(actor\.|pi_)?features_extractor\.|lstm_actor\."
_DAMAGED = (
    *(OSError, RuntimeError, ValueError, EOFError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)
"""What reading a zip file ends in that is none, or not whole."""
_NORMALISED = (
    "was trained with VecNormalize, whose statistics its zip file does not hold: unless rewards alone were normalised, "
    "it does not see the numbers it learned from, and its returns will be low"
)
_CLIP_MEAN = 2.0
"""Largest magnitude of a mean between Hardtanh's ends, which SB3 puts there for gSDE."""


def is_sb3(path: Path) -> bool:
    """Whether the file is a zip with a policy's weights and settings."""
    return {WEIGHTS, SETTINGS} <= set(entries(path))


def read_sb3(path: Path) -> Mlp:
    """The policy's mean, in [-1, 1] of the range of its actions.

    Raises:
        DataError: damaged, or another kind of network or of actions.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            settings = json_object(_content(path, archive, SETTINGS), f"{path}: {SETTINGS}")
            weights = _weights(f"{path}: {WEIGHTS}", _content(path, archive, WEIGHTS))
    except _DAMAGED as error:
        raise data_error(error, str(path), "damaged, or not a policy of Stable-Baselines3", "fetch it again") from None
    kwargs = member(settings, "policy_kwargs", dict, f"{path}: {SETTINGS}") or {}
    expert = _policy(path, settings, kwargs, weights)
    if any(name.startswith("action_net.") for name in weights) and settings.get("_last_original_obs") is not None:
        expert.remark = _NORMALISED
    return expert


def _content(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    affordable(f"{path}: {name}", info.file_size, min(info.compress_size, path.stat().st_size))
    return archive.read(info)


def _weights(where: str, content: bytes) -> dict[str, Array]:
    """The numbers of the actor by their names; those of critics are left alone."""
    stored = InZip(content if content.startswith(b"PK") else _saved_again(where, content), where)
    found = stored.by_name()
    ours = [name for name in found if re.match(_ACTOR, name)]
    foreign = [name for name in found if re.match(_FOREIGN, name)]
    foreign += [name for name in ours if name.rpartition(".")[2] not in ("weight", "bias", "log_std")]
    if foreign:
        raise DataError(f"{where}: the policy's {short(foreign[0])} is no part of a perceptron", _OTHER)
    return {name: stored.tensor(found[name], f"{where}: {short(name)}") for name in ours}


def _saved_again(where: str, content: bytes) -> bytes:
    """Weights in the format of PyTorch before 1.6, in today's."""
    import torch

    again = io.BytesIO()
    try:
        torch.save(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), again)
    except Exception as error:  # torch's own refusals, and whatever its readers raise on damaged files
        raise data_error(error, where, "damaged, or more than weights", "fetch it again") from None
    return again.getvalue()


def _policy(path: Path, settings: dict[str, Any], kwargs: dict[str, Any], weights: dict[str, Array]) -> Mlp:
    activation = "relu"
    last: Activation = np.tanh
    if layers := _layers(path, weights, "actor.latent_pi"):
        if "actor.mu.0.weight" in weights:
            end = number(kwargs.get("clip_mean", _CLIP_MEAN), f"{path}: policy_kwargs: clip_mean")
            last = lambda x: np.tanh(np.clip(x, -end, end))  # noqa: E731
            layers += _layers(path, weights, "actor.mu")
        else:
            layers.append(_layer(path, weights, "actor.mu"))
    elif (layers := _layers(path, weights, "actor.mu")) or (layers := _layers(path, weights, "action_net")):
        pass
    elif "action_net.weight" in weights:
        layers = [
            layer for part in ("shared_net", "policy_net") for layer in _layers(path, weights, f"mlp_extractor.{part}")
        ]
        layers.append(_layer(path, weights, "action_net"))
        activation = "tanh"
        if kwargs.get("squash_output") is not True:
            last = _in_range(*_range(path, settings, len(layers[-1].bias)))
    else:
        raise DataError(f"{path}: no actor in the policy's weights", _OTHER)
    _range(path, settings, len(layers[-1].bias))
    named = kwargs.get("activation_fn")
    if isinstance(named, str):  # "<class 'torch.nn.modules.activation.ReLU'>"
        activation = named.rstrip("'>").rpartition(".")[2].lower()
    return Mlp("a policy of Stable-Baselines3, its mean", str(path), layers, activation, last=last)


def _layers(path: Path, weights: dict[str, Array], prefix: str) -> list[DenseLayer]:
    """The numbered layers of a sequence, in order."""
    found = [re.fullmatch(re.escape(prefix) + r"\.(\d{1,4})\.weight", name) for name in weights]
    return [_layer(path, weights, f"{prefix}.{i}") for i in sorted(int(m[1]) for m in found if m)]


def _layer(path: Path, weights: dict[str, Array], name: str) -> DenseLayer:
    weight = weights.get(f"{name}.weight")
    if weight is None or weight.ndim != 2:
        raise DataError(f"{path}: {name} is no layer of a perceptron", _OTHER)
    return DenseLayer(weight, weights.get(f"{name}.bias", np.zeros(len(weight))))


def _range(path: Path, settings: dict[str, Any], dims: int) -> tuple[Array, Array]:
    """Least and largest actions (A,), from the text beside the pickled space."""
    where = f"{path}: action_space"
    space = member(settings, "action_space", dict, f"{path}: {SETTINGS}") or {}
    kind = member(space, ":type:", str, where) or "of no kind"
    if "box.Box" not in kind:
        raise DataError(f"{where} is {short(kind)}", _OTHER)
    ends = []
    for name in ("low", "high"):
        text = member(space, name, str, where) or ""
        numbers = [float(x) for x in re.findall(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?", text)]
        ends.append(np.array(numbers * dims if len(numbers) == 1 else numbers))
        if ends[-1].shape != (dims,) or not np.isfinite(ends[-1]).all():
            raise DataError(f"{where}: {name} is {short(text) or 'nothing'}, expected {dims} numbers")
    if not (ends[0] < ends[1]).all():
        raise DataError(f"{where}: low is not below high")
    return ends[0], ends[1]


def _in_range(low: Array, high: Array) -> Activation:
    return lambda x: np.clip(2.0 * (x - low) / (high - low) - 1.0, -1.0, 1.0)
