"""What decides: a policy from a checkpoint, or one that ``omp export`` wrote; noise and history in, a chunk out.

Legend: B batch, T observation steps, H horizon, E executed steps, A action dimension.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omp_cli.core.base.device import pick_device
from omp_cli.core.base.errors import DataError, MissingDependency, UsageError, data_error, diverged_action
from omp_cli.core.base.files import is_lfs_pointer, read_json, seal_of, sha256_of
from omp_cli.core.checkpoint import MODEL, Checkpoint, open_run
from omp_cli.core.deploy.backends import BACKENDS
from omp_cli.core.deploy.deciding import Deciding
from omp_cli.core.deploy.export import SIGNATURE, SIGNATURE_SCHEMA
from omp_cli.core.deploy.frames import Array, Arrays, Signature, arrays_of, as_read_by
from omp_cli.core.deploy.onnx_runtime import session
from omp_cli.core.deploy.parity import Difference
from omp_cli.core.deploy.program import ONNX_INSTALL, ONNX_PACKAGES, missing_packages
from omp_cli.core.policy_config import Graph, Precision, Weights

GRAPHS = (".onnx", ".pt2")
DTYPES = ("float32", "uint8")
LARGEST = 1 << 28
"""No array of a policy has as many numbers, and no rate is as high."""
CHANGED = "content does not match its hash, so it was changed or is damaged"
AGAIN = "export the policy again"


class Decider(ABC):
    """Decides for whole histories.

    Attributes:
        signature: what goes in and what comes out.
        path: the checkpoint, or the file of the graph.
        kind: "checkpoint" or "export".
        device: where it decides.
        weights: which weights of a checkpoint are used; None for an export.
        suite: as plain data, the settings with which the policy's data were shown; None where nothing says so.
        against_float32: how far the lower precision of a checkpoint's network moves its actions; None in float32.
    """

    signature: Signature
    path: Path
    kind: str
    device: torch.device
    weights: Weights | None = None
    suite: Mapping[str, Any] | None = None
    against_float32: Difference | None = None

    @abstractmethod
    def decide(self, history: Arrays, noise: Tensor) -> NDArray[np.float32]:
        """Arrays (B, T, ...) and noise z_1 (B, H, A) -> actions to execute (B, E, A), in the data's units."""

    @abstractmethod
    def sha256(self) -> str:
        """Hash of the file that is executed, for a manifest."""

    def figures(self) -> dict[str, Any]:
        """For a manifest: what executes decisions, "runtime", and what a lower precision changed in the actions."""
        return {}

    def chunk(self, history: Arrays, noise: Tensor) -> NDArray[np.float32]:
        """``decide``; Diverged when an action is not finite: nothing may be moved by it."""
        actions = self.decide(history, noise)
        if not np.isfinite(actions).all():
            raise diverged_action(str(self.path), "take")
        return actions


class OfCheckpoint(Decider):
    """A checkpoint's policy in PyTorch; see ``Deciding`` for ``graph`` and ``precision``.

    Attributes:
        policy: the module itself, which its owner may move to another device.
    """

    kind = "checkpoint"

    def __init__(
        self,
        checkpoint: Checkpoint,
        weights: Weights,
        device: torch.device,
        nfe: int | None,
        graph: Graph = "auto",
        precision: Precision = "fp32",
    ) -> None:
        self.checkpoint, self.path, self.device = checkpoint, checkpoint.path, device
        self.weights, self.suite = weights, checkpoint.meta.suite
        self.policy = checkpoint.load(weights, device)
        self._deciding = Deciding(self.policy, nfe or self.policy.nfe, graph, precision)
        self._deciding.ready()
        self.against_float32 = self._deciding.against_float32
        spec, chunk = checkpoint.meta.spec, self.policy.chunk
        self.signature = Signature(
            spec.suite,
            spec.task,
            arrays_of(spec, self.policy.keys),
            chunk.n_obs,
            chunk.horizon,
            chunk.execute,
            spec.action_dim,
            spec.control_hz,
            spec.max_steps,
            nfe or self.policy.nfe,
            action_names=() if spec.action_channels is None else spec.action_channels.names,
            action_unit=spec.action_unit,
            cameras=spec.cameras,
            made_of=as_read_by(self.suite)[1],
        )

    def decide(self, history: Arrays, noise: Tensor) -> NDArray[np.float32]:
        """See the base class."""
        return self._deciding({name: torch.from_numpy(x) for name, x in history.items()}, noise).cpu().numpy()

    def figures(self) -> dict[str, Any]:
        """See the base class."""
        return self._deciding.figures()

    def sha256(self) -> str:
        """See the base class."""
        return self.checkpoint.sha256()


