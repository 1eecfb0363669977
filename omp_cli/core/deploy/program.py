"""A module as a graph of its own: ``torch.export``, and the files ``.pt2`` and ``.onnx`` that need no omp_cli."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from omp_cli.core.base.errors import RunFailed
from omp_cli.core.deploy.base import Inputs

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ONNX_INSTALL = "pip install 'omp-cli[export]'"
PROTOBUF_BYTES = 2**31
"""One ONNX file, weights included, must stay below this."""
OUTPUT = "action"
_TALKATIVE = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


class Graph(nn.Module):
    """The module behind a forward that takes tensors by position only."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the module returns."""
        return self.module(*inputs)


def exported(module: nn.Module, inputs: Inputs, dynamic_batch: bool = False) -> ExportedProgram:
    """The module as a graph of ATen operators with its weights inside, no gradients.

    Args:
        module: the module, in evaluation mode.
        inputs: examples; their shapes are fixed,
        dynamic_batch: except for the first dimension, which is then the same number in all; examples with at least 2.
    """
    batch = torch.export.Dim("batch", min=1)
    shapes = (tuple({0: batch} for _ in inputs),) if dynamic_batch else None
    with quiet(), torch.no_grad():
        program = torch.export.export(Graph(module), inputs, dynamic_shapes=shapes)
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # names the files of this machine
    return program


def write_onnx(program: ExportedProgram, file: Path, input_names: Sequence[str]) -> Path:
    """Translate an exported program to one ONNX file with the weights inside.

    Args:
        program: from ``exported``.
        file: the file to write.
        input_names: one for each argument, in order; the output is called "action".

    Raises:
        RunFailed: too large for one file.
    """
    size = sum(x.numel() * x.element_size() for x in program.state_dict.values())
    if size >= PROTOBUF_BYTES:
        raise RunFailed(f"{size / 2**30:.1f} GiB of weights do not fit into one ONNX file (2 GiB)", "use --format pt2")
    with quiet():
        translated = torch.onnx.export(
            program, input_names=list(input_names), output_names=[OUTPUT], dynamo=True, optimize=True, verbose=False
        )
        assert translated is not None  # as it is without dynamo only
        for node in translated.model.graph.all_nodes():
            node.metadata_props.clear()  # where it came from in the source: most of a small file
        translated.save(str(file), external_data=False)
    return file


def write_pt2(program: ExportedProgram, file: Path) -> Path:
    """Save an exported program; ``torch.export.load(file).module()`` runs it where only torch is installed.

    ``torch.export.load`` falls back to unpickling, which can run code: only for files that one made oneself.
    """
    with quiet(), file.open("wb") as stream:  # given a path it would write the file's name into it
        torch.export.save(program, stream)
    return file


def missing_packages(packages: Sequence[str]) -> list[str]:
    """Those of the packages that are not installed; imports none."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters log and warn about their own insides; what goes wrong still comes as an exception."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
