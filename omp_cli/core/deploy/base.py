"""The contract of a runtime: a backend makes a module ready, what it made runs on fixed shapes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

Inputs = tuple[Tensor, ...]


class Prepared(ABC):
    """A module made ready by one backend.

    ``place`` is what a deployment does with a new observation (nothing, or copies into static buffers); ``call`` is the
    decision alone, on the inputs placed last. On CUDA ``call`` may return before the device is done.

    Attributes:
        seconds: time that it took to build, until after the first call.
    """

    seconds: float = 0.0

    @abstractmethod
    def place(self, *inputs: Tensor) -> None:
        """Take new inputs, of the shapes, dtypes and device given to ``Backend.prepare``."""

    @abstractmethod
    def call(self) -> Tensor:
        """The output for the placed inputs, on their device; the next ``call`` may overwrite it."""

    def run(self, *inputs: Tensor) -> Tensor:
        """The output for new inputs, as a tensor of its own."""
        self.place(*inputs)
        return self.call().clone()


class Backend(ABC):
    """One runtime. ``missing`` tells why it cannot run, ``prepare`` makes a module ready."""

    name: ClassVar[str]

    @abstractmethod
    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """Why it cannot run on this device in this dtype, and what to do, in one line; None if it can."""

    @abstractmethod
    def prepare(self, module: nn.Module, inputs: Inputs, folder: Path) -> Prepared:
        """Build it, with ``inputs`` placed; compiled files go to ``folder``. Raises what the runtime raises."""
