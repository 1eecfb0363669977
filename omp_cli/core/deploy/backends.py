"""Runtimes that execute a module of tensors with fixed shapes, and the proof that they compute what eager computes.

    for name in BACKENDS:
        outcome = checked(name, module, samples, folder)  # samples[0] is placed: outcome.prepared.call() runs it
        print(outcome.status, outcome.reason, outcome.difference)

A module is anything that takes tensors and returns one, such as ``graph.Decision``; it and its inputs are on their
device and in their dtype before they come here. A backend that cannot run here, fails to build or gives
another answer than eager comes back with the reason instead of a ``Prepared``: it can be listed, never timed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from omp_cli.core.base.device import recording, recording_stream
from omp_cli.core.base.errors import UsageError, did_you_mean, one_line
from omp_cli.core.deploy.base import Backend, Inputs, Prepared
from omp_cli.core.deploy.folding import folded
from omp_cli.core.deploy.parity import Difference, difference
from omp_cli.core.deploy.program import ONNX_INSTALL, ONNX_PACKAGES, exported, missing_packages, quiet, write_onnx
from omp_cli.core.spec import Rotation


class Function(Prepared):
    """A callable on the placed tensors themselves.

    Args:
        function: takes the inputs, returns the output.
        inputs: placed first.
        mode: the context without gradients in which it is called.
    """

    def __init__(self, function: Callable[..., Tensor], inputs: Inputs, mode: Callable[[], Any]) -> None:
        self._function, self._inputs, self._mode = function, inputs, mode

    def place(self, *inputs: Tensor) -> None:
        """Keep a reference."""
        self._inputs = inputs

    def call(self) -> Tensor:
        """Call the function."""
        with self._mode():
            return self._function(*self._inputs)


class Captured(Prepared):
    """A CUDA graph over static copies of the inputs. Warm-up on a side stream, as CUDA asks; one launch per call.

    Args:
        function: launches its kernels without waiting for the device and without copies from the host.
        inputs: on a CUDA device; their copies are placed.
    """

    WARM_UP = 3

    def __init__(self, function: Callable[..., Tensor], inputs: Inputs) -> None:
        self._static = tuple(x.clone() for x in inputs)
        with torch.cuda.device(inputs[0].device), torch.no_grad():
            side = recording_stream(inputs[0].device)
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(self.WARM_UP):
                    function(*self._static)
            torch.cuda.current_stream().wait_stream(side)
            torch.cuda.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            with recording(self._graph, inputs[0].device):
                self._output = function(*self._static)
        self._function = function  # its weights must outlive the graph, which only knows their addresses

    def place(self, *inputs: Tensor) -> None:
        """Copy into the static inputs."""
        for static, new in zip(self._static, inputs, strict=True):
            static.copy_(new, non_blocking=True)

    def call(self) -> Tensor:
        """Replay the graph."""
        self._graph.replay()
        return self._output


def captured(module: nn.Module, inputs: Inputs) -> Captured:
    """A CUDA graph of what depends on the inputs; the module's weights count as they are now."""
    return Captured(folded(module, inputs), inputs)


class Eager(Backend):
    """PyTorch as it is, in inference mode."""

    name = "eager"

    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """Nothing ever is."""
        return None

    def prepare(self, module: nn.Module, inputs: Inputs, folder: Path) -> Prepared:
        """The module itself."""
        return Function(module, inputs, torch.inference_mode)


class Compile(Backend):
    """``torch.compile`` with Inductor: one graph, fixed shapes."""

    name = "compile"

    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """Without a C++ compiler, and on CUDA Triton."""
        return _no_inductor(device)

    def prepare(self, module: nn.Module, inputs: Inputs, folder: Path) -> Prepared:
        """Compiles at the first call."""
        return Function(_compiled(module), inputs, torch.no_grad)


class CudaGraph(Backend):
    """The eager kernels, those left out that depend on no input, captured once and replayed with one launch."""

    name = "cudagraph"

    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """Anywhere but on CUDA."""
        return None if device.type == "cuda" else "needs an NVIDIA GPU: use --device cuda on a machine that has one"

    def prepare(self, module: nn.Module, inputs: Inputs, folder: Path) -> Prepared:
        """Warm-up and capture."""
        return captured(module, inputs)


class CompileCudaGraph(CudaGraph):
    """Inductor's kernels, captured and replayed."""

    name = "compile-cudagraph"

    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """See the two backends that it is made of."""
        return super().missing(device, dtype) or _no_inductor(device)

    def prepare(self, module: nn.Module, inputs: Inputs, folder: Path) -> Prepared:
        """Compiles during the warm-up, then captures."""
        return Captured(_compiled(folded(module, inputs)), inputs)


class Aoti(Backend):
    """``torch.export`` and AOTInductor: a shared library, without the part of torch.compile that runs in Python."""

    name = "aoti"

    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """Without a C++ compiler, on CUDA Triton, and there before torch 2.12."""
        if device.type == "cuda" and torch.__version__ < "2.12":  # compared as versions
            return "torch's own loader of AOTInductor dies on CUDA (2.11: signal 11): take torch 2.12 or later"
        return _no_inductor(device)

    def prepare(self, module: nn.Module, inputs: Inputs, folder: Path) -> Prepared:
        """Writes and loads ``folder/aoti.pt2``."""
        from torch._inductor import aoti_compile_and_package, aoti_load_package

        folder.mkdir(parents=True, exist_ok=True)
        package = aoti_compile_and_package(exported(module, inputs), package_path=str(folder / "aoti.pt2"))
        return Function(aoti_load_package(package), inputs, torch.no_grad)


