"""Of a policy that learned from bags, the robot that it moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from omp_cli.core.base.errors import UsageError
from omp_cli.core.data.topics import RosTopics
from omp_cli.core.deploy.config import RosConfig
from omp_cli.core.deploy.decider import Decider
from omp_cli.core.deploy.robots import Robot
from omp_cli.core.deploy.ros.links import open_link
from omp_cli.core.deploy.ros.messages import RosMessages
from omp_cli.core.deploy.ros.robot import RosRobot, SwitchedRosRobot


def topics_of_policy(decider: Decider) -> RosTopics:
    """Where the arrays come from that a policy learned from; UsageError where nothing says it."""
    if (found := decider.topics) is None:
        raise UsageError(
            "--ros: this policy did not learn from ROS bags, or from data that do not say their topics, as those of an "
            "earlier omp and those that are joined from data sets",
            "omp prepare own BAGS reads them anew; --env FILE.py:make moves any robot",
        )
    return found


def make_ros_robot(decider: Decider, config: RosConfig, log: Path, note: Callable[[str], None]) -> Robot:
    """The robot on ROS whose bags a policy learned from.

    Args:
        decider: the policy.
        config: settings.
        log: file for what ROS prints.
        note: called with what is listened to and published.

    Raises:
        UsageError: the policy did not learn from bags, or a setting does not fit it.
        MissingDependency: rclpy, rospy, rosbags or the package of a message's type is not here.
        RunFailed: there is no master of ROS 1.
    """
    topics = topics_of_policy(decider)
    messages = RosMessages(topics, config.version or topics.version)
    link = open_link(messages, config.python, log)
    try:
        kind = RosRobot if config.episode is None else SwitchedRosRobot
        return Robot(kind(topics, messages, link, config, note), "ROS", decider.signature, note)
    except BaseException:
        link.close()
        raise
