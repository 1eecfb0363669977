"""Autocast's cache of cast weights as torch had it before PR 165068 (pytorch #158232), modelled for linear layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class CachedCasts(TorchFunctionMode):
    """The first cast of a weight to bfloat16 is kept, with a graph or without, and used again where the cache is on."""

    def __init__(self) -> None:
        super().__init__()
        self._casts: dict[int, Tensor] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Linear layers under autocast by the cache, everything else as it is."""
        if func is not functional.linear or kwargs or not torch.is_autocast_enabled("cpu"):
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            return func(*(None if x is None else self._cast(x) for x in args))

    def _cast(self, x: Tensor) -> Tensor:
        if not (x.is_leaf and x.requires_grad and torch.is_autocast_cache_enabled()):
            return x.to(torch.bfloat16)
        return self._casts.setdefault(id(x), x.to(torch.bfloat16))
