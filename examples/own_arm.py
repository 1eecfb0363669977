"""The arm of own_bags.py as a node of ROS 2, for a policy that learned from those bags to move it.

`python examples/own_arm.py 10`, and beside it `omp deploy --ros --set ros.episode=/enable --episodes 10`: ten times a
thing lies somewhere; the arm follows /servo until /gripper says 0, or for six seconds, and it is printed how far from
the thing the gripper closed. Needs rclpy, geometry_msgs, NumPy and SciPy alone.
"""

import sys

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from scipy.spatial.transform import Rotation
from std_msgs.msg import Bool, Float64

SECONDS, PAUSE, FOLLOWS = 6.0, 0.5, 0.2


class Arm(Node):
    """Says where tool and thing are, and whether it may be moved; does as it is told."""

    def __init__(self) -> None:
        super().__init__("arm")
        self.tool, self.thing, self.enable = (
            self.create_publisher(kind, topic, 10)
            for kind, topic in ((PoseStamped, "/tool"), (PoseStamped, "/thing"), (Bool, "/enable"))
        )
        self.create_subscription(PoseStamped, "/servo", self.servo, 10)
        self.create_subscription(Float64, "/gripper", self.gripper, 10)
        self.create_timer(0.01, self.step)
        self.random, self.number, self.tick, self.closed = np.random.default_rng(1), -1, 0, []
        self.begin()

    def begin(self) -> None:
        """The arm is at its start, and the thing somewhere else."""
        self.number, self.tick, self.target, self.shut = self.number + 1, 0, None, False
        place, angle = self.random.uniform([-0.2, -0.2, 0.02], [0.2, 0.2, 0.1]), self.random.uniform(-1.0, 1.0)
        self.aim = place, Rotation.from_euler("zx", [angle, np.pi])
        self.at = np.array([0.0, 0.0, 0.4]), Rotation.from_euler("zx", [0.0, np.pi])

    def step(self) -> None:
        """A hundredth of a second: on the way to where the servo is told to be."""
        moves = self.tick / 100 >= PAUSE
        if moves and self.target is not None:
            (place, turn), (to, to_turn) = self.at, self.target
            left = (to_turn * turn.inv()).as_rotvec()
            self.at = place + FOLLOWS * (to - place), Rotation.from_rotvec(FOLLOWS * left) * turn
        self.tool.publish(self.pose(*self.at))
        if self.tick % 10 == 0:
            self.thing.publish(self.pose(*self.aim))
            self.enable.publish(Bool(data=moves))
        # Before it has been told anything, no time passes for the arm: whoever moves it is still to come.
        self.tick += self.tick < 100 * PAUSE or self.target is not None
        if self.shut or self.tick > 100 * SECONDS:
            self.end()

    def end(self) -> None:
        """Say how it went, and begin anew."""
        self.enable.publish(Bool(data=False))
        far = float(np.linalg.norm(self.at[0] - self.aim[0]))
        angle = float((self.aim[1] * self.at[1].inv()).magnitude())
        how = f"{100 * far:.1f} cm and {angle:.2f} rad from the thing"
        print(f"episode {self.number}: {'closed' if self.shut else 'still open'} {how}", flush=True)
        self.closed.append(self.shut and far < 0.04)
        self.begin()

    def servo(self, told: PoseStamped) -> None:
        """Where to be."""
        place, turn = told.pose.position, told.pose.orientation
        to = np.array([place.x, place.y, place.z])
        self.target = to, Rotation.from_quat([turn.x, turn.y, turn.z, turn.w])

    def gripper(self, told: Float64) -> None:
        """1 opens it, 0 closes it."""
        self.shut = self.tick / 100 >= PAUSE and told.data < 0.5

    def pose(self, place: np.ndarray, turn: Rotation) -> PoseStamped:
        """A message."""
        found = PoseStamped()
        found.header.stamp, found.header.frame_id = self.get_clock().now().to_msg(), "base"
        of, way = found.pose.position, found.pose.orientation
        of.x, of.y, of.z = place.tolist()
        way.x, way.y, way.z, way.w = turn.as_quat().tolist()
        return found


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/own_arm.py EPISODES")
    rclpy.init()
    arm = Arm()
    while len(arm.closed) < int(sys.argv[1]):
        rclpy.spin_once(arm)
    print(f"closed within 4 cm: {sum(arm.closed)} of {len(arm.closed)}")
    rclpy.shutdown()
