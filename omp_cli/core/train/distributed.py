"""One process or many (``torchrun``): who am I, and how do rows and gradients come together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from omp_cli.core.base.errors import UsageError, one_line
from omp_cli.core.methods.base import Gather, same


@dataclass(frozen=True)
class World:
    """This process among its peers."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    @property
    def gather(self) -> Gather:
        """Rows of all processes, with gradient; the identity for one process."""
        return same if self.size == 1 else _gather_rows

    def wrap(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module with its gradients averaged over all processes."""
        if self.size == 1:
            return module
        return nn.parallel.DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)

    def part(self, rows: int) -> tuple[int, int]:
        """Start and stop of this process's share of ``rows`` equal shares."""
        share = rows // self.size
        return self.rank * share, (self.rank + 1) * share

    def of_the_first(self, figures: Mapping[str, float], device: torch.device) -> dict[str, float]:
        """The figures that the first process has, whose names all processes have."""
        if self.size == 1:
            return dict(figures)
        values = torch.tensor([*figures.values()], dtype=torch.float64, device=device)
        torch.distributed.broadcast(values, 0)
        return dict(zip(figures, values.tolist(), strict=True))

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            torch.distributed.barrier()


def _gather_rows(x: Tensor) -> Tensor:
    from torch.distributed.nn.functional import all_gather

    return torch.cat(list(all_gather(x)))


def local_device(name: str) -> str:
    """Under torchrun each process takes its own GPU: "cuda" or "auto" become "cuda:LOCAL_RANK" where there is one."""
    if "LOCAL_RANK" in os.environ and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return name


@contextmanager
def world(device: torch.device) -> Iterator[World]:
    """Join the group that torchrun describes in the environment; a single process otherwise.

    Raises:
        UsageError: the environment speaks of several processes, but not as torchrun does.
    """
    if (size := os.environ.get("WORLD_SIZE", "1")) == "1":
        yield World()
        return
    try:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except ValueError as error:
        hint = "start them with torchrun; for one process alone: unset WORLD_SIZE"
        raise UsageError(f"WORLD_SIZE={size}: {one_line(error)}", hint) from None
    try:
        yield World(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()
