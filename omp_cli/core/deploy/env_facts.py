"""What is found out of a Gymnasium environment before a policy moves it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium


def layers(env: Any) -> Iterator[Any]:
    """An environment's wrappers from the outermost one on, then itself; of anything else that alone."""
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env
    yield env


def step_limit(env: gymnasium.Env[Any, Any]) -> int | None:
    """Steps after which the environment ends an episode; None where it is not known that it does.

    The smallest of all ``TimeLimit`` wrappers around it, of which ``spec`` says nothing unless ``gymnasium.make`` made
    the environment; one that counts its steps itself may call its limit as that wrapper does.
    """
    found = (vars(layer).get("_max_episode_steps") for layer in layers(env))
    return min((limit for limit in found if isinstance(limit, int) and limit > 0), default=None)
