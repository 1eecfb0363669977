"""The contract of an expert: who says what to do in a task, wherever it came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.suites.base import TaskEnv

SHOWN = ("state", "full_state")
"""What an expert may read of a frame, the first choice first: what a policy sees, and all that the simulator knows."""


class Expert(ABC):
    """Acts in one episode after the other."""

    kind: str
    """What it is, for provenance."""

    @abstractmethod
    def start(self, env: TaskEnv, seed: int) -> None:
        """Begin an episode of an environment that has just been reset; ``seed`` is of what it draws.

        DataError where the environment shows it something else than it reads, or takes other actions.
        """

    @abstractmethod
    def act(self) -> NDArray[np.float32]:
        """Action (A,) for the present frame, not clipped; it is asked once in every step."""


class Reflex(Expert):
    """An expert whose action follows from one vector of the present frame.

    Args:
        name: the file, for messages.
        inputs: length of the vector.
        outputs: length of the action.
    """

    def __init__(self, name: str, inputs: int, outputs: int) -> None:
        self.name, self.inputs, self.outputs = name, inputs, outputs
        self._env: TaskEnv
        self._key = SHOWN[0]

    @abstractmethod
    def action(self, seen: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Action (A,) for the vector (S,)."""

    def start(self, env: TaskEnv, seed: int) -> None:
        """See the base class; of ``SHOWN`` the first vector of the right length is read."""
        task, dims = f"{env.spec.suite}/{env.spec.task}", env.spec.action_dim
        if self.outputs != dims:
            raise DataError(f"{self.name}: acts with {self.outputs} numbers, {task} takes {dims}", "check --task")
        lengths = {key: len(value) for key, value in env.observe(SHOWN).items()}
        fitting = [key for key in SHOWN if lengths[key] == self.inputs]
        if not fitting:
            found = " or ".join(str(length) for length in dict.fromkeys(lengths.values()))
            raise DataError(f"{self.name}: reads {self.inputs} numbers, {task} shows {found}", "check --task")
        self._env, self._key = env, fitting[0]

    def act(self) -> NDArray[np.float32]:
        """See the base class."""
        return self.action(self._env.observe((self._key,))[self._key])
