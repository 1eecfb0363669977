"""What a CUDA graph cannot hold, found on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from omp_cli.core.train.graph import Recorder

aten = torch.ops.aten
WAITS = {
    *(aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten.allclose, aten.bincount),
    *(aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave),
}
"""Operations whose answer the host needs: a number, or how large the result is."""
FROM_HOST = {aten.lift_fresh, aten.lift_fresh_copy}
"""How a tensor of the host's numbers begins."""


class Recordable(TorchDispatchMode):
    """Fails at the operations that wait for a GPU or copy numbers to it, as far as they are known here."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        indices = args[1] if packet in (aten.index, aten.index_put, aten.index_put_) else ()
        by_mask = any(isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8) for x in indices)
        if packet in WAITS | FROM_HOST or by_mask:
            raise AssertionError(f"{func} cannot be in a CUDA graph")
        return func(*args, **(kwargs or {}))


def recorder(
    happened: Callable[[str], object], check: AbstractContextManager[object] | None = None
) -> Callable[[torch.device], Recorder]:
    """Lets a CPU take the way of a GPU, with the step itself in the place of its graph.

    Args:
        happened: told "recorded" and "replayed".
        check: surrounds each step, ``Recordable`` where it has to be one that a graph can hold.
    """

    def on_cuda(device: torch.device) -> Recorder:
        def record(step: Callable[[], None]) -> Callable[[], None]:
            happened("recorded")

            def replay() -> None:
                happened("replayed")
                with check or nullcontext():
                    step()

            return replay

        return record

    return on_cuda
