"""A runtime in a process of its own, where it is built, compared with eager and timed: if it dies, one row says so.

Compilers and drivers end a process without an exception, or never return. What other rows have measured must not go
with them, so the parent only sends the name of what to do, and waits for an answer no longer than its patience.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from omp_cli.core.base.device import allow_tf32, use_threads
from omp_cli.core.base.errors import OmpError, RunFailed, one_line
from omp_cli.core.deploy import backends
from omp_cli.core.deploy.backends import CheckedBackend
from omp_cli.core.deploy.base import Backend, Inputs, Prepared
from omp_cli.core.deploy.graph import Decision, example_inputs
from omp_cli.core.envs.workers import Workers
from omp_cli.core.measure.latency.config import TF32, Effort, LatencyConfig
from omp_cli.core.measure.latency.rows import LatencyRow
from omp_cli.core.measure.latency.timer import CallFailed, Clock, Here, Reading
from omp_cli.core.policy import Policy
from omp_cli.core.policy_config import PolicyConfig
from omp_cli.core.spec import Spec

SAMPLES = 3
"""Different observations, taken in turn; a backend must answer each as eager does."""
_WEIGHTS = "policy.safetensors"


def random_inputs(policy: Policy, batch: int, seed: int, device: torch.device) -> list[Inputs]:
    """Random observations and noise on a device, in float32."""
    made = [example_inputs(policy, batch, seed + k) for k in range(SAMPLES)]
    return [tuple(x.to(device) for x in sample) for sample in made]


def torch_dtype(name: str) -> torch.dtype:
    """Of the network's weights, for a value of ``LatencyConfig.dtype``."""
    found: torch.dtype = torch.float32 if name == TF32 else getattr(torch, name)
    return found


def decide(prepared: Prepared, samples: Sequence[Inputs], place: bool) -> Callable[[], Tensor]:
    """One decision: take in an observation that is already on the device, and act.

    Args:
        prepared: the policy as a backend has prepared it.
        samples: observations, used in turn.
        place: False uses the one that was placed before.
    """
    if not place:
        return prepared.call
    turn = itertools.cycle(samples)

    def call() -> Tensor:
        prepared.place(*next(turn))
        return prepared.call()

    return call


@dataclass
class Trial:
    """One backend for one policy, number of steps and batch size; what lives in the process.

    Attributes:
        backend: what builds it; sent along, for one that a plugin registered is in no table of the process.
        config: configuration of the policy.
        spec: the policy's observation and action.
        row: number of steps and batch size.
        settings: settings of the measurement.
        device: where it runs.
        folder: holds the policy's weights, and takes compiled files.
        frozen_from: of the policy, where a frozen copy of its network takes the first steps.
    """

    backend: Backend
    config: PolicyConfig
    spec: Spec
    row: LatencyRow
    settings: LatencyConfig
    device: torch.device
    folder: Path
    frozen_from: float | None = None
    _timed: Here | None = None

    @classmethod
    def of(cls, policy: Policy, row: LatencyRow, settings: LatencyConfig, device: torch.device, folder: Path) -> Self:
        """The trial of a row, with the policy's weights left in ``folder``."""
        tensors = {name: x.detach().cpu().contiguous() for name, x in policy.state_dict().items()}
        save_file(tensors, folder / _WEIGHTS)
        return cls(
            backends.find(row.backend), policy.config, policy.spec, row, settings, device, folder, policy.frozen_from
        )

    def build(self) -> tuple[CheckedBackend, float]:
        """Build and compare with eager; what came of it, and the seconds that it took to build."""
        use_threads(self.settings.threads)
        backends.BACKENDS[self.row.backend] = self.backend
        allow_tf32(self.settings.dtype == TF32)
        dtype = torch_dtype(self.settings.dtype)
        policy = Policy(self.config, self.spec)
        if self.frozen_from is not None:
            policy.freeze_from(self.frozen_from)
        policy.eval().to(self.device)
        if dtype != torch.float32:
            policy.lower(dtype)
        policy.load_state_dict(load_file(self.folder / _WEIGHTS))
        samples = random_inputs(policy, self.row.batch, self.settings.seed, self.device)
        decision, rotations = Decision(policy, self.row.nfe), policy.spec.action_rotations
        outcome = backends.checked(self.row.backend, decision, samples, self.folder, rotations)
        if outcome.prepared is None:
            return outcome, 0.0
        self._timed = Here(decide(outcome.prepared, samples, self.settings.place), Clock(self.device))
        return replace(outcome, prepared=None), outcome.prepared.seconds

    def warm_up(self, effort: Effort) -> float:
        """See ``timer.Timed``."""
        return self._ready().warm_up(effort)

    def block(self, count: int) -> list[Reading]:
        """See ``timer.Timed``."""
        return list(self._ready().block(count))

    def do(self, method: str, *arguments: Any) -> Any:
        """Call a method; what it raises comes as ``RunFailed`` in one line, each runtime having errors of its own."""
        try:
            return getattr(self, method)(*arguments)
        except Exception as error:
            raise RunFailed(one_line(error, 200, typed=True)) from error

    def close(self) -> None:
        """The end of the process frees what it holds."""

    def _ready(self) -> Here:
        if self._timed is None:
            raise RuntimeError("nothing has been built")
        return self._timed


class Apart:
    """The parent's side of a trial; a ``timer.Timed``.

    Args:
        trial: what is sent to the process.
        patience: seconds that building may take, and a block of calls beyond the budget.

    Raises:
        CallFailed: here and in each method: the process has died, was too slow and was ended, or its runtime failed.
    """

    def __init__(self, trial: Trial, patience: float) -> None:
        self._patience, self._budget = patience, trial.settings.budget
        try:
            self._process = Workers(trial, 1, f"runtime {trial.row.backend}", lambda line: None, apart=True)
        except (AttributeError, TypeError, ValueError) as error:
            raise CallFailed(f"it cannot be sent to a process of its own: {one_line(error, typed=True)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.close()

    def build(self) -> tuple[CheckedBackend, float]:
        """See ``Trial.build``."""
        return self._ask("being built", self._patience, "build")

    def warm_up(self, effort: Effort) -> float:
        """See ``timer.Timed``."""
        return self._ask("warming up", self._patience + self._budget, "warm_up", effort)

    def block(self, count: int) -> Sequence[Reading]:
        """See ``timer.Timed``."""
        return self._ask("being timed", self._patience + self._budget, "block", count)

    def _ask(self, doing: str, patience: float, method: str, *arguments: Any) -> Any:
        try:
            return self._process.ask(patience, doing, "do", method, *arguments)
        except OmpError as error:
            raise CallFailed(error.message) from error
