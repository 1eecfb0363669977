"""What a recording of a robot on ROS keeps for the day on which a policy that learned from it moves the robot."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from omp_cli.core.base.config import AtLeast0, Count, CountOrZero, Settings


class ObservedTopic(Settings):
    """Where an array of the recording comes from."""

    topic: str = ""
    """Its topic; empty for the pose of a frame, which tf says."""
    type: str = ""
    """The topic's type, as sensor_msgs/msg/JointState."""
    dtype: str = ""
    """The type of its pixels, of pictures that are not packed, as uint16; empty of others."""
    joints: tuple[str, ...] = ()
    """The joints whose numbers these are, in the order of the recording; empty where there are none."""
    matrix: bool = False
    """Whether a pose that tf says is a matrix (4, 4), as the pose of a camera, or x, y, z and a quaternion (7,)."""
    every: dict[str, AtLeast0] = Field(default_factory=dict)
    """Seconds between two words, in the recording, of those of its sources that say something steadily: a joint, a
    transform of tf ("tf:base>arm"), or the topic itself.
    """


class CommandedPart(Settings):
    """Numbers of the action that are a part of a message."""

    path: tuple[str, ...]
    """The fields that lead to them; none where the message is nothing else."""
    begin: CountOrZero
    """The place of the first of them in the action."""
    width: Count
    """How many they are."""


class CommandTopic(Settings):
    """A topic by which the robot was commanded, and what a message of it is like."""

    topic: str
    """Its name; of a pose that tf says, which is no command, the name of that pose."""
    type: str
    """The topic's type."""
    parts: tuple[CommandedPart, ...]
    """What the policy says of it."""
    message: dict[str, Any] = Field(default_factory=dict)
    """The rest of a message, as the first one of the recording said it, without times."""
    commanded: bool = True
    """Whether somebody commanded it, or the robot said it of itself."""


class RosTopics(Settings):
    """Topics of a robot on ROS."""

    version: Literal[1, 2]
    """Of ROS."""
    observed: dict[str, ObservedTopic]
    """By the names of the recording's arrays."""
    commands: tuple[CommandTopic, ...]
    """Topics whose messages make the action."""
    transforms: dict[str, str] = Field(default_factory=dict)
    """The types of the topics of tf, by their names; empty where no pose of a frame was taken."""
    episode: dict[str, str] = Field(default_factory=dict)
    """The topic that said when an episode was recorded, and its type; empty where none did."""
    definitions: dict[str, str] = Field(default_factory=dict)
    """Definitions of those of the types that do not come with ROS itself, by the types' names."""
