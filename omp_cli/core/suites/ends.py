"""How an episode ends beside its success: what a suite says of each step (``Outcome.ends``), over the whole episode."""

from __future__ import annotations

from collections.abc import Mapping

Ends = dict[str, float | bool]

LEAST = "_least"
"""After the name of a number: the smallest that it was on the way, beside the last."""


def after_step(so_far: Mapping[str, float | bool], step: Mapping[str, float | bool]) -> Ends:
    """What is known of an episode after one more step.

    A bool tells whether something has happened at any step so far; a number, a distance for one, is that of the last
    step, and under its name with ``LEAST`` the smallest of all steps.
    """
    found: Ends = {}
    for name, value in step.items():
        if isinstance(value, bool):
            found[name] = value or bool(so_far.get(name, False))
        else:
            found[name], found[name + LEAST] = value, min(value, so_far.get(name + LEAST, value))
    return found
