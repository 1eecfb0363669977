"""A node of ROS 1 or 2 that does as its standard input says: a program of its own, run by ROS's Python (3.8 or newer).

It knows what neither omp nor messages say: they come and go as bytes. A frame, in both directions, is the lengths of
two parts (unsigned, 4 bytes each, the highest first), the first part, an object of JSON, and the second, bytes. Each
frame of the input is answered by one in the same order, but for messages that are to be published; what a topic says
comes between answers, as {"heard": TOPIC}. The program ends with its input.

    python3 node.py VERSION NUMBER

has the version of ROS, and the number of the open file that it answers to.
Needs rclpy for 2, or rospy for 1, and nothing else.
"""

from __future__ import annotations

import importlib
import json
import os
import struct
import sys
import threading
import time
import traceback
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:  # Python 3.8 reads no types
    from collections.abc import Callable

    Hear = Callable[[bytes], None]

NAME = "omp"
LENGTHS = struct.Struct(">II")
QUEUE, LATCHED = 10, 100
"""Messages that wait; and old ones that are asked of publishers that keep them, as /tf_static's do."""


CLOCK = "/clock"
"""The topic that says the time where it is simulated."""


class Missing(Exception):
    """A package is not here."""


class Failed(Exception):
    """ROS does not do as it is told."""