class OfExport(Decider):
    """A graph that ``omp export`` wrote, by ONNX Runtime or ``torch.export``.

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
            self.suite = _suite(document)
            self.signature = _signature(document, as_read_by(self.suite)[1])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise data_error(error, f"export {about}", "not as omp export writes it", AGAIN) from None
        load, self._runtime = (_onnx, "ONNX Runtime") if self.path.suffix == ".onnx" else (_pt2, "torch.export")
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

    def sha256(self) -> str:
        """See the base class."""
        return self._sha256


def open_decider(
    path: Path,
    device: str = "auto",
    weights: Weights | None = None,
    nfe: int | None = None,
    graph: Graph = "auto",
    precision: Precision = "fp32",
) -> Decider:
    """What a run's folder, a checkpoint's, an export's, or the file of an export holds.

    Args:
        path: the folder or the file.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps"; an export runs on "cpu" or, with an ONNX Runtime for it, CUDA.
        weights: which weights of a checkpoint are used; None for its moving average.
        nfe: evaluations per decision of a checkpoint; None for its own.
        graph: whether a checkpoint's decisions on CUDA are replayed graphs.
        precision: precision of a checkpoint's network.

    Raises:
        UsageError: one of these was named for an export, which has them inside; or a graph that the device has not.
        DataError: nothing there, or damaged.
        MissingDependency: a package or the device is missing.
    """
    if path.suffix in GRAPHS or is_export(path):
        own = {"weights": weights, "nfe": nfe, "graph": graph, "precision": precision}
        for name, value in own.items():
            if value not in (None, "auto", "fp32"):
                raise UsageError(f"{name}: an export has it inside its graph", "leave it out, or name the run itself")
        where = torch.device("cpu") if device == "auto" and not _onnx_on_cuda(path) else pick_device(device)
        return OfExport(path, where)
    return OfCheckpoint(open_run(path)[-1], weights or "ema", pick_device(device), nfe, graph, precision)


def is_export(path: Path) -> bool:
    """Whether a folder is one of ``omp export``; a checkpoint has a ``policy.json`` too, and weights beside it."""
    return (path / SIGNATURE).is_file() and not (path / MODEL).is_file()


def _onnx_on_cuda(path: Path) -> bool:
    return path.suffix != ".pt2" and torch.cuda.is_available() and not BACKENDS["onnx"].missing(torch.device("cuda"))


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
    batch, horizon, action_dim = noise["shape"]
    return Signature(
        str(document["suite"]),
        str(document["task"]),
        {str(x["name"]): Array(tuple(x["shape"][2:]), x["dtype"]) for x in seen},
        document["n_obs"],
        horizon,
        document["execute"],
        action_dim,
        float(document["control_hz"]),
        None,
        document["nfe"],
        None if batch == "batch" else batch,
        tuple(map(str, document["output"].get("names", ()))),
        str(document.get("action_unit", "")),  # exports of before do not say it
        next((tuple(map(str, x.get("cameras", ()))) for x in seen if x["name"] == "img"), ()),
        made_of,
    )


def _suite(document: dict[str, Any]) -> Mapping[str, Any] | None:
    """Settings of the suite, which older exports do not tell; ValueError where they are none."""
    found = document.get("suite_settings")
    if found is not None and (not isinstance(found, dict) or found.get("name") != document["suite"]):
        raise ValueError("its suite_settings are not of its suite")
    return found


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
