"""Seeds: demonstrations and evaluation draw start states from ranges of integers that cannot meet."""

from __future__ import annotations

import hashlib

HELD_OUT = 1 << 30
MAX_SEED = 2**63 - 1
"""The largest seed that torch's generators take."""


def derived_seed(*parts: int | str) -> int:
    """A number below 2**30 that depends on all parts, the same in every process and version."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % HELD_OUT


def demo_seed(seed: int, task: str, index: int) -> int:
    """The seed of the start state of the ``index``-th candidate demonstration, in [0, 2**30)."""
    return derived_seed("demo", seed, task, index)


def eval_seed(seed: int, task: str, index: int) -> int:
    """The seed of the ``index``-th evaluation episode, in [2**30, 2**31), which no demonstration can have."""
    return HELD_OUT + derived_seed("eval", seed, task, index)


def rollout_seed(seed: int, task: str, env: int, number: int) -> int:
    """The seed of the ``number``-th episode of an environment in training, in [0, 2**30), which no evaluation has."""
    return derived_seed("rollout", seed, task, env, number)
