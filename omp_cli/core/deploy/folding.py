"""What a decision computes without looking at its inputs is computed once: above all the embeddings of its times.

A decision of K evaluations is asked for the same K pairs of times again and again. In DMPO's network two thirds of the
kernels of an evaluation are theirs, and on a GPU a small network's decision takes as long as it has kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from omp_cli.core.deploy.base import Inputs

_aten = torch.ops.aten
_SHAPE_ONLY = frozenset(
    packet.default
    for packet in (
        *(_aten.new_empty, _aten.new_zeros, _aten.new_ones, _aten.new_full),
        *(_aten.empty_like, _aten.zeros_like, _aten.ones_like, _aten.full_like),
    )
)
"""Operators that read nothing of a tensor but its shape, type and device, which are fixed."""


@torch.no_grad()
def folded(function: Callable[..., Tensor], inputs: Inputs) -> fx.GraphModule:
    """The function as a graph of ATen operators for inputs of these shapes, without those that do not depend on them.

    The others are the same, on the same numbers: so is the result, to the bit. What the function holds, such as
    weights, counts as it is now.

    Args:
        function: takes the inputs and returns a tensor; no number in the inputs decides which operators it uses.
        inputs: examples.

    Raises:
        RuntimeError: the function changes a tensor in place, which may have to happen every time.
    """
    module = make_fx(function)(*inputs)
    for node in module.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
            raise RuntimeError(f"{node.target} changes a tensor in place")
    run = _Constants(module)
    run.run(*inputs)
    for node, value in run.constants.items():
        if isinstance(value, Tensor) and node.op != "get_attr" and not run.constants.keys() >= node.users.keys():
            name = f"constant_{node.name}"
            module.register_buffer(name, value)
            with module.graph.inserting_before(node):
                node.replace_all_uses_with(module.graph.get_attr(name))
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


class _Constants(fx.Interpreter):
    """Runs a graph once and keeps the values that follow from no input and from no random number."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.constants: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The value of one node."""
        value = super().run_node(n)
        drawn = torch.Tag.nondeterministic_seeded in getattr(n.target, "tags", ())
        follows = n.target in _SHAPE_ONLY or all(source in self.constants for source in n.all_input_nodes)
        if n.op in ("get_attr", "call_function") and follows and not drawn:
            self.constants[n] = value
        return value