class Node2:
    """A node of ROS 2."""

    def __init__(self) -> None:
        try:
            import rclpy
            from rclpy.executors import SingleThreadedExecutor
            from rclpy.signals import SignalHandlerOptions
        except ImportError as error:
            raise Missing(f"rclpy cannot be imported: {error}") from None
        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(NAME, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.publishers: list[Any] = []
        threading.Thread(target=self.spin, daemon=True).start()

    def spin(self) -> None:
        """Hear what is said; without that the node is of no use."""
        try:
            self.executor.spin()
        except BaseException:
            if self.context.ok():
                traceback.print_exc()
                os._exit(1)

    def published(self) -> dict[str, Any]:
        """The types of the topics that somebody publishes; where one of them is /clock, it says the time."""
        known = self.node.get_topic_names_and_types()
        found = {topic: kinds for topic, kinds in known if self.node.count_publishers(topic)}
        if CLOCK in found and not self.node.get_parameter("use_sim_time").value:
            from rclpy.parameter import Parameter

            self.node.set_parameters([Parameter("use_sim_time", value=True)])
        return found

    def listeners(self, topic: str) -> int:
        """How many hear what is published on a topic: not those who ask for what was said before they came."""
        from rclpy.qos import DurabilityPolicy

        asked = [of.qos_profile.durability for of in self.node.get_subscriptions_info_by_topic(topic)]
        return sum(durability != DurabilityPolicy.TRANSIENT_LOCAL for durability in asked)

    def listen(self, topic: str, kind: str, hear: Hear) -> None:
        """Hear a topic, whatever its publishers offer, now and later; and what they have kept of what they said."""
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

        offered = [of.qos_profile.durability for of in self.node.get_publishers_info_by_topic(topic)]
        keeping = [durability == DurabilityPolicy.TRANSIENT_LOCAL for durability in offered]
        qualities = []
        if not keeping or not all(keeping):
            qualities.append(QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.BEST_EFFORT))
        if any(keeping):  # of tf each publisher keeps frames of its own, of another topic the last word counts
            depth = LATCHED if topic.endswith("tf_static") else 1
            qualities.append(QoSProfile(depth=depth, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        for quality in qualities:
            self.node.create_subscription(self.class_of(topic, kind), topic, hear, quality, raw=True)

    def publisher(self, topic: str, kind: str, definition: str, md5: str) -> Hear:
        """What publishes a topic."""
        self.publishers.append(self.node.create_publisher(self.class_of(topic, kind), topic, QUEUE))
        publish: Hear = self.publishers[-1].publish
        return publish

    def now(self) -> tuple[int, int]:
        """Seconds and nanoseconds."""
        return divmod(self.node.get_clock().now().nanoseconds, 1_000_000_000)

    def close(self) -> None:
        """Leave the graph, once the last words have been heard."""
        from rclpy.duration import Duration

        for publisher in self.publishers:
            publisher.wait_for_all_acked(Duration(seconds=0.5))
        self.executor.shutdown(timeout_sec=1)
        self.node.destroy_node()
        self.context.try_shutdown()

    @staticmethod
    def class_of(topic: str, kind: str) -> Any:
        """The class of a type."""
        package, _, name = kind.split("/")
        try:
            return getattr(importlib.import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError) as error:
            raise Missing(f"{topic} is of {kind}, which ROS's Python has not: {error}") from None


class Node1:
    """A node of ROS 1."""

    def __init__(self) -> None:
        try:
            import rosgraph
            import rospy
        except ImportError as error:
            raise Missing(f"rospy cannot be imported: {error}") from None
        if not rosgraph.is_master_online():
            raise Failed(f"no master of ROS answers at {os.environ.get('ROS_MASTER_URI')} (ROS_MASTER_URI)")
        self.rospy, self.master = rospy, rosgraph.Master(f"/{NAME}")
        rospy.init_node(NAME, argv=[], anonymous=True, disable_signals=True)

    def published(self) -> dict[str, Any]:
        """The types of the topics that somebody publishes, as ROS 2 writes them."""
        return {topic: [kind.replace("/", "/msg/")] for topic, kind in self.rospy.get_published_topics()}

    def listeners(self, topic: str) -> int:
        """How many listen to a topic."""
        _, subscribed, _ = self.master.getSystemState()
        return sum(len(nodes) for name, nodes in subscribed if name == topic)

    def listen(self, topic: str, kind: str, hear: Hear) -> None:
        """Hear a topic."""
        self.rospy.Subscriber(topic, self.rospy.AnyMsg, lambda said: hear(said._buff), queue_size=QUEUE)

    def publisher(self, topic: str, kind: str, definition: str, md5: str) -> Hear:
        """What publishes a topic, of a type that is defined so."""
        about = {"_type": kind.replace("/msg/", "/"), "_md5sum": md5, "_full_text": definition}
        message = type("Said", (self.rospy.AnyMsg,), about)
        publisher = self.rospy.Publisher(topic, message, queue_size=1)

        def publish(data: bytes) -> None:
            said = message()
            said._buff = data
            publisher.publish(said)

        return publish

    def now(self) -> tuple[int, int]:
        """Seconds and nanoseconds."""
        now = self.rospy.get_rostime()
        return now.secs, now.nsecs

    def close(self) -> None:
        """Leave the graph."""
        time.sleep(0.05)  # what was published last is in the hands of a thread of rospy's
        self.rospy.signal_shutdown("the loop has ended")


def written(to: IO[bytes], lock: threading.Lock, head: dict[str, Any], data: bytes = b"") -> None:
    """Write a frame."""
    text = json.dumps(head).encode()
    with lock:
        to.write(LENGTHS.pack(len(text), len(data)) + text + data)
        to.flush()


def read(source: IO[bytes]) -> tuple[Any, bytes] | None:
    """Read a frame; None at the end."""
    head = source.read(LENGTHS.size)
    if len(head) < LENGTHS.size:
        return None
    first, second = LENGTHS.unpack(head)
    text, data = source.read(first), source.read(second)
    return (json.loads(text), data) if len(data) == second else None


def answer(node: Any, asked: Any, publishers: dict[str, Hear], hear: Callable[[str], Hear]) -> Any:
    """Do as a frame says; what to answer."""
    do, topic = asked["do"], asked.get("topic", "")
    if do == "published":
        return node.published()
    if do == "listeners":
        return node.listeners(topic)
    if do == "now":
        return node.now()
    if do == "listen":
        node.listen(topic, asked["type"], hear(topic))
    elif do == "publisher":
        publishers[topic] = node.publisher(topic, asked["type"], asked["definition"], asked["md5"])
    else:
        raise Failed(f"nobody knows what {do!r} is")
    return None


def told(error: Exception) -> dict[str, Any]:
    """What to answer in the place of what was asked for: the error in one line."""
    text = "".join(traceback.format_exception_only(type(error), error))
    known = isinstance(error, (Missing, Failed))
    line = " ".join((error.args[0] if known else text).split())
    return {"error": line, "missing": isinstance(error, Missing)}


def main(version: str, number: str) -> None:
    """Serve until the input ends."""
    source, to, lock = sys.stdin.buffer, os.fdopen(int(number), "wb"), threading.Lock()
    try:
        node = Node2() if version == "2" else Node1()
    except Exception as error:
        written(to, lock, told(error))
        return
    written(to, lock, {"answer": "ready"})
    publishers: dict[str, Hear] = {}

    def hear(topic: str) -> Hear:
        return lambda said: written(to, lock, {"heard": topic}, said)

    try:
        for asked, data in iter(lambda: read(source), None):
            if asked["do"] == "publish":
                publishers[asked["topic"]](data)
                continue
            try:
                written(to, lock, {"answer": answer(node, asked, publishers, hear)})
            except Exception as error:
                written(to, lock, told(error))
        node.close()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # threads of ROS may wait for what does not come any more


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file, whose other modules are nobody's
    main(*sys.argv[1:])
