"""A policy that ``omp export`` wrote, by ONNX Runtime or ``torch.export``.

Legend: B batch, T observation steps, H horizon, E executed steps, A action dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omp_cli.core.base.device import tf32
from omp_cli.core.base.errors import DataError, MissingDependency, UsageError, data_error
from omp_cli.core.base.files import is_lfs_pointer, read_json, seal_of, sha256_of
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.checkpoint import GRAPHS, MODEL, Checkpoint, checkpoint_of
from omp_cli.core.deploy.backends import BACKENDS
from omp_cli.core.deploy.decider import Decider
from omp_cli.core.deploy.export import SIGNATURE, SIGNATURE_SCHEMA
from omp_cli.core.deploy.frames import Array, Arrays, Signature
from omp_cli.core.deploy.onnx_runtime import session
from omp_cli.core.deploy.program import ONNX_INSTALL, ONNX_PACKAGES, missing_packages
from omp_cli.core.policy_config import Weights
from omp_cli.core.spec import Rotation, Spec, check_rotations, learned_dim

DTYPES = ("float32", "uint8")
LARGEST = 1 << 28
"""No array of a policy has as many numbers, and no rate is as high."""
CHANGED = "content does not match its hash, so it was changed or is damaged"
AGAIN = "export the policy again"


def export_at(path: Path) -> Path | None:
    """The export that a path means: its folder, a file of a graph, or the ``policy.json`` that stands for its folder.

    None where it means none; a checkpoint has a ``policy.json`` too, and weights beside it.
    """
    if path.suffix in GRAPHS:
        return path
    folder = path.parent if path.name == SIGNATURE else path
    return folder if (folder / SIGNATURE).is_file() and not (folder / MODEL).is_file() else None


class OfExport(Decider):
    """A graph and the ``policy.json`` beside it.

    Loading ``policy.onnx`` parses a graph of known operators and runs no code from the file. ``torch.export.load`` can
    fall back to unpickling, which runs any code: so a folder means its .onnx, and a .pt2 has to be named.
    """

    kind = "export"

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.device = _graph(path), device
        about = self.path.parent / SIGNATURE
        document = read_json(about, "export")
        if not isinstance(document, dict) or document.get("schema_version") != SIGNATURE_SCHEMA:
            raise DataError(f"export {about}: not a signature that this omp reads", AGAIN)
        if "seal" in document and document["seal"] != seal_of(document):
            raise DataError(f"export {about}: {CHANGED}", AGAIN)
        if is_lfs_pointer(self.path):
            hint = "git lfs pull, in the clone it is in"
            raise DataError(f"export {self.path}: a Git LFS pointer, not the file itself", hint)
        self._sha256 = sha256_of(self.path)
        try:
            if document.get("files", {}).get(self.path.name) != self._sha256:
                raise DataError(f"export {self.path}: {CHANGED}", AGAIN)
            self._inputs = [x["name"] for x in document["inputs"]]
            self.weights, self.reference, self.suite, self.spec = _of_its_run(document)
            self._made_of = document.get("checkpoint_sha256")
            self.generative = document.get("generative", True) is not False  # an earlier omp did not say it
            self.signature = _signature(document, self.sensing[1])
            if self.spec is not None and self.spec.action_dim != self.signature.action_dim:
                raise ValueError("its spec is of other actions")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise data_error(error, f"export {about}", "not as omp export writes it", AGAIN) from None
        load, self._runtime = (_onnx, "ONNX Runtime") if self.path.suffix == ".onnx" else (_pt2, "torch.export")
        with tf32(False):
            self._run = load(self.path, self._inputs, device)

    def decide(self, history: Arrays, noise: Tensor) -> NDArray[np.float32]:
        """See the base class; UsageError for another batch than the graph was made for."""
        batch = self.signature.batch
        if batch is not None and len(noise) != batch:
            hint = "export with --dynamic-batch, or name the run itself"
            raise UsageError(f"{self.path}: the graph takes {batch} decisions per call, not {len(noise)}", hint)
        return self._run({"noise": noise.numpy(), **history})

    def figures(self) -> dict[str, Any]:
        """See the base class."""
        return {"runtime": self._runtime}

    def checkpoint(self) -> Checkpoint:
        """See the base class."""
        folder = self.path.parent
        recorded: list[str] = []
        with suppress(DataError):  # a copy without its manifest
            recorded = [i.path for i in read_manifest(folder).inputs if i.kind == "checkpoint"]
        for path in recorded:
            if (found := checkpoint_of(folder, path, self._made_of)) is not None:
                return found
        lost = f"is not at {', '.join(recorded)}" if recorded else "is told by a manifest.json that is not beside it"
        raise DataError(
            f"export {self.path}: the checkpoint that it was made of {lost}",
            "copy it there; without it: omp.evaluate(omp.load(EXPORT), env), in an environment of yours",
        )

    def sha256(self) -> str:
        """See the base class."""
        return self._sha256


def _graph(path: Path) -> Path:
    """The file to run."""
    file = path / "policy.onnx" if path.is_dir() else path
    if not file.is_file():
        other = file.with_suffix(".pt2")
        hint = f"name {other} if you made it yourself: loading it can run code" if other.is_file() else AGAIN
        raise DataError(f"export {file}: no such file", hint)
    return file


def _signature(document: dict[str, Any], made_of: Mapping[str, tuple[str, ...]]) -> Signature:
    """``policy.json`` as a signature; ValueError and its kin where it is not as ``omp export`` writes it."""
    noise, *seen = document["inputs"]
    for x in document["inputs"]:
        sizes = [1 if size == "batch" else size for size in x["shape"]]
        if not all(type(size) is int and 0 < size < LARGEST for size in sizes) or math.prod(sizes) > LARGEST:
            raise ValueError(f"input {str(x['name'])[:60]!r} has the shape {str(x['shape'])[:60]}")
        if x["dtype"] not in DTYPES:
            raise ValueError(f"an input is of type {str(x['dtype'])[:60]!r}")
    if noise["name"] != "noise" or len(noise["shape"]) != 3 or not seen:
        raise ValueError("its first input is not the noise")
    for name, kinds in (("control_hz", (int, float)), ("execute", int), ("n_obs", int), ("nfe", int)):
        value = document[name]
        if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value < LARGEST:
            raise ValueError(f"{name} is {str(value)[:60]!r}")
    if any(x["shape"][1] != document["n_obs"] for x in seen):
        raise ValueError("an input has another number of frames than n_obs")
    batch, horizon, learned = noise["shape"]
    output, max_steps = document["output"], document.get("max_steps")
    rotations = tuple(Rotation.model_validate(found) for found in output.get("rotations", ()))
    _, _, action_dim = output["shape"]
    check_rotations("rotations", rotations, set(range(action_dim)))
    if learned_dim(action_dim, rotations) != learned:
        raise ValueError(f"actions have {action_dim} numbers, and their noise has {learned}")
    return Signature(
        str(document["suite"]),
        str(document["task"]),
        {str(x["name"]): Array(tuple(x["shape"][2:]), x["dtype"]) for x in seen},
        document["n_obs"],
        horizon,
        document["execute"],
        action_dim,
        float(document["control_hz"]),
        None if max_steps is None else int(max_steps),  # exports of before do not say it, nor the unit
        document["nfe"],
        None if batch == "batch" else batch,
        tuple(map(str, output.get("names", ()))),
        str(document.get("action_unit", "")),
        _action_range(output, action_dim) if "low" in output else None,
        next((tuple(map(str, x.get("cameras", ()))) for x in seen if x["name"] == "img"), ()),
        made_of,
        rotations,
    )


def _action_range(output: Mapping[str, Any], action_dim: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """``Signature.action_range``; ValueError where it is not one of so many numbers."""
    low, high = (tuple(map(float, output[end])) for end in ("low", "high"))
    if not len(low) == len(high) == action_dim:
        raise ValueError(f"the range of {action_dim} numbers has {len(low)} and {len(high)}")
    return low, high


def _of_its_run(
    document: dict[str, Any],
) -> tuple[Weights, Mapping[str, Any] | None, Mapping[str, Any] | None, Spec | None]:
    """``Decider.weights``, ``reference``, ``suite`` and ``spec``, of which older exports tell the first alone.

    ValueError where they are not what ``omp export`` writes.
    """
    weights, reference, suite = document["weights"], document.get("reference"), document.get("suite_settings")
    if weights not in get_args(Weights):
        raise ValueError(f"weights is {str(weights)[:60]!r}")
    if reference is not None and not isinstance(reference, dict):
        raise ValueError(f"reference is {str(reference)[:60]!r}")
    if suite is not None and (not isinstance(suite, dict) or suite.get("name") != document["suite"]):
        raise ValueError("its suite_settings are not of its suite")
    spec = Spec.model_validate(document["spec"]) if "spec" in document else None
    if spec is not None and spec.suite != document["suite"]:
        raise ValueError("its spec is of another suite")
    return weights, reference, suite, spec


Runner = Callable[[Arrays], NDArray[np.float32]]


def _onnx(file: Path, names: list[str], device: torch.device) -> Runner:
    if absent := missing_packages(ONNX_PACKAGES[-1:]):
        raise MissingDependency(f"{file} needs {', '.join(absent)}", f"install: {ONNX_INSTALL}")
    if reason := BACKENDS["onnx"].missing(device):
        raise MissingDependency(reason, "use --device cpu")
    try:
        loaded = session(file, device)
    except Exception as error:  # onnxruntime's errors have no common base of their own
        raise data_error(error, f"export {file}", "damaged, or no ONNX graph", AGAIN) from None
    if (known := sorted(x.name for x in loaded.get_inputs())) != sorted(names):
        raise DataError(
            f"export {file}: takes {', '.join(known)}, {SIGNATURE} beside it says {', '.join(names)}", AGAIN
        )
    return lambda arrays: np.asarray(loaded.run(None, {name: arrays[name] for name in names})[0])


def _pt2(file: Path, names: list[str], device: torch.device) -> Runner:
    if device.type != "cpu":
        raise UsageError(f"{file}: exported on the CPU, and runs there", "use --device cpu, or policy.onnx")
    try:
        module = torch.export.load(str(file)).module()
    except Exception as error:  # zipfile's, pickle's, json's and torch's own
        raise data_error(error, f"export {file}", "damaged, or not torch.export's file", AGAIN) from None

    def run(arrays: Arrays) -> NDArray[np.float32]:
        with torch.no_grad():
            actions: Tensor = module(*(torch.from_numpy(arrays[name]) for name in names))
        return actions.numpy()

    return run
