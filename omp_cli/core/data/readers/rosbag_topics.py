"""Where the arrays of a bag come from, for a policy that is to be shown them by the robot itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omp_cli.core.data.readers.rosbag_clock import steady_step
from omp_cli.core.data.readers.rosbag_episode import ScannedBag
from omp_cli.core.data.readers.rosbag_messages import TRANSFORMS, plain
from omp_cli.core.data.readers.rosbag_signals import Joints, Signal
from omp_cli.core.data.readers.rosbag_transforms import BETWEEN, PREFIX
from omp_cli.core.data.topics import CommandedPart, CommandTopic, ObservedTopic, RosTopics

_POSE = "geometry_msgs/msg/PoseStamped"
_POSE_PARTS = ((("pose", "position"), 3), (("pose", "orientation"), 4))


def topics_of(found: ScannedBag, seen: Sequence[str], acted: Sequence[str], episode: Sequence[str] = ()) -> RosTopics:
    """Topics of what is observed and of what is commanded.

    Args:
        found: the first bag.
        seen: names of what is observed.
        acted: names of what makes the action, in its order.
        episode: the name of what says when an episode is recorded, if something does.
    """
    contents = found.contents
    observed = {name: _observed(found, name) for name in seen}
    said = {of.topic for of in observed.values()}
    commands, place = dict[str, CommandTopic](), 0
    for name in acted:
        signal = found.signals[name]
        width = signal.shape[0] if signal.shape else 1
        if name.startswith(PREFIX):
            one = _of_pose(name, place)
        else:
            topic = contents.topics[name]
            part = CommandedPart(path=contents.parts[name].path, begin=place, width=width)
            one = CommandTopic(
                topic=topic,
                type=contents.types[topic],
                parts=(part,),
                message=_rest(contents.first[topic], signal),
                commanded=topic not in said,
            )
        known = commands.get(one.topic)
        commands[one.topic] = one if known is None else known.model_copy(update={"parts": (*known.parts, *one.parts)})
        place += width
    poses = any(name.startswith(PREFIX) for name in seen)
    transforms = {topic: kind for topic, kind in contents.types.items() if poses and kind in TRANSFORMS}
    switch = {contents.topics[name]: contents.types[contents.topics[name]] for name in episode}
    used = {*transforms, *said, *commands, *switch}
    return RosTopics(
        version=contents.version,
        observed=observed,
        commands=tuple(commands.values()),
        transforms=transforms,
        episode=switch,
        definitions={contents.types[topic]: of for topic, of in contents.definitions.items() if topic in used},
    )


def _observed(found: ScannedBag, name: str) -> ObservedTopic:
    """Where an array comes from, and how often each of its sources says something."""
    signal, contents = found.signals[name], found.contents
    steps = {source: steady_step(times) for source, times in signal.sources.items()}
    every = {source: step for source, step in steps.items() if step is not None}
    if name.startswith(PREFIX):
        return ObservedTopic(matrix=signal.shape == (4, 4), every=every)
    topic, joints = contents.topics[name], signal.names if isinstance(signal, Joints) else ()
    dtype = signal.dtype.name if contents.parts[name].kind == "picture" else ""
    return ObservedTopic(topic=topic, type=contents.types[topic], dtype=dtype, joints=joints, every=every)


def _rest(first: Any, signal: Signal) -> dict[str, Any]:
    """What of the first message of a topic is repeated; of joints the names of all of them."""
    found: dict[str, Any] = plain(first)
    return {**found, "name": list(signal.names)} if isinstance(signal, Joints) else found


def _of_pose(name: str, begin: int) -> CommandTopic:
    """A pose that tf says, which a robot that is moved by poses is told as a message of its own."""
    base = name.removeprefix(PREFIX).partition(BETWEEN)[0].strip().lstrip("/")
    parts = []
    for path, width in _POSE_PARTS:
        parts.append(CommandedPart(path=path, begin=begin, width=width))
        begin += width
    message = {"header": {"frame_id": base}, "pose": {"position": {}, "orientation": {}}}
    return CommandTopic(topic=name, type=_POSE, parts=tuple(parts), message=message, commanded=False)
