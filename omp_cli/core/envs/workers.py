"""Worker processes: one protocol between parent and worker, one place where deaths are handled.

Every worker holds a *resident*, an object of its own, and executes its methods: the parent sends the name of a method
with arguments, and the answer comes when it is asked for. A single worker is this process, without any of that.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, Self

from omp_cli.core.base.errors import OmpError, RunFailed, machine_error, one_line
from omp_cli.core.base.plugins import loaded_plugins, raised_in
from omp_cli.core.base.processes import begin_worker, starting_workers

RESTARTS_IN_A_ROW = 3
"""Restarts of one worker without anything done in between, after which the run fails."""
_GRACE = 5.0
"""Seconds that a process has to end by itself."""


class Resident(Protocol):
    """What lives in a worker; it is sent there before its first method is called."""

    def close(self) -> None:
        """Free what it holds."""


@dataclass(frozen=True)
class Death:
    """The answer of a worker that has died.

    Attributes:
        reason: what ended it, in a few words.
        silent: it was ended because it did not answer in time.
    """

    reason: str
    silent: bool = False


class Workers:
    """P workers; a dead one answers ``Death`` until it is replaced.

    Args:
        resident: what each of them gets a copy of; a single one is this process, and has the object itself.
        count: P.
        name: what one of them is called in messages.
        note: called with one line when a worker is replaced.
        apart: a single worker is a process of its own, too.

    Attributes:
        restarts: workers replaced so far.
    """

    def __init__(
        self, resident: Resident, count: int, name: str, note: Callable[[str], None], apart: bool = False
    ) -> None:
        self.restarts = 0
        self._resident, self._name, self._note = resident, name, note
        self._deaths = [0] * count
        self._workers: list[_Here | _Child] = []
        try:
            for index in range(count):
                self._workers.append(_Here(resident) if count == 1 and not apart else self._child(index))
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._workers)

    def send(self, index: int, method: str, *arguments: Any) -> None:
        """Ask for something; a death is found when the answer is due."""
        self._workers[index].send(method, *arguments)

    def receive(self, indices: Collection[int], patience: float | None = None) -> dict[int, Any]:
        """What these workers answer: what the method returned, or ``Death``.

        Args:
            indices: workers; each was sent something.
            patience: seconds after which those that have not answered are taken for dead, and killed.

        Raises:
            OmpError, OSError: as a method raised it, after all have answered.
            RunFailed: a method raised anything else in a process, or code of the user's own an OSError; in this one it
                arrives as it is.
        """
        deadline = None if patience is None else time.monotonic() + patience
        answers = {index: self._workers[index].receive(deadline) for index in indices}
        for answer in answers.values():
            if isinstance(answer, Exception):
                raise answer
        return answers

    def ask(self, patience: float, doing: str, method: str, *arguments: Any) -> Any:
        """What the first worker answers; it is asked for something that may end it, or never come back.

        Args:
            patience: seconds after which it is taken for dead, and killed.
            doing: what is going on, for the message.
            method: of the resident.
            arguments: of the method.

        Raises:
            OmpError: as the method raised it; RunFailed also where the worker has died or was too slow.
        """
        self.send(0, method, *arguments)
        answer = self.receive([0], patience)[0]
        if isinstance(answer, Death):
            longer = f" within {patience:g} s (--set patience=SECONDS gives it longer)" if answer.silent else ""
            raise RunFailed(f"{'no answer' if answer.silent else answer.reason}{longer} while {doing}")
        return answer

    def answered(self, indices: Collection[int]) -> list[int]:
        """Wait until one of these workers at least has answered, or died; all of which that is true."""
        pipes = {worker.pipe: index for index in indices if isinstance(worker := self._workers[index], _Child)}
        if not pipes:  # this process has done it already
            return list(indices)
        ready = wait(pipes)
        return [index for pipe, index in pipes.items() if pipe in ready]

    def replace(self, index: int, death: Death, consequence: str) -> None:
        """Start a new worker, with a new resident, in the place of a dead one.

        Args:
            index: which.
            death: what it answered.
            consequence: what becomes of its work, for the note.

        Raises:
            RunFailed: it died again and again, with nothing ``done`` in between.
        """
        if self._deaths[index] == RESTARTS_IN_A_ROW:
            raise RunFailed(
                f"{self._name} {index} died {RESTARTS_IN_A_ROW + 1} times in a row ({death.reason})",
                "--workers 1 shows an error of the environment itself; if memory is short, use fewer workers or"
                " environments",
            )
        self._deaths[index] += 1
        self.restarts += 1
        self._note(f"{self._name} {index} died ({death.reason}); restarted {consequence}")
        self._workers[index] = self._child(index)

    def done(self, index: int) -> None:
        """This worker has done what its predecessors may have died over: their deaths count no longer."""
        self._deaths[index] = 0

    def close(self) -> None:
        """Free what the residents hold and end the processes."""
        for worker in self._workers:
            worker.stop()
        deadline = time.monotonic() + _GRACE
        for worker in self._workers:
            worker.join(deadline)
        self._workers = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _child(self, index: int) -> _Child:
        return _Child(f"{self._name} {index}", self._resident)


class _Here:
    """The worker that is this process."""

    def __init__(self, resident: Resident) -> None:
        self._resident = resident
        self._answer: Any = None

    def send(self, method: str, *arguments: Any) -> None:
        self._answer = getattr(self._resident, method)(*arguments)

    def receive(self, deadline: float | None) -> Any:
        return self._answer

    def stop(self) -> None:
        self._resident.close()

    def join(self, deadline: float) -> None:
        pass


class _Child:
    """A worker in a process of its own, started afresh: a forked copy of torch's threads and a simulator is a lottery.

    The resident goes through the pipe, not with the process's arguments: plugins that it may come from are loaded
    first.
    """

    def __init__(self, name: str, resident: Resident) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, loaded_plugins()), name=name, daemon=True)
        with starting_workers():
            self._process.start()
        theirs.close()
        with suppress(OSError):  # it is dead already, which its first answer will say
            self.pipe.send(resident)

    def send(self, method: str, *arguments: Any) -> None:
        with suppress(OSError):
            self.pipe.send((method, *arguments))

    def receive(self, deadline: float | None) -> Any:
        """The answer, an exception that was raised, or a Death; the process is gone then."""
        silent = False
        try:
            if self.pipe.poll(None if deadline is None else max(0.0, deadline - time.monotonic())):
                return self.pipe.recv()
            silent = True
            self._process.kill()
        except (EOFError, OSError):  # OSError also where an answer breaks off
            pass
        self.join(time.monotonic() + _GRACE)
        code = self._process.exitcode
        if silent:
            return Death("no answer in time", silent=True)
        return Death(f"signal {-code}" if code is not None and code < 0 else f"exit code {code}")

    def stop(self) -> None:
        """Let it end: it waits for a method to call, or finds that nobody wants its answer."""
        self.pipe.close()

    def join(self, deadline: float) -> None:
        """Wait until it has ended, and kill it after the deadline."""
        self._process.join(max(0.0, deadline - time.monotonic()))
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection, plugins: Sequence[Path]) -> None:
    """The life of a worker process: methods in, answers out, until the parent closes the pipe."""
    begin_worker(plugins)
    resident: Resident | None = None
    with suppress(EOFError, OSError):  # the parent has closed the pipe, or is gone
        resident = pipe.recv()
        while True:
            method, *arguments = pipe.recv()
            pipe.send(_answer(getattr(resident, method), arguments))
    if resident is not None:
        resident.close()


def _answer(method: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    try:
        return method(*arguments)
    except OmpError as error:
        return error
    except Exception as error:
        place = f"raised in {where}; " if (where := raised_in(error)) else ""  # the way there ends with this process
        if (refused := machine_error(error)) is not None:
            told = place and isinstance(error, OSError)
            return type(refused)(refused.message, f"{place}{refused.hint}") if told else refused
        if isinstance(error, OSError) and not place:  # whoever reports errors names the file
            return error
        text = f"{type(error).__name__}: {one_line(error)}"
        return RunFailed(f"an environment failed in its worker: {text}", f"{place}--workers 1 --verbose shows where")
