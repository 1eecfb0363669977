"""The connection to ROS: a node in a process of its own (``node``), which ROS's Python runs, of whichever version."""

from __future__ import annotations

import importlib.util
import os
import queue
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omp_cli.core.base.errors import MissingDependency, RunFailed, one_line
from omp_cli.core.deploy.ros import node
from omp_cli.core.deploy.ros.messages import Now, RosMessages

Hear = Callable[[bytes], None]
_OF_THE_SYSTEM = "/usr/bin/python3"
_WAIT = 20.0
"""Seconds in which a node has to begin, or to answer."""
_PACKAGE = {1: "rospy", 2: "rclpy"}


class RosLink(ABC):
    """A node of a robot's graph."""

    @abstractmethod
    def published(self) -> Mapping[str, set[str]]:
        """The types of the topics that somebody publishes, as ``sensor_msgs/msg/Image``, by their names."""

    @abstractmethod
    def listeners(self, topic: str) -> int:
        """How many others hear what is published on a topic."""

    @abstractmethod
    def listen(self, topic: str, kind: str, hear: Hear) -> None:
        """Have the bytes of each message of a topic that somebody publishes, in another thread."""

    @abstractmethod
    def publisher(self, topic: str, kind: str) -> Hear:
        """What publishes the bytes of a message."""

    @abstractmethod
    def now(self) -> Now:
        """The time by the clock of ROS, which is that of the machine unless time is simulated."""

    @abstractmethod
    def check(self) -> None:
        """RunFailed where the connection is gone."""

    @abstractmethod
    def close(self) -> None:
        """Leave the graph."""


class RosNode(RosLink):
    """A node in a process of its own.

    Args:
        python: what runs it.
        messages: types of messages.
        log: file for what ROS prints.

    Raises:
        MissingDependency: rclpy or rospy is not there.
        RunFailed: the node has not begun.
    """

    def __init__(self, python: str, messages: RosMessages, log: Path) -> None:
        self._python, self._messages = python, messages
        self._hears: dict[str, list[Hear]] = {}
        self._heard: dict[str, bytes] = {}
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._lock, self._ended, self._simulated = threading.Lock(), False, False
        self._log = log
        source, to = os.pipe()  # of its own: whatever starts the node may print something
        try:
            with log.open("wb") as said:
                self._process = subprocess.Popen(
                    [python, str(Path(node.__file__)), str(messages.version), str(to)],
                    stdin=subprocess.PIPE,
                    stdout=said,
                    stderr=said,
                    pass_fds=[to],
                    start_new_session=True,  # Ctrl-C is for the loop, which has yet to say its last word
                )
        except OSError as error:
            os.close(source)
            raise MissingDependency((error.strerror or one_line(error)).lower()) from None
        finally:
            os.close(to)
        threading.Thread(target=self._read, args=(source,), name="ROS", daemon=True).start()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def published(self) -> Mapping[str, set[str]]:
        """See the base class."""
        found = {topic: set(kinds) for topic, kinds in self._ask("published").items()}
        self._simulated = node.CLOCK in found
        return found

    def listeners(self, topic: str) -> int:
        """See the base class."""
        return int(self._ask("listeners", topic=topic))

    def listen(self, topic: str, kind: str, hear: Hear) -> None:
        """See the base class."""
        if topic in self._hears:
            self._hears[topic].append(hear)
            if topic in self._heard:  # what is kept is not said again
                hear(self._heard[topic])
        else:
            self._hears[topic] = [hear]
            self._ask("listen", topic=topic, type=kind)

    def publisher(self, topic: str, kind: str) -> Hear:
        """See the base class."""
        definition, md5 = self._messages.definition(kind)
        self._ask("publisher", topic=topic, type=kind, definition=definition, md5=md5)
        return lambda data: self._tell({"do": "publish", "topic": topic}, data)

    def now(self) -> Now:
        """See the base class."""
        if not self._simulated:
            return divmod(time.time_ns(), 1_000_000_000)
        seconds, rest = self._ask("now")
        return seconds, rest

    def check(self) -> None:
        """See the base class."""
        if self._ended:
            raise self._gone()

    def close(self) -> None:
        """See the base class."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, do: str, **about: str) -> Any:
        """Have the node do something; what it answers."""
        self._tell({"do": do, **about})
        return self._answer()

    def _tell(self, head: dict[str, Any], data: bytes = b"") -> None:
        """Say something to the node; RunFailed where it is gone."""
        assert self._process.stdin is not None
        self.check()
        try:
            node.written(self._process.stdin, self._lock, head, data)
        except OSError:
            raise self._gone() from None

    def _answer(self) -> Any:
        """The next answer."""
        try:
            found = self._answers.get(timeout=_WAIT)
        except queue.Empty:
            self._ended = True  # what comes too late is no answer to the next question
            raise RunFailed(f"ROS: the node has not answered for {_WAIT:g} s{self._last_words()}") from None
        if found is None:
            raise self._gone()
        if "error" in found:
            raise (MissingDependency if found["missing"] else RunFailed)(found["error"], _hint(found))
        return found["answer"]

    def _read(self, pipe: int) -> None:
        """What the node says, until it ends."""
        try:
            with os.fdopen(pipe, "rb") as source:
                for head, data in iter(lambda: node.read(source), None):
                    if "heard" in head:
                        self._heard[head["heard"]] = data
                        for hear in self._hears[head["heard"]]:
                            hear(data)
                    else:
                        self._answers.put(head)
        finally:
            self._ended = True
            self._answers.put(None)

    def _gone(self) -> RunFailed:
        try:
            how = f"has ended with code {self._process.wait(timeout=5)}"
        except subprocess.TimeoutExpired:
            how = "is not heard any more"
        return RunFailed(f"ROS: the node of {self._python} {how}{self._last_words()}")

    def _last_words(self) -> str:
        """The last line that the node has printed."""
        lines = self._log.read_text(errors="replace").split("\n")
        return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")


def _hint(found: Mapping[str, Any]) -> str:
    return "apt install it, or source the workspace that has it, before omp" if found["missing"] else ""


def open_link(messages: RosMessages, python: str | None, log: Path) -> RosLink:
    """The connection for a version of ROS.

    Args:
        messages: types of messages.
        python: what runs the node; None for omp's own Python, or the system's, whichever has ROS.
        log: file for what ROS prints.

    Raises:
        MissingDependency: neither has its package.
        RunFailed: there is no master of ROS 1.
    """
    package = _PACKAGE[messages.version]
    # What is found here may be another Python's, by PYTHONPATH, so the system's is tried as well.
    here = [sys.executable] if importlib.util.find_spec(package) is not None else []
    missing = []
    for chosen in [python] if python else [*here, _OF_THE_SYSTEM]:
        try:
            return RosNode(chosen, messages, log)
        except MissingDependency as error:
            missing.append(f"{chosen}: {error.message}")
    raise MissingDependency(
        f"ROS: {'; '.join(missing)}",
        f"source /opt/ros/{os.environ.get('ROS_DISTRO', 'DISTRO')}/setup.bash before omp; "
        f"--set ros.python=PYTHON names one that has {package}",
    )
