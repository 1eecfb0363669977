"""A policy's decisions on its own device: on CUDA one graph per batch size, in tf32, bf16 or fp16 if asked for.

Legend: B batch, T observation steps, H horizon, E executed steps, A action dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from omp_cli.core.base.device import check_graph, no_graph, tf32
from omp_cli.core.base.errors import RunFailed, one_line
from omp_cli.core.deploy.backends import captured
from omp_cli.core.deploy.base import Inputs, Prepared
from omp_cli.core.deploy.graph import Decision, example_inputs
from omp_cli.core.deploy.parity import SAMPLES, Difference, difference
from omp_cli.core.policy import Policy
from omp_cli.core.policy_config import Graph, Precision

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Of networks that are cast; with fp32 and tf32 they stay as they are."""
MOST = 4
"""Batch sizes that have a graph of their own; each holds memory for as long as the policy lives."""

Capture = Callable[[nn.Module, Inputs], Prepared]


class Deciding:
    """Decides for whole batches, by graphs where there can be one.

    A graph is compared with the eager decision when it is made, and not used where it answers something else.

    Args:
        policy: the policy, in evaluation mode and on its device; for a lower precision its network is cast in place.
            Its weights stay as they are, for graphs keep what followed from them.
        nfe: evaluations of the network per decision.
        graph: "auto" captures where that is possible, "on" fails where it is not, "off" does not try.
        precision: of the network's weights and layers; encoder, normalisation and sampler stay in float32. With tf32
            all products and convolutions on NVIDIA GPUs round their operands, with the others none does.
        capture: makes a graph of a module.

    Attributes:
        eager: why decisions are eager; None where they are graphs.
        against_float32: how far a lower precision moves the actions; None in fp32.

    Raises:
        UsageError: graph is "on", and the device has none.
    """

    def __init__(
        self,
        policy: Policy,
        nfe: int,
        graph: Graph = "auto",
        precision: Precision = "fp32",
        capture: Capture = captured,
    ) -> None:
        self._device = next(policy.parameters()).device
        check_graph("graph", graph, self._device)
        self._decision, self._asked, self._capture = Decision(policy, nfe), graph, capture
        self._graphs: dict[int, Prepared | None] = {}
        self._rotations = policy.spec.action_rotations
        self._rounds = precision == "tf32"
        self.eager = self._hindrance()
        self.against_float32 = None if precision == "fp32" else self._lowered(precision)

    def __call__(self, obs: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        """Raw arrays (B, T, ...) and noise z_1 (B, H, A), on any device -> (B, E, A) on the policy's, task's units.

        Raises:
            RunFailed: a graph was asked for and cannot be made.
        """
        self._follow()
        policy = self._decision.policy
        noise, obs = noise.to(self._device), {key: obs[key].to(self._device) for key in policy.keys}
        with tf32(self._rounds):
            graph = None if self.eager else self._graph((noise, *obs.values()))
            return policy.act(obs, noise, self._decision.nfe) if graph is None else graph.run(noise, *obs.values())

    def _follow(self) -> None:
        """Whoever has the policy may have moved it elsewhere, where the first device's graphs are worth nothing."""
        device = next(self._decision.policy.parameters()).device
        if device != self._device:
            self._device = device
            self._graphs.clear()
            self.eager = self._hindrance()

    def _hindrance(self) -> str | None:
        """Why no graph is tried on the device; None where one is."""
        return "graph is off" if self._asked == "off" else no_graph(self._device)

    @property
    def runtime(self) -> str:
        """How decisions are made, for people and manifests."""
        return "CUDA graph" if self.eager is None else f"eager: {self.eager}"

    def figures(self) -> dict[str, Any]:
        """What executes decisions, and what a lower precision changed in the actions; JSON types, for a manifest."""
        moved = self.against_float32
        return {"runtime": self.runtime} | ({} if moved is None else {"against_float32": moved.as_json()})

    def ready(self) -> None:
        """Make the graph of single decisions now: the first one would take that much longer."""
        if self.eager is None:
            noise, *arrays = example_inputs(self._decision.policy, 1)
            self(dict(zip(self._decision.policy.keys, arrays, strict=True)), noise)

    def _graph(self, inputs: Inputs) -> Prepared | None:
        """The graph of these inputs' batch size; None where there is none."""
        batch = len(inputs[0])
        if batch not in self._graphs:
            if len(self._graphs) == MOST:
                return None
            self._graphs[batch] = self._captured(inputs)
        return self._graphs[batch]

    def _captured(self, inputs: Inputs) -> Prepared | None:
        """Capture and compare; without success the reason is kept, and, where a graph was asked for, raised."""
        eager = self._decision(*inputs)
        try:
            graph = self._capture(self._decision, inputs)
            found = difference([eager], [graph.run(*inputs)], torch.float32, self._rotations)
        except RuntimeError as error:  # what waits for the device, or copies from the host, cannot be captured
            reason = one_line(error, 200, typed=True)
        else:
            if found.accepted or not bool(eager.isfinite().all()):
                return graph
            reason = f"the graph differs from eager: {found}"
        if self._asked == "on":
            raise RunFailed(f"graph: the decision cannot be captured: {reason}", "leave it at auto")
        self.eager = reason
        return None

    def _lowered(self, precision: str) -> Difference:
        """Cast the network where that is asked for; how far the actions move, relative to the largest of them."""
        policy = self._decision.policy
        samples = [tuple(x.to(self._device) for x in example_inputs(policy, 1, seed)) for seed in range(SAMPLES)]
        with tf32(False):
            exact = [self._decision(*sample) for sample in samples]
        if precision in DTYPES:
            policy.lower(DTYPES[precision])
        with tf32(self._rounds):
            lower = [self._decision(*sample) for sample in samples]
            return difference(exact, lower, DTYPES.get(precision, torch.float32), self._rotations)
