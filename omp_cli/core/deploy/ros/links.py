"""Connections to ROS: rclpy for ROS 2, rospy for ROS 1. Both come with ROS, and both are told bytes."""

from __future__ import annotations

import importlib
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from omp_cli.core.base.errors import MissingDependency, RunFailed, one_line
from omp_cli.core.deploy.ros.messages import Now, RosMessages

NODE = "omp"
_HOW = (
    "in a shell in which ROS was set up (source /opt/ros/DISTRO/setup.bash), by ROS's own Python: "
    "python3 -m venv --system-site-packages .venv; a robot whose Python is older asks omp serve"
)
_QUEUE = 10
_LATCHED = 100
"""Old messages that are asked of publishers that keep them, as /tf_static's do."""


class RosLink(ABC):
    """A node of a robot's graph."""

    @abstractmethod
    def published(self) -> Mapping[str, set[str]]:
        """The types of the topics that somebody publishes, as ``sensor_msgs/msg/Image``, by their names."""

    @abstractmethod
    def listeners(self, topic: str) -> int:
        """How many others listen to a topic."""

    @abstractmethod
    def listen(self, topic: str, kind: str, hear: Callable[[bytes], None]) -> None:
        """Have the bytes of each message of a topic that somebody publishes, in a thread of ROS."""

    @abstractmethod
    def publisher(self, topic: str, kind: str) -> Callable[[bytes], None]:
        """What publishes the bytes of a message."""

    @abstractmethod
    def now(self) -> Now:
        """The time by the clock of ROS."""

    @abstractmethod
    def close(self) -> None:
        """Leave the graph."""


class Ros2(RosLink):
    """A node of ROS 2."""

    def __init__(self) -> None:
        try:
            import rclpy
            from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
            from rclpy.signals import SignalHandlerOptions
        except ImportError as error:
            raise MissingDependency(f"rclpy, of ROS 2, cannot be imported: {one_line(error)}", _HOW) from None
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(NODE, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

        def spin() -> None:
            with suppress(ExternalShutdownException):
                self._executor.spin()

        self._thread = threading.Thread(target=spin, name="ROS", daemon=True)
        self._thread.start()

    def published(self) -> Mapping[str, set[str]]:
        """See the base class."""
        known = self._node.get_topic_names_and_types()
        return {topic: set(kinds) for topic, kinds in known if self._node.count_publishers(topic)}

    def listeners(self, topic: str) -> int:
        """See the base class."""
        return int(self._node.count_subscribers(topic))

    def listen(self, topic: str, kind: str, hear: Callable[[bytes], None]) -> None:
        """See the base class; what is asked of the publishers is no more than they offer."""
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

        offered = [of.qos_profile for of in self._node.get_publishers_info_by_topic(topic)]
        kept = bool(offered) and all(of.durability == DurabilityPolicy.TRANSIENT_LOCAL for of in offered)
        reliable = bool(offered) and all(of.reliability == ReliabilityPolicy.RELIABLE for of in offered)
        quality = QoSProfile(
            depth=_LATCHED if kept else _QUEUE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if kept else DurabilityPolicy.VOLATILE,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        self._node.create_subscription(_class_of(topic, kind), topic, hear, quality, raw=True)

    def publisher(self, topic: str, kind: str) -> Callable[[bytes], None]:
        """See the base class."""
        publish: Callable[[bytes], None] = self._node.create_publisher(_class_of(topic, kind), topic, _QUEUE).publish
        return publish

    def now(self) -> Now:
        """See the base class."""
        return divmod(self._node.get_clock().now().nanoseconds, 1_000_000_000)

    def close(self) -> None:
        """See the base class."""
        self._executor.shutdown()
        self._thread.join(timeout=5)
        self._node.destroy_node()
        self._context.try_shutdown()


def _class_of(topic: str, kind: str) -> Any:
    """The class of a type of ROS 2; MissingDependency where its package is not here."""
    package, _, name = kind.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        debian = f"ros-{os.environ.get('ROS_DISTRO', 'DISTRO')}-{package.replace('_', '-')}"
        raise MissingDependency(
            f"{topic} is of {kind}, which this Python has not: {one_line(error)}",
            f"apt install {debian}, or source the workspace that has it",
        ) from None


class Ros1(RosLink):
    """A node of ROS 1, of which a process has one.

    Args:
        messages: types of messages.
    """

    def __init__(self, messages: RosMessages) -> None:
        try:
            import rosgraph
            import rospy
        except ImportError as error:
            raise MissingDependency(f"rospy, of ROS 1, cannot be imported: {one_line(error)}", _HOW) from None
        if not rosgraph.is_master_online():
            uri = os.environ.get("ROS_MASTER_URI", "an address that ROS_MASTER_URI does not say")
            raise RunFailed(f"no master of ROS answers at {uri}", "start roscore, or set ROS_MASTER_URI")
        self._rospy, self._master, self._messages = rospy, rosgraph.Master(f"/{NODE}"), messages
        rospy.init_node(NODE, argv=[], anonymous=True, disable_signals=True)

    def published(self) -> Mapping[str, set[str]]:
        """See the base class."""
        return {topic: {kind.replace("/", "/msg/")} for topic, kind in self._rospy.get_published_topics()}

    def listeners(self, topic: str) -> int:
        """See the base class."""
        _, subscribed, _ = self._master.getSystemState()
        return sum(len(nodes) for name, nodes in subscribed if name == topic)

    def listen(self, topic: str, kind: str, hear: Callable[[bytes], None]) -> None:
        """See the base class."""
        self._rospy.Subscriber(topic, self._rospy.AnyMsg, lambda said: hear(said._buff), queue_size=_QUEUE)

    def publisher(self, topic: str, kind: str) -> Callable[[bytes], None]:
        """See the base class."""
        text, md5 = self._messages.definition(kind)
        about = {"_type": kind.replace("/msg/", "/"), "_md5sum": md5, "_full_text": text}
        message = type("SaidByOmp", (self._rospy.AnyMsg,), about)
        publisher = self._rospy.Publisher(topic, message, queue_size=1)

        def publish(data: bytes) -> None:
            said = message()
            said._buff = data
            publisher.publish(said)

        return publish

    def now(self) -> Now:
        """See the base class."""
        now = self._rospy.get_rostime()
        return now.secs, now.nsecs

    def close(self) -> None:
        """See the base class."""
        time.sleep(0.05)  # rospy hands what was published last to a thread of its own
        self._rospy.signal_shutdown("the loop has ended")


def open_link(messages: RosMessages) -> RosLink:
    """The connection for a version of ROS.

    Raises:
        MissingDependency: its Python package is not here.
        RunFailed: there is no master of ROS 1.
    """
    return Ros2() if messages.version == 2 else Ros1(messages)
