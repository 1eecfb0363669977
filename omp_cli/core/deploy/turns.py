"""Policies that take turns on one robot: in which order, and which of them is better.

Each start is met by every policy once, one after the other, in an order that is drawn for it. So nothing that drifts
(light, a worn gripper, a tired person) favours one of them, a judge cannot know whose turn it is, and they are compared
start by start.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.paired import paired, unpaired
from omp_cli.core.deploy.config import AGAINST
from omp_cli.core.deploy.deployment import Deployment
from omp_cli.core.deploy.frames import Signature
from omp_cli.core.deploy.player import Player


@dataclass(frozen=True)
class Turn:
    """An episode that counts.

    Attributes:
        deployment: whose turn it is, by its place among the policies' deployments.
        start: number of the start, from 0 on.
        again: whether the episode before had this start.
        seed: of the start, for what can be told one; None of a single policy, whose starts nobody repeats.
    """

    deployment: int
    start: int
    again: bool = False
    seed: int | None = None


def drawn_turns(policies: int, starts: int) -> list[Turn]:
    """The episodes of all, in their order: no seed repeats it, for who judges may know what a seed led to before."""
    if policies == 1:
        return [Turn(0, start) for start in range(starts)]
    rng = np.random.default_rng()
    turns = []
    for start, seed in enumerate(rng.integers(2**31, size=starts).tolist()):
        turns += [Turn(who, start, place > 0, seed) for place, who in enumerate(rng.permutation(policies).tolist())]
    return turns


def compared(deployments: Sequence[Deployment], turns: Sequence[Turn], repeat: bool = True) -> dict[str, Any]:
    """The figures of each, and of each two of them the difference of their success at the starts that both have met.

    JSON types. ``order`` says who acted at each start, in their order in time; policies are counted from 1. Where
    starts do not ``repeat``, nobody has met another's: ``differences`` is empty, and ``unpaired`` has those of rates.
    """
    had = turns[: sum(deployment.outcomes.counted for deployment in deployments)]
    order = [
        [turn.deployment + 1 for turn in those] for _, those in itertools.groupby(had, key=lambda turn: turn.start)
    ]
    policies = [
        {"run": deployment.run.folder.name, **_names(deployment), **deployment.figures()} for deployment in deployments
    ]
    pairs = itertools.combinations(enumerate(deployments, 1), 2)
    compare = paired if repeat else unpaired
    found = [
        {"first": one, "second": two, **said}
        for (one, ours), (two, theirs) in pairs
        if (said := compare(ours.outcomes.successes, theirs.outcomes.successes))
    ]
    told = {"differences": found} if repeat else {"differences": [], "unpaired": found}
    head = {"task": deployments[0].player.signature.task, "hz": round(deployments[0].hz, 6)}
    return {**head, "policies": policies, "starts_repeat": repeat, **told, "order": order}


def _names(deployment: Deployment) -> dict[str, Any]:
    config = {key: value.model_dump() for key, value in deployment.run.manifest.config.items()}
    return {"label": config["label"]["value"], "policy": policy_words(deployment.player.decider.path, config)}


def policy_words(path: Path, config: Mapping[str, Mapping[str, Any]]) -> str:
    """A policy's path and the settings that it alone has.

    Args:
        path: of what decides.
        config: ``{dotted key: {"value", "source"}}``.
    """
    own = [f"{key}={entry['value']}" for key, entry in config.items() if entry["source"] == AGAINST]
    return " ".join([str(path), *own])


def same_robot(players: Sequence[Player], hz: float | None) -> None:
    """UsageError where policies that are to take turns would not be moving one robot in one way."""
    first, *others = (player.signature for player in players)
    for other in others:
        if (what := _unlike(first, other)) is not None:
            raise UsageError(f"--against: {what}, so they do not move one robot", "compare policies of one robot")
        if hz is None and first.control_hz != other.control_hz:
            rates = f"{first.control_hz:g} and {other.control_hz:g} actions a second"
            raise UsageError(f"--against: the policies make {rates}", "--hz names the rate for both")


def _unlike(one: Signature, other: Signature) -> str | None:
    """In what the actions of two policies are unlike; None where a robot takes either's."""
    if one.action_dim != other.action_dim:
        return f"the policies' actions have {one.action_dim} and {other.action_dim} numbers"
    for what in ("names", "unit", "rotations"):
        values = (getattr(signature, f"action_{what}") for signature in (one, other))
        mine, theirs = (value if isinstance(value, str) else ", ".join(map(str, value)) for value in values)
        if mine and theirs and mine != theirs:
            return f"the {what} of one policy's actions: {mine}, and of another's: {theirs}"
    return None
