"""A robot on ROS as what a control loop moves: it is shown by the topics of the policy's bags, and moved by them."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, OmpError, RunFailed, UsageError, did_you_mean, one_line
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.topics import CommandTopic, RosTopics
from omp_cli.core.deploy.config import RosConfig
from omp_cli.core.deploy.ros.hearing import TopicHearing, TransformsHeard, hearings_of
from omp_cli.core.deploy.ros.links import Hear, RosLink
from omp_cli.core.deploy.ros.messages import CommandMaker, RosMessages

_SLOWER = 3.0
"""What says something steadily is silent after so many of its own steps."""
_PLACES = ("position", "positions", "orientation", "point", "translation", "rotation")
_OF_PLACES = ("Point", "PointStamped", "Point32", "Pose2D", "Quaternion", "QuaternionStamped")
"""Fields and types that say where to be, of which 0 is a place like any other."""


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
            among those of the recording, or to what another one is called.
    """

    def __init__(
        self,
        topics: RosTopics,
        messages: RosMessages,
        link: RosLink,
        config: RosConfig,
        note: Callable[[str], None],
    ) -> None:
        self._messages, self._link, self._config, self._note = messages, link, config, note
        self._failed: list[OmpError] = []
        kinds = {of.topic: of.type for of in topics.observed.values() if of.topic}
        self._heard = {topic: TopicHearing(topic, kind, messages) for topic, kind in kinds.items()}
        self._frames = TransformsHeard(messages)
        self._arrays = hearings_of(topics.observed, self._heard, self._frames)
        self._limits = {
            name: {source: max(config.silence, _SLOWER * step) for source, step in of.every.items()}
            for name, of in topics.observed.items()
        }
        self._waiting = self._listened(topics)
        note(f"listens to {listed(sorted(self._waiting))}")
        self._commands = _commands(topics, messages, link, config, note)
        self._size = max(part.begin + part.width for of in topics.commands for part in of.parts)
        self._moving, self._ready, self._patience = False, False, 0.0

    def reset(self) -> None:
        """Begin to wait for what the policy reads."""
        self._patience = time.monotonic() + self._config.patience

    def ready(self) -> bool:
        """Whether everything that the policy reads has been said.

        Raises:
            RunFailed: it was not in time.
            DataError: a topic is of another type than in the recording.
        """
        self._check()
        if lack := self._lacking():
            if time.monotonic() > self._patience:
                raise RunFailed(
                    f"ROS: {lack} within {self._config.patience:g} s",
                    "ros.listen=/RECORDED:=/LIVE names a topic that is called otherwise; ros.patience waits longer",
                )
            return False
        if not self._ready:
            self._ready = True
            for topic in self._commands:
                if not self._link.listeners(topic):
                    self._note(f"nobody listens to {topic} as it is published (reliable, and not kept for later)")
        return True

    def observe(self) -> dict[str, NDArray[Any]]:
        """What everything has said last, by the names of the recording.

        Raises:
            RunFailed: something has become silent, or the connection is gone.
            DataError: a message is not as in the recording.
        """
        self._check()
        self._look()
        now = time.monotonic()
        for name, limits in self._limits.items():
            said = self._arrays[name].said()
            for source, limit in limits.items():
                _heed(f"{name} ({source})" if source != name else name, now - said.get(source, now), limit)
        return {name: of.array() for name, of in self._arrays.items()}

    def act(self, action: NDArray[np.float32]) -> bool:
        """Publish an action (A,); whether that was done."""
        now = self._link.now()
        self._moving = True
        for command, publish in self._commands.values():
            publish(command(action, now))
        return bool(self._commands)

    def close(self) -> None:
        """Say 0 where that was asked for, and leave the graph."""
        try:
            self.pause()
        finally:
            self._link.close()

    def pause(self) -> None:
        """Say 0 where that was asked for and something was said since the last time."""
        if self._moving and self._config.stop == "zero":
            now = self._link.now()
            for command, publish in self._commands.values():
                publish(command(np.zeros(self._size, np.float32), now))
        self._moving = False

    def _look(self) -> None:
        for topic in self._heard.values():
            topic.look()
        self._frames.look()

    def _listened(self, topics: RosTopics) -> dict[str, list[tuple[str, Hear]]]:
        """What hears the topics that are to be listened to, with the types that they have to be of."""
        hears: dict[str, tuple[str, Hear]] = {topic: (of.kind, of.hear) for topic, of in self._heard.items()}
        for topic, kind in topics.transforms.items():
            hears[topic] = (kind, functools.partial(self._frames.hear, topic, kind))
        names = _renamed("ros.listen", self._config.listen, hears)
        found: dict[str, list[tuple[str, Hear]]] = {}
        for topic, of in hears.items():  # two of the recording may be one by now, as joints of several publishers
            found.setdefault(names.get(topic, topic), []).append(of)
        return found

    def _lacking(self) -> str:
        """What has not been said yet, for people; on the way the topics that are published by now are listened to."""
        if self._waiting:
            published = self._link.published()
            for topic in [topic for topic in self._waiting if topic in published]:
                for kind, _ in self._waiting[topic]:
                    _of_type(topic, kind, published[topic])
                hears = self._waiting.pop(topic)
                self._listen(topic, hears[0][0], [hear for _, hear in hears])
            if self._waiting:
                return f"nobody publishes {listed(sorted(self._waiting))} (there are: {listed(sorted(published))})"
        self._look()
        missing = [missing for of in self._arrays.values() if (missing := of.missing())]
        return f"nothing was heard of {listed(missing)}" if missing else ""

    def _listen(self, topic: str, kind: str, hears: Sequence[Hear]) -> None:
        def heard(data: bytes) -> None:
            try:
                for hear in hears:
                    hear(data)
            except OmpError as error:  # in another thread; the loop's own says it
                self._failed.append(error)
            except Exception as error:
                self._failed.append(RunFailed(f"ROS: {topic}: {one_line(error, typed=True)}"))

        self._link.listen(topic, kind, heard)

    def _check(self) -> None:
        """What was wrong with a message, or with the connection."""
        self._link.check()
        if self._failed:
            raise self._failed[0]


