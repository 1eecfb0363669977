"""Augmentation by turning: a demonstration, seen from another side, is another demonstration (``train.turn``).

A training window is turned about the vertical through the gripper: cloud, positions in the state and displacements in
the action chunk by the same angle, so that what the policy sees and what it is to do still belong together.

Legend: B windows, T observation steps, N points, S state dimension, H horizon, A action dimension, F frames.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.seeds import derived_seed
from omp_cli.core.data.windows import Windows
from omp_cli.core.spec import Spec

_FINEST = 10.0
"""Degrees between the angles at which limits are taken: between two of them a limit is passed by 0.4 % at most."""


def check_turnable(keys: Collection[str], spec: Spec) -> None:
    """UsageError where windows cannot be turned.

    Args:
        keys: observation arrays that the policy and its teacher read.
        spec: the spec of the policy.
    """
    task = f"{spec.suite} {spec.task}"
    what = ""
    if others := sorted(set(keys) - {"state", "point_cloud"}):
        what = f"the policy reads {others[0]}, and only clouds and states can be turned"
    elif "state" not in keys:
        what = "the policy does not read the state, which says where the gripper is"
    elif not spec.displacements:
        what = f"{task} does not say that its actions are displacements in the world frame"
    elif not spec.positions or spec.end_effector is None:
        what = f"{task} has no positions in its state to turn with the cloud"
    elif "point_cloud" in keys and not spec.cloud_in_world:
        what = f"the clouds of {task} are not in the world frame, in which actions are displacements"
    elif spec.relative_actions or spec.relative_state:
        what = "turned windows do not go together with chunk.relative and chunk.relative_state"
    if what:
        raise UsageError(
            f"train.turn: {what}",
            "leave train.turn at 0; metaworld's clouds and states in the world frame can be turned",
        )


def turn_angles(degrees: float, count: int, seed: int, step: int) -> Tensor:
    """Angles of a step's windows, (count,) float32 radians, uniform in [-degrees, degrees]; a function of all four."""
    generator = torch.Generator().manual_seed(derived_seed("turn", seed, step))
    return (torch.rand(count, generator=generator) * 2 - 1) * math.radians(degrees)


def turned(
    obs: Mapping[str, Tensor], actions: Tensor, angles: Tensor, spec: Spec, reach: float = math.inf
) -> tuple[dict[str, Tensor], Tensor]:
    """Windows turned about the vertical through the end-effector of their newest observation.

    Args:
        obs: "state" (B, T, S) and, if read, "point_cloud" (B, T, N, 3); metres, world frame.
        actions: chunks (B, H, A) in the environment's units.
        angles: (B,) radians, counter-clockwise seen from above.
        spec: which numbers are positions and displacements.
        reach: what x and y of the displacements are clipped to afterwards, see ``reach_of``.

    Returns:
        The same arrays, turned; what is no position and no displacement is as it was.
    """
    assert spec.end_effector is not None
    rotation = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], -1).unflatten(-1, (2, 2))
    newest = obs["state"][:, -1]
    centre = torch.stack([newest[:, index] for index in spec.end_effector[:2]], -1)
    result = {**obs, "state": _turn_in(obs["state"], spec.positions, rotation, centre)}
    if "point_cloud" in obs:
        cloud = obs["point_cloud"].flatten(1, 2)
        result["point_cloud"] = _turn_in(cloud, ((0, 1, 2),), rotation, centre).view_as(obs["point_cloud"])
    actions = _turn_in(actions, spec.displacements, rotation, torch.zeros_like(centre))
    for column in _horizontal(spec):
        actions[..., column].clamp_(-reach, reach)
    return result, actions


def _turn_in(x: Tensor, triples: Iterable[tuple[int, int, int]], rotation: Tensor, centre: Tensor) -> Tensor:
    """x (B, L, D) with x, y of the triples turned by rotation (B, 2, 2) about centre (B, 2).

    Columns one by one: a list of them would be copied to the device, for which the host waits.
    """
    x = x.clone()
    for i, j, _ in triples:
        plane = torch.stack([x[..., i], x[..., j]], -1)
        x[..., i], x[..., j] = ((plane - centre[:, None]) @ rotation.mT + centre[:, None]).unbind(-1)
    return x


def _horizontal(spec: Spec) -> list[int]:
    """Where x and y of the displacements are in an action."""
    return [index for triple in spec.displacements for index in triple[:2]]


def reach_of(actions: Tensor, spec: Spec) -> float:
    """The largest component that a displacement may have after turning, from the data's actions (F, A).

    1, for an environment executes no more, component by component: a turned chunk is clipped as one that its expert
    recorded in the turned scene. Unclipped data (``--raw-actions``) hold what the expert asked for, which turns as it
    is: there the data's own largest component takes the place of 1.
    """
    return max(1.0, float(actions[:, _horizontal(spec)].abs().max()))


def with_turned_limits(arrays: Mapping[str, Tensor], windows: Windows, degrees: float, spec: Spec) -> dict[str, Tensor]:
    """Data to which a policy's normalisation is fitted when its windows will be turned.

    Where demonstrations move along one axis alone, the other axis has hardly any range, and a turned action or position
    would lie many times outside of it. So a few rows are added to every array: the least and the largest of each number
    over all windows, for angles from -degrees to degrees.

    Args:
        arrays: whole arrays (F, ...): "state", "action" and, if read, "point_cloud".
        windows: which frames are turned together.
        degrees: the largest angle.
        spec: the spec of the data.
    """
    reach = reach_of(arrays["action"], spec)
    observed = {key: x[torch.from_numpy(windows.obs)] for key, x in arrays.items() if key != "action"}
    extremes: dict[str, list[Tensor]] = {key: [x] for key, x in arrays.items()}
    steps = math.ceil(degrees / _FINEST)
    for angle in torch.linspace(-math.radians(degrees), math.radians(degrees), 2 * steps + 1):
        by = angle.expand(len(windows))  # as many as there are frames
        obs, actions = turned(observed, arrays["action"][:, None], by, spec, reach)
        for key, x in {**obs, "action": actions}.items():
            extremes[key] += [x.amin((0, 1))[None], x.amax((0, 1))[None]]
    return {key: torch.cat(rows) for key, rows in extremes.items()}
