"""How near an episode came to success: whether the thing was ever grasped, and how far it is from where it belongs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.suites.ends import Ends

_LIFTED = 0.04
"""Height above the table at which robosuite counts the cube as lifted, metres."""


def ends_of(sim: Any, task: str) -> Ends:
    """What is told of a robosuite environment's present state beside success.

    ``grasped``: both fingertips of a hand touch the thing (robosuite's own check). ``to_goal``, metres: of lift the
    height that is still missing; else the horizontal distance to the middle of the can's place in the bin, to the peg,
    to the middle of the target bin. Transport also says whether the other thing is in its bin: ``trash_in_bin``.
    """
    thing, to_goal = _TASKS[task]
    model = thing(sim)
    place = np.array(sim.sim.data.body_xpos[sim.sim.model.body_name2id(model.root_body)])
    grasped = any(sim._check_grasp(gripper=robot.gripper, object_geoms=model) for robot in sim.robots)
    found: Ends = {"grasped": bool(grasped), "to_goal": to_goal(sim, place)}
    if task == "transport":
        found["trash_in_bin"] = bool(sim.transport.trash_in_trash_bin)
    return found


def _aside(place: NDArray[np.float64], goal: Any) -> float:
    return float(np.linalg.norm(place[:2] - np.asarray(goal)[:2]))


_TASKS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any, NDArray[np.float64]], float]]] = {
    "lift": (
        lambda sim: sim.cube,
        lambda sim, place: max(0.0, float(sim.model.mujoco_arena.table_offset[2]) + _LIFTED - float(place[2])),
    ),
    "can": (
        lambda sim: sim.objects[sim.object_id],
        lambda sim, place: _aside(place, sim.target_bin_placements[sim.object_id]),
    ),
    "square": (
        lambda sim: sim.nuts[sim.nut_id],
        lambda sim, place: _aside(place, sim.sim.data.body_xpos[sim.peg1_body_id]),
    ),
    "transport": (
        lambda sim: sim.transport.objects["payload"],
        lambda sim, place: _aside(place, sim.transport.target_bin_pos),
    ),
}
"""By task: the model of the thing that is moved, and how far it is from its goal."""
