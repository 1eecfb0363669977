"""What episodes from files hold, in numbers and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.readers import Recording
from omp_cli.core.data.store import Arrays


def numbers_of(episodes: Sequence[Arrays]) -> dict[str, Any]:
    """Returns, success and range of the actions, as a provenance has them."""
    actions = [episode["action"] for episode in episodes]
    return {
        "returns": returns_of(episodes),
        "success_share": _success(episodes),
        "action_range": [float(min(a.min() for a in actions)), float(max(a.max() for a in actions))],
        "actions_beyond_one": sum(int((np.abs(a) > 1).sum()) for a in actions),
    }


def returns_of(episodes: Sequence[Arrays]) -> dict[str, float] | None:
    """Mean, least and largest sum of rewards; None where the data have none."""
    if "reward" not in episodes[0]:
        return None
    returns = [float(e["reward"].sum(dtype=np.float64)) for e in episodes]
    return {"mean": round(float(np.mean(returns)), 3), "min": round(min(returns), 3), "max": round(max(returns), 3)}


def _success(episodes: Sequence[Arrays]) -> float | None:
    """Share of episodes in which the success flag was ever set; None where the data has no such flag."""
    if "success" not in episodes[0]:
        return None
    return round(float(np.mean([e["success"].any() for e in episodes])), 4)


def first_and_last(episodes: Sequence[Arrays]) -> list[Arrays]:
    """What a contact sheet shows of an episode: the first camera's first and last picture, and the actions."""
    return [
        {"first_picture": e["img"][0, ..., :3], "last_picture": e["img"][-1, ..., :3], "action": e["action"]}
        for e in episodes
    ]


def unclipped(figures: Mapping[str, Any], users_own: bool = False) -> list[str]:
    """What to say of actions that a simulator would clip; a plugin's environment (``users_own``) has its own bounds."""
    reach, beyond = max(map(abs, figures["action_range"])), figures["actions_beyond_one"]
    if reach <= 1 or (beyond is None and reach <= 1.01):
        return []
    line = f"actions of {figures['task']} reach {reach:.3g}: so will a policy"
    if users_own:
        return [f"{line}, and the environment of {figures['suite']} gets them as they are"]
    line += "; simulators clip to [-1, 1]"
    return [line if beyond is None else f"{line}; {beyond} of {figures['action_values']} values are stored unclipped"]


def counted(recording: Recording, wanted: int | None, left_out: int, expected: str) -> Recording:
    """The recording, with what is unusual of its numbers of episodes and frames in ``said``.

    Args:
        recording: without the episodes that are left out.
        wanted: episodes that are asked for; None for all.
        left_out: how many are left out.
        expected: what such a file holds, for messages.

    Raises:
        DataError: no episode has a second frame, so no action follows another.
    """
    episodes = len(recording.episodes)
    single = sum(len(episode["action"]) == 1 for episode in recording.episodes)
    if single == episodes:
        raise DataError(
            f"{'its only episode' if single == 1 else f'each of its {single} episodes'} has one frame, and there "
            "is nothing to learn where no action follows another",
            f"look at where the episodes end; expected: {expected}",
        )
    said = [f"{single} of {episodes} episodes have one frame alone"] if single else []
    if wanted is not None and wanted > episodes + left_out:
        said.append(f"--demos {wanted} asks for more episodes than there are to take: {episodes + left_out}")
    return replace(recording, said=(*recording.said, *said)) if said else recording
