"""A robot on ROS in the control loop: by the topics, types and names of the bags that a policy learned from."""