class Onnx(Backend):
    """ONNX Runtime on the file that ``omp export`` writes, with as many threads as torch has."""

    name = "onnx"

    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """Without its packages, in bfloat16, and on a device that they do not know."""
        if absent := missing_packages(ONNX_PACKAGES):
            return f"needs {', '.join(absent)}: {ONNX_INSTALL}"
        if dtype == torch.bfloat16:
            return "ONNX Runtime lacks bfloat16 kernels: use float32"
        if device.type not in ("cpu", "cuda"):
            return f"ONNX Runtime does not read tensors on {device.type}: use --device cpu"
        if device.type == "cuda" and "CUDAExecutionProvider" not in _onnx_providers():
            return "this ONNX Runtime has no CUDA: pip install onnxruntime-gpu in the place of onnxruntime"
        return None

    def prepare(self, module: nn.Module, inputs: Inputs, folder: Path) -> Prepared:
        """Writes and loads ``folder/module.onnx``."""
        from omp_cli.core.deploy.onnx_runtime import OnnxPrepared

        folder.mkdir(parents=True, exist_ok=True)
        file = write_onnx(exported(module, inputs), folder / "module.onnx", [f"x{i}" for i in range(len(inputs))])
        return OnnxPrepared(file, inputs)


_ALL: tuple[Backend, ...] = (Eager(), Compile(), CudaGraph(), CompileCudaGraph(), Aoti(), Onnx())
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _ALL}
"""All backends by name, eager first."""


def find(name: str) -> Backend:
    """The backend of that name; UsageError with the nearest names otherwise."""
    if name not in BACKENDS:
        raise UsageError(f"unknown backend {name!r}", did_you_mean(name, BACKENDS))
    return BACKENDS[name]


@dataclass(frozen=True)
class CheckedBackend:
    """What came of one backend.

    Attributes:
        backend: name of the backend.
        status: "ready", "missing" (cannot run here), "failed" (did not build or run) or "refused" (another answer).
        reason: one line for all but "ready", else "".
        prepared: with the first sample placed; only when ready.
        difference: from eager, when there was an output to compare.
    """

    backend: str
    status: Literal["ready", "missing", "failed", "refused"]
    reason: str = ""
    prepared: Prepared | None = None
    difference: Difference | None = None


def checked(
    name: str, module: nn.Module, samples: Sequence[Inputs], folder: Path, rotations: Sequence[Rotation] = ()
) -> CheckedBackend:
    """Prepare a backend and compare it with eager on every sample.

    Args:
        name: name of the backend; UsageError when there is none of that name.
        module: the module, in evaluation mode and on its device.
        samples: at least three inputs of the same shapes that differ, on the module's device.
        folder: where compiled files go; kept as long as the backend is in use, and not shared with another call.
        rotations: those of the module's answer.
    """
    if len(samples) < 3:
        raise ValueError(f"{len(samples)} samples: at least 3 are needed for a comparison")
    chosen = find(name)
    dtype = dtype_of(module, samples[0])
    if reason := chosen.missing(samples[0][0].device, dtype):
        return CheckedBackend(name, "missing", reason)
    eager = BACKENDS["eager"].prepare(module, samples[0], folder)
    references = [eager.run(*sample) for sample in samples]
    start = time.perf_counter()
    try:
        with quiet():
            prepared = chosen.prepare(module, samples[0], folder)
            prepared.run(*samples[0])
        prepared.seconds = time.perf_counter() - start
        found = difference(references, [prepared.run(*sample) for sample in samples], dtype, rotations)
        prepared.place(*samples[0])
    except Exception as error:  # each runtime has errors of its own; they are listed, not hidden
        return CheckedBackend(name, "failed", one_line(error, 200, typed=True))
    if not found.accepted:
        return CheckedBackend(name, "refused", f"differs from eager: {found}", None, found)
    return CheckedBackend(name, "ready", "", prepared, found)


def dtype_of(module: nn.Module, inputs: Inputs) -> torch.dtype:
    """The shortest floating type in which the module computes, by its parameters, else by its inputs."""
    floats = [[x.dtype for x in some if x.is_floating_point()] for some in (module.parameters(), inputs)]
    return min(floats[0] or floats[1], key=lambda dtype: torch.finfo(dtype).bits, default=torch.float32)


def _onnx_providers() -> list[str]:
    import onnxruntime

    return onnxruntime.get_available_providers()


def _compiled(module: nn.Module) -> Callable[..., Tensor]:
    return torch.compile(module, fullgraph=True, dynamic=False)


def _no_inductor(device: torch.device) -> str | None:
    """Why Inductor cannot generate code for this device."""
    if device.type == "cuda" and missing_packages(["triton"]):
        return "needs Triton: install torch's CUDA build for Linux"
    compiler = os.environ.get("CXX") or ("clang++" if not shutil.which("g++") and shutil.which("clang++") else "g++")
    if shutil.which(compiler.split()[0]) is None:
        return f"needs a C++ compiler ({compiler} is not on PATH): install g++, or set CXX"
    return None
