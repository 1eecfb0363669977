"""The contract of an expert: who says what to do in a task, wherever it came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.base.files import sha256_of
from omp_cli.core.suites.base import TaskEnv

Frame = Mapping[str, NDArray[Any]]
"""The arrays of one moment by their names, as an environment shows them."""

SHOWN = ("state", "full_state")
"""What an expert may read of a frame, the first choice first: what a policy sees, and all that the simulator knows."""


def vectors_of(env: TaskEnv) -> dict[str, NDArray[Any]]:
    """The arrays of ``SHOWN`` that an environment has in its present state, each (S,).

    An environment that knows no more than the state leaves "full_state" out, or raises KeyError with that name.
    DataError where it shows no state.
    """
    shown = dict(env.observe(SHOWN[:1]))
    try:
        shown |= env.observe(SHOWN[1:])
    except KeyError as error:
        if error.args != (SHOWN[1],):
            raise
    if SHOWN[0] not in shown:
        who = f"the environment of {env.spec.suite} {env.spec.task}"
        raise DataError(f"{who} shows no {SHOWN[0]!r}", "its observe() is asked for it by that name")
    return {name: shown[name] for name in SHOWN if name in shown}


class Expert(ABC):
    """Acts in one episode after the other.

    Attributes:
        kind: what it is, for provenance.
        path: the file or folder that it is in.
        task: that it learned; None where nothing says so.
        suite: as plain data, the settings with which that task showed it what it reads; None where nothing says so.
        remark: what a user has to know before it is recorded, said of it as the subject; "" where that is nothing.
    """

    kind: str
    path: Path
    task: str | None = None
    suite: Mapping[str, Any] | None = None
    remark: str = ""

    @property
    @abstractmethod
    def keys(self) -> tuple[str, ...]:
        """Arrays of a frame that it reads, known once an episode has begun."""

    @abstractmethod
    def start(self, env: TaskEnv, seed: int) -> None:
        """Begin an episode of an environment that has just been reset with ``seed``, also the seed of what it draws.

        DataError where the environment shows it something else than it reads, or takes other actions.
        """

    @abstractmethod
    def act(self, frame: Frame) -> NDArray[np.float32]:
        """Action (A,) for the present frame, not clipped; it is asked once in every step."""

    def sha256(self) -> str:
        """SHA-256 of what decides how it acts."""
        return sha256_of(self.path)

    def facts(self) -> dict[str, Any]:
        """What else is to be known of how it acts, for provenance; JSON types only."""
        return {}


class Reflex(Expert):
    """An expert whose action follows from one vector of the present frame.

    Args:
        name: the file, for messages.
        inputs: length of the vector.
        outputs: length of the action.
    """

    def __init__(self, name: str, inputs: int, outputs: int) -> None:
        self.name, self.path, self.inputs, self.outputs = name, Path(name), inputs, outputs
        self._key = SHOWN[0]

    @property
    def keys(self) -> tuple[str, ...]:
        """See the base class."""
        return (self._key,)

    @abstractmethod
    def action(self, seen: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Action (A,) for the vector (S,)."""

    def start(self, env: TaskEnv, seed: int) -> None:
        """See the base class; of ``SHOWN`` the first vector of the right length is read."""
        task = f"{env.spec.suite}/{env.spec.task}"
        check_actions(self.name, self.outputs, env)
        lengths = {key: len(value) for key, value in vectors_of(env).items()}
        fitting = [key for key in SHOWN if lengths.get(key) == self.inputs]
        if not fitting:
            found = " or ".join(str(length) for length in dict.fromkeys(lengths.values()))
            raise DataError(f"{self.name}: reads {self.inputs} numbers, {task} shows {found}", "check --task")
        self._key = fitting[0]

    def act(self, frame: Frame) -> NDArray[np.float32]:
        """See the base class."""
        return self.action(frame[self._key])


def check_actions(name: str, outputs: int, env: TaskEnv) -> None:
    """DataError where the expert ``name`` acts with another number of numbers than the environment takes."""
    spec = env.spec
    if outputs != spec.action_dim:
        task = f"{spec.suite}/{spec.task}"
        raise DataError(f"{name}: acts with {outputs} numbers, {task} takes {spec.action_dim}", "check --task")
