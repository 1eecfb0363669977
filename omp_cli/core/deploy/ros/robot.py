"""A robot on ROS as what a control loop moves: it is shown by the topics of the policy's bags, and moved by them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, OmpError, RunFailed, UsageError, did_you_mean
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.topics import RosTopics
from omp_cli.core.deploy.config import RosConfig
from omp_cli.core.deploy.ros.hearing import TopicHearing, TransformsHeard, hearings_of
from omp_cli.core.deploy.ros.links import RosLink
from omp_cli.core.deploy.ros.messages import CommandMaker, RosMessages

Hear = Callable[[bytes], None]
_NAP = 0.02
_SLOWER = 3.0
"""A topic is silent after so many of its own steps."""


class RosRobot:
    """Observes what topics have said last, and publishes actions as the commands of the recording.

    Args:
        topics: of the recording.
        messages: types of messages.
        link: the connection, which ``close`` ends.
        config: settings.
        note: called with whole sentences.

    Raises:
        UsageError: nobody commanded a topic in the recording, and no other one is named; or one is renamed that is not
            among those of the recording.
    """

    def __init__(
        self,
        topics: RosTopics,
        messages: RosMessages,
        link: RosLink,
        config: RosConfig,
        note: Callable[[str], None],
    ) -> None:
        self._link, self._config, self._messages, self._note = link, config, messages, note
        self._failed: list[OmpError] = []
        kinds = {of.topic: of.type for of in topics.observed.values() if of.topic}
        heard = {topic: TopicHearing(topic, kind, messages) for topic, kind in kinds.items()}
        frames = TransformsHeard(messages)
        hears: dict[str, tuple[str, Hear]] = {topic: (of.kind, of.hear) for topic, of in heard.items()}
        hears |= {
            topic: (kind, functools.partial(frames.hear, topic, kind)) for topic, kind in topics.transforms.items()
        }
        names = _renamed("ros.listen", config.listen, hears)
        self._waiting = {names.get(topic, topic): of for topic, of in hears.items()}
        self._arrays = hearings_of(topics.observed, heard, frames)
        self._limits = {
            name: max(config.silence, _SLOWER * of.every)
            for name, of in topics.observed.items()
            if of.every is not None
        }
        note(f"listens to {listed(sorted(self._waiting))}")
        self._commands = _commands(topics, messages, link, config, note)
        self._size = sum(part.width for of in topics.commands for part in of.parts)

    def reset(self) -> None:
        """Wait until everything that the policy reads has been said.

        Raises:
            RunFailed: it was not in time.
            DataError: a topic is of another type than in the recording.
        """
        self._until(self._unknown)
        unheard = [topic for topic in self._commands if not self._link.listeners(topic)]
        if unheard:
            self._note(f"nobody listens to {listed(unheard)}")

    def observe(self) -> dict[str, NDArray[Any]]:
        """What everything has said last, by the names of the recording.

        Raises:
            RunFailed: something has become silent.
            DataError: a message is not as in the recording.
        """
        self._raise()
        now = time.monotonic()
        for name, limit in self._limits.items():
            if (silent := now - self._arrays[name].since()) > limit:
                raise RunFailed(
                    f"ROS: nothing was heard of {name} for {silent:.2g} s",
                    f"the loop ends after {limit:.2g} s of that; ros.silence sets it",
                )
        return {name: of.array() for name, of in self._arrays.items()}

    def act(self, action: NDArray[np.float32]) -> None:
        """Publish an action (A,)."""
        now = self._link.now()
        for command, publish in self._commands.values():
            publish(command(action, now))

    def close(self) -> None:
        """Say 0 where that was asked for, and leave the graph."""
        try:
            if self._config.stop == "zero":
                self.act(np.zeros(self._size, np.float32))
        finally:
            self._link.close()

    def _until(self, lacking: Callable[[], str]) -> None:
        """Wait until nothing is lacking; RunFailed where that is not in time."""
        ends = time.monotonic() + self._config.patience
        while lack := lacking():
            self._raise()
            if time.monotonic() > ends:
                raise RunFailed(
                    f"ROS: {lack} within {self._config.patience:g} s",
                    "ros.listen=/RECORDED:=/LIVE names a topic that is called otherwise; ros.patience waits longer",
                )
            time.sleep(_NAP)

    def _unknown(self) -> str:
        """What has not been said yet, for people; on the way the topics that are published by now are listened to."""
        if self._waiting:
            published = self._link.published()
            for topic in [topic for topic in self._waiting if topic in published]:
                kind, hear = self._waiting.pop(topic)
                self._listen(topic, kind, published[topic], hear)
            if self._waiting:
                return f"nobody publishes {listed(sorted(self._waiting))} (there are: {listed(sorted(published))})"
        missing = [missing for of in self._arrays.values() if (missing := of.missing())]
        return f"nothing was heard of {listed(missing)}" if missing else ""

    def _listen(self, topic: str, kind: str, there: Collection[str], hear: Hear) -> None:
        if kind not in there:
            raise DataError(f"ROS: {topic} is of {listed(sorted(there))}, and of {kind} in the recording")

        def heard(data: bytes) -> None:
            try:
                hear(data)
            except OmpError as error:  # in a thread of ROS; the loop's own says it
                self._failed.append(error)

        self._link.listen(topic, kind, heard)

    def _raise(self) -> None:
        """What was wrong with a message, or with the connection."""
        self._link.check()
        if self._failed:
            raise self._failed[0]


class SwitchedRosRobot(RosRobot):
    """A robot that may be moved while a topic says so.

    Args:
        switch: the topic.
    """

    def __init__(self, switch: str, *about: Any) -> None:
        super().__init__(*about)
        self._switch: TopicHearing | None = None
        self._topic = switch

    def reset(self) -> None:
        """See the base class; then wait until the robot may be moved, for as long as that takes."""
        super().reset()
        self._until(self._unheard)
        while self.done():
            self._raise()
            time.sleep(_NAP)

    def done(self) -> bool:
        """Whether the robot may not be moved any more."""
        assert self._switch is not None
        return not self._switch.number()

    def _unheard(self) -> str:
        """What is missing of the switch, for people."""
        if self._switch is None:
            kinds = self._link.published().get(self._topic, set())
            if not kinds:
                return f"nobody publishes {self._topic}, ros.episode,"
            kind = min(kinds)
            self._switch = TopicHearing(self._topic, kind, self._messages)
            self._listen(self._topic, kind, kinds, self._switch.hear)
        return "" if self._switch.last else f"nothing was heard of {self._topic}, ros.episode,"


def _commands(
    topics: RosTopics, messages: RosMessages, link: RosLink, config: RosConfig, note: Callable[[str], None]
) -> dict[str, tuple[CommandMaker, Hear]]:
    """How each command is made of an action, and published, by its topic."""
    if config.shadow:
        note("ros.shadow: nothing is published; ticks.jsonl has the actions")
        return {}
    names = _renamed("ros.publish", config.publish, [of.topic for of in topics.commands])
    found = {}
    for of in topics.commands:
        if not of.commanded and of.topic not in names:
            raise UsageError(
                f"ROS: the action is what {of.topic} said in the recording, which the robot says of itself",
                f"name the topic that commands it, of {of.type}: --set ros.publish={of.topic}:=/COMMAND",
            )
        topic = names.get(of.topic, of.topic)
        found[topic] = (CommandMaker(of, messages), link.publisher(topic, of.type))
        note(f"publishes {topic} ({of.type})")
    if config.stop == "nothing":
        note("nothing is published when the loop ends, so the last command stands (ros.stop=zero says 0)")
    return found


def _renamed(setting: str, values: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """The new names of topics; UsageError of one that the recording does not have."""
    found = dict(value.split(":=", 1) for value in values)
    for name in found:
        if name not in known:
            hint = did_you_mean(name, known) or f"it has: {listed(sorted(known))}"
            raise UsageError(f"{setting}: no topic {name!r} is among those of the recording", hint)
    return found
