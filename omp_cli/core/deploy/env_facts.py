"""What is found out of a Gymnasium environment before a policy moves it."""

from __future__ import annotations

from typing import Any

import gymnasium


def step_limit(env: gymnasium.Env[Any, Any]) -> int | None:
    """Steps after which the environment ends an episode; None where it is not known that it does.

    The smallest of all ``TimeLimit`` wrappers around it, of which ``spec`` says nothing unless ``gymnasium.make`` made
    the environment; one that counts its steps itself may call its limit as that wrapper does.
    """
    limits: list[int] = []
    layer: gymnasium.Env[Any, Any] | None = env
    while layer is not None:
        found = vars(layer).get("_max_episode_steps")
        if isinstance(found, int) and not isinstance(found, bool) and found > 0:
            limits.append(found)
        layer = layer.env if isinstance(layer, gymnasium.Wrapper) else None
    return min(limits, default=None)
