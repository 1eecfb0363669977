"""Writing checkpoints: whole or not there, by threads that leave the interpreter to the training."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from omp_cli.core.base.files import atomic, fsync_tree, remove, seal_of, sha256_of, write_json
from omp_cli.core.checkpoint import EMA, META, MODEL, TRAINING, CheckpointMeta, checkpoint_path, checkpoints_in
from omp_cli.core.policy import Policy

States = Mapping[str, Mapping[str, Tensor]]
"""Tensors by the file of a checkpoint that they belong to."""


def copied_states(policy: Policy, ema: Policy, training: Mapping[str, Tensor]) -> States:
    """What a checkpoint holds of the present moment, copied to the CPU; the largest file first."""
    states = {TRAINING: training, MODEL: policy.state_dict(), EMA: ema.state_dict()}
    return {file: {name: _copied(tensor) for name, tensor in state.items()} for file, state in states.items()}


def save_checkpoint(folder: Path, meta: CheckpointMeta, states: States) -> Path:
    """Write ``folder/step-XXXXXXXX`` so that it is whole or not there; earlier ones lose their optimiser state."""
    path = checkpoint_path(folder, meta.step)
    with atomic(path) as temporary:
        temporary.mkdir()
        with ThreadPoolExecutor(len(states)) as pool:
            written = {file: pool.submit(_written, temporary / file, state) for file, state in states.items()}
        hashes = {file: written[file].result() for file in (MODEL, EMA, TRAINING)}
        absent = {name for name in ("held_out", "frozen_from") if not getattr(meta, name)}
        document = meta.model_copy(update={"files": hashes}).model_dump(mode="json", exclude=absent)
        write_json(temporary / META, {**document, "seal": seal_of(document)})
    for older in checkpoints_in(folder):
        if older != path:
            remove(older / TRAINING)
    return path


def _written(file: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write and flush a file; its SHA-256. All three leave the interpreter to other threads meanwhile."""
    save_file(dict(tensors), file)
    fsync_tree(file)
    return sha256_of(file)


def thin(folder: Path, keep: int) -> None:
    """Delete old checkpoints beyond ``keep``, evenly over the run; the newest always stays."""
    paths = checkpoints_in(folder)
    while len(paths) > max(keep, 1):
        steps = [int(p.name.removeprefix("step-")) for p in paths]
        gaps = [steps[i + 1] - (steps[i - 1] if i else 0) for i in range(len(steps) - 1)]
        remove(paths.pop(gaps.index(min(gaps))))


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
