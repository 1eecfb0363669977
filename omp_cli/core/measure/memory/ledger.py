"""Which storages a piece of code makes and drops: the allocations of a step, in order, on any device.

Seen from the dispatcher: outputs of operators, not the scratch space inside of a kernel (cuDNN, cuBLAS, CUB).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Event:
    """A storage is made (``nbytes`` > 0), dropped (< 0), or a phase begins (``phase`` is its name)."""

    storage: int
    nbytes: int
    phase: str = ""


class Ledger(TorchDispatchMode):
    """Records the life of every storage while it is active; use as a context manager.

    Args:
        selected: share of the rows that a boolean index keeps. Meta tensors have no values to count: the number of
            critical points of a PointNet has to be said.
    """

    def __init__(self, selected: float = 1.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch gives it no types
        self.events: list[Event] = []
        self._selected = selected
        self._known: dict[int, weakref.ref[Any]] = {}
        self._next = 0

    def adopt(self, tensors: Iterable[Tensor]) -> None:
        """Count storages that are there already."""
        for tensor in tensors:
            self._see(tensor)

    def phase(self, name: str) -> None:
        """Mark the beginning of a phase."""
        self.events.append(Event(-1, 0, name))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.index.Tensor and args[0].is_meta:
            args = (args[0], [self._counted(index) for index in args[1]])
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return out

    def _counted(self, index: Tensor | None) -> Tensor | None:
        """A boolean index as the row numbers that a device would make of it first."""
        if index is None or index.dtype != torch.bool:
            return index
        rows = torch.empty(round(self._selected * index.numel()), dtype=torch.long, device=index.device)
        self._see(rows)
        return rows

    def _see(self, tensor: Tensor) -> None:
        if tensor._is_zerotensor():  # a tangent that is known to be zero: a shape without memory
            return
        storage = tensor.untyped_storage()
        # The pointer to the C++ object, not to its memory: meta storages have none.
        pointer, size = storage._cdata, storage.nbytes()
        if pointer in self._known or size == 0:
            return
        number = self._next
        self._next += 1

        def dropped(_: Any) -> None:
            self._known.pop(pointer, None)
            self.events.append(Event(number, -size))

        self._known[pointer] = weakref.ref(storage, dropped)
        self.events.append(Event(number, size))
