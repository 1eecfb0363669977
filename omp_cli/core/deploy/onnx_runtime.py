"""ONNX Runtime on torch's own memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omp_cli.core.deploy.base import Inputs, Prepared

_NUMPY = {torch.float32: "float32", torch.float64: "float64", torch.float16: "float16", torch.uint8: "uint8"}
_TORCH = {"tensor(float)": torch.float32, "tensor(double)": torch.float64, "tensor(float16)": torch.float16}


def session(file: Path, device: torch.device) -> Any:
    """An ``onnxruntime.InferenceSession`` with all graph optimisations and as many threads as torch has.

    On CUDA its products round as torch's do now (``base.device.tf32``); by itself it would let them.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda":
        rounds = int(torch.backends.cuda.matmul.allow_tf32)
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": rounds}))
    return ort.InferenceSession(str(file), options, providers=providers)


class OnnxPrepared(Prepared):
    """A session that reads torch's tensors where they lie and writes into one output tensor of torch's.

    Args:
        file: the ONNX file, one output.
        inputs: examples, placed; they tell device and dtypes. A dynamic first dimension may change with ``place``.
    """

    def __init__(self, file: Path, inputs: Inputs) -> None:
        self._device = inputs[0].device
        self._session = session(file, self._device)
        self._binding = self._session.io_binding()
        self._names = [x.name for x in self._session.get_inputs()]
        self._output = torch.empty(0)
        self.place(*inputs)

    def place(self, *inputs: Tensor) -> None:
        """Bind the tensors, and an output of their batch size."""
        self._inputs = tuple(x.contiguous() for x in inputs)  # kept, for the session reads their memory
        for name, x in zip(self._names, self._inputs, strict=True):
            self._bind(self._binding.bind_input, name, x)
        out = self._session.get_outputs()[0]
        shape = [inputs[0].shape[0] if isinstance(size, str) else size for size in out.shape]
        if list(self._output.shape) != shape:
            self._output = torch.empty(shape, dtype=_TORCH[out.type], device=self._device)
            self._bind(self._binding.bind_output, out.name, self._output)
        if self._device.type == "cuda":  # the session has a stream of its own
            torch.cuda.synchronize(self._device)

    def call(self) -> Tensor:
        """Run the session."""
        self._session.run_with_iobinding(self._binding)
        return self._output

    def _bind(self, bind: Any, name: str, x: Tensor) -> None:
        bind(name, x.device.type, x.device.index or 0, _NUMPY[x.dtype], tuple(x.shape), x.data_ptr())