class SwitchedRosRobot(RosRobot):
    """A robot that may be moved while a topic, or a path in its messages, says so (``config.episode``)."""

    _switch: TopicHearing | None = None
    _told = False

    @property
    def _name(self) -> str:
        assert self._config.episode is not None
        return self._config.episode

    def ready(self) -> bool:
        """See the base class; and whether the robot may be moved, for which is waited as long as it takes."""
        if not super().ready():
            return False
        if (off := self.done()) and not self._told:
            self._note(f"waits for {self._name}")
            self._told = True
        return not off

    def done(self) -> bool:
        """Whether the robot may not be moved any more; RunFailed where what has said steadily that it may is silent."""
        self._check()
        switch = self._switch
        assert switch is not None
        switch.look()
        assert switch.last is not None
        at, _ = switch.last
        value = switch.number(self._name)
        if value == 0 or math.isnan(value):
            return True
        if (step := switch.step) is not None and step < self._config.silence / _SLOWER:
            _heed(self._name, time.monotonic() - at, self._config.silence)
        return False

    def act(self, action: NDArray[np.float32]) -> bool:
        """See the base class; once the robot may not be moved, nothing is said any more but that it is to stop."""
        if self.done():
            self.pause()
            return False
        return super().act(action)

    def _lacking(self) -> str:
        """See the base class; and what is missing of the switch."""
        if lack := super()._lacking():
            return lack
        if self._switch is None:
            published = self._link.published()
            topics = [topic for topic in published if f"{self._name}/".startswith(f"{topic}/")]
            if not topics:
                return f"nobody publishes {self._name}, ros.episode, (there are: {listed(sorted(published))})"
            topic = max(topics, key=len)
            kind = min(published[topic])
            self._switch = TopicHearing(topic, kind, self._messages)
            self._listen(topic, kind, [self._switch.hear])
        self._switch.look()
        return "" if self._switch.last else f"nothing was heard of {self._name}, ros.episode,"


def _heed(what: str, silent: float, limit: float) -> None:
    """RunFailed where something is silent for longer than it may be, seconds."""
    if silent > limit:
        raise RunFailed(
            f"ROS: nothing was heard of {what} for {silent:.2g} s",
            f"the loop ends after {limit:.2g} s of that; ros.silence sets it",
        )


def _of_type(topic: str, kind: str, there: Collection[str]) -> None:
    """DataError where a topic is not of the type that it was of in the recording."""
    if kind not in there:
        raise DataError(f"ROS: {topic} is of {listed(sorted(there))}, and of {kind} in the recording")


def _commands(
    topics: RosTopics, messages: RosMessages, link: RosLink, config: RosConfig, note: Callable[[str], None]
) -> dict[str, tuple[CommandMaker, Hear]]:
    """How each command is made of an action, and published, by its topic."""
    if config.shadow:
        note("ros.shadow: nothing is published; ticks.jsonl has the actions")
        return {}
    names = _renamed("ros.publish", config.publish, [of.topic for of in topics.commands])
    found: dict[str, tuple[CommandMaker, Hear]] = {}
    for of in topics.commands:
        topic = _checked(of, names, config)
        if topic in found:
            raise UsageError(f"ros.publish: {topic} is the name of two commands", "each has a topic of its own")
        made = CommandMaker(of, messages)
        found[topic] = (made, link.publisher(topic, of.type))
        rest = [f"{name} {value:.4g}" for name, value in made.repeated.items()]
        note(f"publishes {topic} ({of.type}){f', each time with {listed(rest)}, as was said first' if rest else ''}")
    if config.stop == "nothing":
        note("nothing is published when an episode or the loop ends, so the last command stands (ros.stop=zero says 0)")
    return found


def _checked(of: CommandTopic, names: Mapping[str, str], config: RosConfig) -> str:
    """The topic by which a command is published; UsageError where nobody commands by it, or 0 would be a place."""
    if not of.commanded and of.topic not in names:
        raise UsageError(
            f"ROS: the action is what {of.topic} said in the recording, which the robot says of itself",
            f"name the topic that commands it, of {of.type}: --set 'ros.publish={of.topic}:=/COMMAND'",
        )
    named = of.type.rpartition("/")[2] in _OF_PLACES
    places = ["/".join(part.path) or of.type for part in of.parts if named or {*part.path} & {*_PLACES}]
    if config.stop == "zero" and places:
        raise UsageError(f"ros.stop=zero: 0 for {places[0]} of {of.topic} is a place to go to", "leave it out")
    return names.get(of.topic, of.topic)


def _renamed(setting: str, values: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """The new names of topics; UsageError of one that the recording does not have."""
    found = dict(value.split(":=", 1) for value in values)
    for name in found:
        if name not in known:
            hint = did_you_mean(name, known) or f"it has: {listed(sorted(known))}"
            raise UsageError(f"{setting}: no topic {name!r} is among those of the recording", hint)
    return found
