"""One worker: some of the environments, in this process or in one of its own.

A worker takes a command, the name of a method of ``Group``, and gives the answer when it is asked for it.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.errors import OmpError, RunFailed, machine_error, one_line
from omp_cli.core.plugins import loaded_plugins
from omp_cli.core.processes import begin_worker, starting_workers
from omp_cli.core.suites.chunking import ChunkEnv, Obs
from omp_cli.core.timing import Stopwatch

_GRACE = 5.0
"""Seconds that a process has to end by itself."""


@dataclass(frozen=True)
class Row:
    """What one environment did with one chunk, as ``Stepped`` has it; ``final`` is given where the episode ended."""

    obs: Obs
    reward: float = 0.0
    success: bool = False
    terminated: bool = False
    truncated: bool = False
    steps: int = 0
    final: Obs | None = None


@dataclass(frozen=True)
class Death:
    """The answer of a worker that has died."""

    reason: str


class Group:
    """The environments of one process, stepped one after another."""

    def __init__(self, make: Callable[[], ChunkEnv], end_on_success: bool) -> None:
        self._make, self._end_on_success = make, end_on_success
        self._envs: list[ChunkEnv] = []
        self._steps: list[int] = []

    def reset(self, seeds: Sequence[int]) -> list[Row]:
        """Begin the episodes of these seeds; the first call makes the environments."""
        if not self._envs:
            self._envs = [self._make() for _ in seeds]
        self._steps = [0] * len(seeds)
        return [Row(env.reset(seed=seed)[0]) for env, seed in zip(self._envs, seeds, strict=True)]

    def step(self, actions: NDArray[np.float32], upcoming: Sequence[int]) -> list[Row]:
        """Execute a chunk each; where that ends the episode, begin the one of the ``upcoming`` seed."""
        chunks = zip(range(len(self._envs)), actions, upcoming, strict=True)
        return [self._chunk(index, action, seed) for index, action, seed in chunks]

    def _chunk(self, index: int, action: NDArray[np.float32], seed: int) -> Row:
        env = self._envs[index]
        obs, reward, terminated, truncated, info = env.step(action)
        success, steps = info["success_any"], info["steps"] - self._steps[index]
        self._steps[index] = info["steps"]
        terminated |= self._end_on_success and success
        truncated &= not terminated
        final = None
        if terminated or truncated:
            final, obs = obs, env.reset(seed=seed)[0]
            self._steps[index] = 0
        return Row(obs, float(reward), bool(success), bool(terminated), bool(truncated), steps, final)

    def seconds(self) -> dict[str, float]:
        """Wall time by part, over all environments."""
        watch = Stopwatch()
        for env in self._envs:
            for part, seconds in env.seconds_by_part().items():
                watch.add(part, seconds)
        return watch.seconds

    def close(self) -> None:
        """Free the simulators."""
        for env in self._envs:
            env.close()


class Here:
    """A worker that is this process."""

    def __init__(self, make: Callable[[], ChunkEnv], end_on_success: bool) -> None:
        self._group = Group(make, end_on_success)
        self._answer: Any = None

    def send(self, command: str, *arguments: Any) -> None:
        """Do it."""
        self._answer = getattr(self._group, command)(*arguments)

    def receive(self, deadline: float) -> Any:
        """What was done."""
        return self._answer

    def stop(self) -> None:
        """Free the simulators."""
        self._group.close()

    def join(self) -> None:
        """Nothing runs."""


class Child:
    """A worker in a process of its own, started afresh: a forked copy of torch's threads and a simulator is a lottery.

    ``make`` goes through the pipe, not with the process's arguments: plugins that it may come from are loaded first.
    """

    def __init__(self, name: str, make: Callable[[], ChunkEnv], end_on_success: bool) -> None:
        from gymnasium.vector.utils import CloudpickleWrapper

        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, loaded_plugins()), name=name, daemon=True)
        with starting_workers():
            self._process.start()
        theirs.close()
        self.send(CloudpickleWrapper(make), end_on_success)

    def send(self, command: Any, *arguments: Any) -> None:
        """Ask for something; a death is found when the answer is due."""
        with suppress(OSError):
            self._pipe.send((command, *arguments))

    def receive(self, deadline: float) -> Any:
        """The answer, an OmpError that was raised, or a Death; the process is gone then."""
        silent = False
        try:
            if self._pipe.poll(max(0.0, deadline - time.monotonic())):
                return self._pipe.recv()
            silent = True
            self._process.kill()
        except (EOFError, OSError):  # OSError also where an answer breaks off
            pass
        self.join()
        code = self._process.exitcode
        if silent:
            return Death("no answer in time")
        return Death(f"signal {-code}" if code is not None and code < 0 else f"exit code {code}")

    def stop(self) -> None:
        """Let it end: it waits for a command, or finds that nobody wants its answer."""
        self._pipe.close()

    def join(self) -> None:
        """Wait until it has ended; not for long."""
        self._process.join(_GRACE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection, plugins: Sequence[Path]) -> None:
    """The life of a worker process: commands in, answers out, until the parent closes the pipe."""
    begin_worker(plugins)
    group: Group | None = None
    with suppress(EOFError, OSError):  # the parent has closed the pipe, or is gone
        group = Group(*pipe.recv())
        while True:
            command, *arguments = pipe.recv()
            pipe.send(_answer(group, command, arguments))
    if group is not None:
        group.close()


def _answer(group: Group, command: str, arguments: Sequence[Any]) -> Any:
    try:
        return getattr(group, command)(*arguments)
    except OmpError as error:
        return error
    except Exception as error:
        if (refused := machine_error(error, "an environment in its worker")) is not None:
            return refused
        text = one_line(error, 1000, typed=True)
        return RunFailed(f"an environment failed in its worker: {text}", "--workers 1 --verbose shows where")
