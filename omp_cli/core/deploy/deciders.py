"""From a path to what decides: a checkpoint's policy in PyTorch, or one that ``omp export`` wrote.

Legend: B batch, T observation steps, H horizon, E executed steps, A action dimension.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omp_cli.core.base.device import check_tf32, pick_device
from omp_cli.core.base.errors import UsageError
from omp_cli.core.checkpoint import Checkpoint, open_run
from omp_cli.core.deploy.backends import BACKENDS
from omp_cli.core.deploy.decider import Decider
from omp_cli.core.deploy.deciding import Deciding
from omp_cli.core.deploy.exported import OfExport, export_at
from omp_cli.core.deploy.frames import Arrays, Signature, arrays_of
from omp_cli.core.policy_config import Graph, Precision, Weights


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
        self._checkpoint, self.path, self.device = checkpoint, checkpoint.path, device
        self.weights, self.suite, self.reference = weights, checkpoint.meta.suite, checkpoint.meta.reference
        self.precision, self.graph = precision, graph
        self.policy = checkpoint.load(weights, device)
        self.generative = self.policy.method.generative
        self._deciding = Deciding(self.policy, nfe or self.policy.nfe, graph, precision)
        self.against_float32 = self._deciding.against_float32
        spec, chunk = checkpoint.meta.spec, self.policy.chunk
        self.spec = spec
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
            action_range=self.policy.action_range(),
            cameras=spec.cameras,
            made_of=self.sensing[1],
            action_rotations=spec.action_rotations,
        )

    def decide(self, history: Arrays, noise: Tensor) -> NDArray[np.float32]:
        """See the base class."""
        return self._deciding({name: torch.from_numpy(x) for name, x in history.items()}, noise).cpu().numpy()

    def ready(self) -> None:
        """Make the graph of single decisions now; see ``Deciding.ready``."""
        self._deciding.ready()

    def figures(self) -> dict[str, Any]:
        """See the base class."""
        return self._deciding.figures()

    def checkpoint(self) -> Checkpoint:
        """See the base class."""
        return self._checkpoint

    def sha256(self) -> str:
        """See the base class."""
        return self._checkpoint.sha256()


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
        UsageError: one of these was named for an export, which has them inside; or a graph or a precision that the
            device has not.
        DataError: nothing there, or damaged.
        MissingDependency: a package or the device is missing.
    """
    if (export := export_at(path)) is not None:
        own = {"weights": weights, "nfe": nfe, "graph": graph, "precision": precision}
        for name, value in own.items():
            if value not in (None, "auto", "fp32"):
                raise UsageError(f"{name}: an export has it inside its graph", "leave it out, or name the run itself")
        where = torch.device("cpu") if device == "auto" and not _onnx_on_cuda(export) else pick_device(device)
        return OfExport(export, where)
    where = pick_device(device)
    check_tf32("precision", precision, where)
    found = OfCheckpoint(open_run(path)[-1], weights or "ema", where, nfe, graph, precision)
    found.ready()
    return found


def _onnx_on_cuda(path: Path) -> bool:
    return path.suffix != ".pt2" and torch.cuda.is_available() and not BACKENDS["onnx"].missing(torch.device("cuda"))
