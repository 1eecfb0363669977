"""A node of ROS 2 for tests: joints at 100 Hz, best effort and in another order; a goal, which it says once; a command.

Run by the Python that has rclpy; each command that it hears is a line of JSON.
"""

import json

import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64, Float64MultiArray

rclpy.init()
node = rclpy.create_node("arm")
joints = node.create_publisher(JointState, "/joints", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
goal = node.create_publisher(Float64, "/goal", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
goal.publish(Float64(data=0.25))
node.create_subscription(Float64MultiArray, "/command", lambda of: print(json.dumps(list(of.data)), flush=True), 10)
node.create_timer(0.01, lambda: joints.publish(JointState(name=["turn", "lift"], position=[2.0, 1.0])))
rclpy.spin(node)
