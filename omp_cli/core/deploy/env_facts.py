"""What is found out of a Gymnasium environment before a policy moves it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np

_DITHER = 2
"""By which the whole numbers of pictures of one scene may differ, as some renderers dither."""


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


def starts_repeat(env: gymnasium.Env[Any, Any], seed: int) -> bool:
    """Whether one seed leads to one start, as far as the first observations of two resets with it show that."""
    first = _kept(env.reset(seed=seed)[0])
    return _alike(first, env.reset(seed=seed)[0])


def _kept(seen: Any) -> Any:
    """A copy, for an environment may reuse its memory."""
    if isinstance(seen, Mapping):
        return {name: _kept(x) for name, x in seen.items()}
    return np.array(seen) if _is_array(seen) else seen


def _is_array(seen: Any) -> bool:
    return isinstance(seen, np.ndarray | np.generic | float) and np.asarray(seen).dtype.kind in "iufb"


def _alike(one: Any, other: Any) -> bool:
    """Whether two observations are one, but for rounding; what is neither named nor numbers is passed over."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(x, other[name]) for name, x in one.items())
    if not (_is_array(one) and _is_array(other)):
        return True
    a, b = np.asarray(one), np.asarray(other)
    may = _DITHER if a.dtype == np.uint8 else 1e-6
    return a.shape == b.shape and np.allclose(a.astype(np.float64), b.astype(np.float64), 1e-5, may, equal_nan=True)
