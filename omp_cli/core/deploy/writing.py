"""The files of an export, written and read back in a process of their own: if it dies, the other file stands.

Exporters and runtimes are compilers: they can end a process without an exception, or never return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.export import ExportedProgram

from omp_cli.core.base.device import use_threads
from omp_cli.core.base.errors import OmpError, RunFailed, one_line
from omp_cli.core.checkpoint import open_checkpoint
from omp_cli.core.deploy.base import Inputs
from omp_cli.core.deploy.config import ExportConfig
from omp_cli.core.deploy.graph import Decision, example_inputs
from omp_cli.core.deploy.onnx_runtime import OnnxPrepared
from omp_cli.core.deploy.parity import SAMPLES, Difference, difference
from omp_cli.core.deploy.program import exported, write_onnx, write_pt2
from omp_cli.core.policy import Policy
from omp_cli.core.spec import Rotation

Format = Literal["pt2", "onnx"]
Reader = Callable[[Path, Sequence[Inputs]], list[Tensor]]


@dataclass
class Writing:
    """A checkpoint's decision as a graph; what lives in the process.

    Attributes:
        checkpoint: folder of the checkpoint.
        config: with the number of evaluations filled in.
        readers: answers of a file to observations; sent along, so that whoever writes decides how it is read.
    """

    checkpoint: Path
    config: ExportConfig
    readers: dict[Format, Reader]

    def write(self, kind: Format, file: Path) -> Difference:
        """Write a file, read it back and compare its answers with the policy's.

        Raises:
            RunFailed: they differ; or, in one line, whatever an exporter raised.
        """
        try:
            return self._written(kind, file)
        except (OmpError, OSError):  # the machine's own refusals are told as such
            raise
        except Exception as error:  # each exporter has errors of its own
            raise RunFailed(
                f"policy.{kind}: {one_line(error, 200, typed=True)}", "--format may name another"
            ) from error

    def _written(self, kind: Format, file: Path) -> Difference:
        use_threads(self.config.threads)
        decision, samples = self._decision
        if kind == "pt2":
            write_pt2(self._program, file)
        else:
            write_onnx(self._program, file, decision.inputs)
        references = [decision(*sample) for sample in samples]
        return compared(kind, self.readers[kind](file, samples), references, decision.policy.spec.action_rotations)

    @cached_property
    def _decision(self) -> tuple[Decision, list[Inputs]]:
        return decision_of(open_checkpoint(self.checkpoint).load(self.config.weights), self.config)

    @cached_property
    def _program(self) -> ExportedProgram:
        decision, samples = self._decision
        return exported(decision, samples[0], self.config.dynamic_batch)

    def close(self) -> None:
        """The end of the process frees what it holds."""


def decision_of(policy: Policy, config: ExportConfig) -> tuple[Decision, list[Inputs]]:
    """What is exported, and observations to compare by."""
    batches = (2, 1, 5, 2, 3) if config.dynamic_batch else (config.batch,) * SAMPLES
    decision = Decision(policy, config.nfe or policy.nfe)
    return decision, [example_inputs(policy, batch, config.seed + i) for i, batch in enumerate(batches)]


def compared(
    kind: Format, answers: Sequence[Tensor], references: Sequence[Tensor], rotations: Sequence[Rotation] = ()
) -> Difference:
    """How far a file's answers lie from the policy's; RunFailed when that is too far."""
    found = difference(references, answers, torch.float32, rotations)
    if not found.accepted:
        raise RunFailed(
            f"policy.{kind} answers something else than the policy: {found}",
            "it was removed; another --format may do, and this torch or ONNX version is suspect",
        )
    return found


def read_pt2(file: Path, samples: Sequence[Inputs]) -> list[Tensor]:
    """Reads a file written a moment ago by this process: ``torch.export.load`` is for nobody else's."""
    module = torch.export.load(str(file)).module()
    with torch.no_grad():
        return [module(*sample) for sample in samples]


def read_onnx(file: Path, samples: Sequence[Inputs]) -> list[Tensor]:
    """By ONNX Runtime."""
    prepared = OnnxPrepared(file, samples[0])
    return [prepared.run(*sample) for sample in samples]


READERS: dict[Format, Reader] = {"pt2": read_pt2, "onnx": read_onnx}
