"""A node of ROS 2 for tests: joints at 100 Hz, best effort and in another order; a goal, which it says once; a command.

Run by the Python that has rclpy, with the seconds for which its switch /enable is off and on in turn (0: always off).
Each command that it hears is a line of JSON, and so is what the switch says when it changes.
"""

import json
import sys
import time

import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64, Float64MultiArray

each, began, was = float(sys.argv[1]), time.monotonic(), False
rclpy.init()
node = rclpy.create_node("arm")
joints = node.create_publisher(JointState, "/joints", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
goal = node.create_publisher(Float64, "/goal", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
enable = node.create_publisher(Bool, "/enable", 10)
goal.publish(Float64(data=0.25))


def switch() -> None:
    """Say whether the robot may be moved."""
    global was
    now = each > 0 and int((time.monotonic() - began) / each) % 2 == 1
    if now != was:
        print(json.dumps(now), flush=True)
        was = now
    enable.publish(Bool(data=now))


node.create_subscription(Float64MultiArray, "/command", lambda of: print(json.dumps(list(of.data)), flush=True), 10)
node.create_timer(0.01, lambda: joints.publish(JointState(name=["turn", "lift"], position=[2.0, 1.0])))
node.create_timer(0.02, switch)
rclpy.spin(node)
