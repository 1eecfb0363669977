"""Meta-World's 50 tasks: names, groups, crops and goal markers. Needs no simulator."""

from __future__ import annotations

from omp_cli.core.clouds.crop import Box
from omp_cli.core.clouds.sensor import RobotBodies

EASY = (
    "button-press", "button-press-wall", "dial-turn", "door-close", "door-open", "door-unlock", "drawer-close",
    "faucet-close", "faucet-open", "handle-press", "handle-pull", "lever-pull", "peg-unplug-side", "plate-slide",
    "plate-slide-back", "plate-slide-back-side", "plate-slide-side", "reach", "reach-wall", "window-close",
    "window-open",
)  # fmt: skip
MEDIUM = ("coffee-pull", "hammer", "peg-insert-side", "soccer")
HARD = ("assembly", "hand-insert", "pick-place", "push")
VERY_HARD = ("shelf-place", "disassemble", "stick-pull", "stick-push", "pick-place-wall")
MW34 = EASY + MEDIUM + HARD + VERY_HARD
"""The 34 tasks of the papers' tables, in their difficulty classes."""
OTHERS = (
    "basketball", "bin-picking", "box-close", "button-press-topdown", "button-press-topdown-wall", "coffee-button",
    "coffee-push", "door-lock", "drawer-open", "handle-press-side", "handle-pull-side", "pick-out-of-hole",
    "push-back", "push-wall", "sweep", "sweep-into",
)  # fmt: skip
MW50 = tuple(sorted(MW34 + OTHERS))

GROUPS: dict[str, tuple[str, ...]] = {
    "easy": EASY, "medium": MEDIUM, "hard": HARD, "very-hard": VERY_HARD, "mw34": MW34, "mw50": MW50,
}  # fmt: skip

CAMERA_NAME = "corner2"
CAMERA_POSITION = (0.6, 0.295, 0.8)
"""Where the public pipelines move ``corner2``: metres, world frame. Its orientation and fovy (60 degrees) stay."""

HIDDEN_BODIES = ("RetainingWall",)
"""A 12 cm rim around the table that the papers' scenes do not have: rays pass through it, physics keeps it."""
DROPPED_MATERIALS = ("table_wood",)
"""Tables stop rays and their points are left out: objects keep their lowest millimetres, and holes their contents."""

ROBOT = RobotBodies(
    arm=(
        "base", "controller_box", "pedestal_feet", "torso", "pedestal", "right_arm_base_link", "head", "screen",
        "head_camera", "right_torso_itb", "right_arm_itb", "right_l0", "right_l1", "right_l1_2", "right_l2",
        "right_l2_2", "right_l3", "right_l4", "right_l4_2", "right_l5", "right_hand_camera", "right_wrist", "right_l6",
    ),
    gripper=("right_hand", "hand", "rightclaw", "rightpad", "leftclaw", "leftpad"),
)  # fmt: skip
"""The Sawyer: everything up to the flange of its wrist (``right_l6``), and what is screwed to it."""

DEFAULT_CROP = Box((-0.5, 0.3, 0.0), (0.5, 1.07, 0.6))
"""Metres, world frame: the space above the table top (z = 0) that the hand reaches, and the fixtures at its far edge
(coffee machine, door frame: y up to 1.064)."""
CROPS: dict[str, Box] = {
    # the table top is at z = 0.05 and a hole in it holds the goal (hand-insert: z = -0.02) or the object at the end
    "hand-insert": Box((-0.5, 0.3, -0.06), (0.5, 1.07, 0.6)),
    "sweep-into": Box((-0.5, 0.3, -0.06), (0.5, 1.07, 0.6)),
    # the shelf is 0.66 high
    "shelf-place": Box((-0.5, 0.3, 0.0), (0.5, 1.07, 0.68)),
    # the goal is at x = 0.5
    "sweep": Box((-0.5, 0.3, 0.0), (0.55, 1.07, 0.6)),
}
"""Tasks that need more room than the default crop."""

GOAL_SITES: dict[str, str] = dict.fromkeys(
    (
        "basketball", "box-close", "dial-turn", "door-close", "door-open", "drawer-close", "drawer-open",
        "hand-insert", "lever-pull", "peg-insert-side", "peg-unplug-side", "pick-out-of-hole", "pick-place",
        "pick-place-wall", "plate-slide", "plate-slide-back", "plate-slide-back-side", "plate-slide-side", "push",
        "push-back", "push-wall", "reach", "reach-wall", "shelf-place", "soccer", "stick-pull", "stick-push", "sweep",
        "sweep-into", "window-close", "window-open",
    ),
    "goal",
) | {
    "coffee-button": "coffee_goal", "coffee-pull": "mug_goal", "coffee-push": "coffee_goal",
    "door-lock": "goal_lock", "door-unlock": "goal_unlock",
}  # fmt: skip
"""The site that shows the task's goal as a sphere of at least 1 cm radius. Smaller ones (below one pixel of the
84 x 84 camera) mark things that are visible anyway: a peg, a button, a handle."""
