"""Success and return of a policy in a Gymnasium environment of the caller's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.seeds import eval_seed
from omp_cli.core.base.statistics import spread, wilson
from omp_cli.core.deploy.env_facts import starts_repeat, step_limit
from omp_cli.core.deploy.player import Player
from omp_cli.core.deploy.robots import GymRobot, of_one_robot

Environment = gymnasium.Env[Any, Any]


def evaluate_env(
    player: Player,
    env: Environment | Callable[[], Environment],
    episodes: int = 50,
    seed: int = 0,
    max_steps: int | None = None,
    note: Callable[[str], None] = warnings.warn,
) -> dict[str, Any]:
    """Roll a policy out; the seed of each episode determines its start and its noise.

    Args:
        player: the policy.
        env: an environment, which stays open, or a function that makes one, which is closed at the end.
        episodes: N, the number of episodes.
        seed: seed of start states and noise.
        max_steps: longest episode; None for the environment's own limit (a ``TimeLimit`` around it, or what its spec
            says), else that of the policy's task (of data of one's own the longest demonstration). An export of an
            earlier omp knows none.
        note: called with one line where the bounds of the environment's actions change what the policy wants, and where
            the environment does not begin alike with one seed.

    Returns:
        "success_any" (only where the environment tells success), "return", "steps", "mean_return", "mean_steps",
        "terminated" (episodes that the task ended), "episodes"; "max_steps" (of the longest episode that there could
        be, None for any) and whose limit that is as "max_steps_of": "caller", "environment" or "policy";
        "starts_repeat" (whether two resets with one seed show the same, as the environment was asked twice at first);
        "clipped_numbers" and "clipped_share" of the actions.

    Raises:
        UsageError: not an environment, or its action is not the policy's.
        DataError: an observation is not what the policy reads.
        Diverged: an action is not finite.
    """
    if episodes < 1:
        raise UsageError(f"episodes: {episodes}, expected 1 or more")
    if max_steps is not None and max_steps < 1:
        raise UsageError(f"max_steps: {max_steps}, expected 1 or more")
    made = env if isinstance(env, gymnasium.Env) else env() if callable(env) else env
    if not isinstance(made, gymnasium.Env):
        hint = "give a gymnasium.Env, or a function that makes one; vectors of environments are not"
        raise UsageError(f"environment: {type(made).__name__} is no Gymnasium environment", hint)
    try:
        robot = GymRobot(made, player.signature, note)
        limit, whose = _limit(made, max_steps, player)
        seeds = [eval_seed(seed, player.signature.task, n) for n in range(episodes)]
        if not (repeat := starts_repeat(made, seeds[0])):
            note("environment: two resets with one seed show different starts, so another evaluation begins elsewhere")
        rows = [_episode(player, robot, each, limit) for each in seeds]
    finally:
        if made is not env:
            made.close()
    figures: dict[str, Any] = {"task": player.signature.task, "nfe": player.signature.nfe, "episodes": episodes}
    known = [row["success"] for row in rows if row["success"] is not None]
    if known:
        figures["success_any"] = wilson(sum(known), episodes).as_dict()
    returns, steps = [row["return"] for row in rows], [float(row["steps"]) for row in rows]
    return {
        **figures,
        "mean_return": round(float(np.mean(returns)), 3),
        "mean_steps": round(float(np.mean(steps)), 1),
        "return": spread(returns).as_dict(),
        "steps": spread(steps).as_dict(),
        "terminated": sum(row["terminated"] for row in rows),
        "max_steps": limit,
        "max_steps_of": whose,
        "starts_repeat": repeat,
        **robot.clipping.figures(),
    }


def _limit(env: Environment, given: int | None, player: Player) -> tuple[int | None, str | None]:
    """The steps of the longest episode, None for any, and whose limit that is.

    What only an environment's spec says is a limit, too, unless the caller gives another one.
    """
    enforced = step_limit(env)
    if given is not None and (enforced is None or given < enforced):
        return given, "caller"
    said = env.spec.max_episode_steps if env.spec is not None else None
    if (own := enforced or said) is not None:
        return own, "environment"
    known = player.signature.max_steps
    return known, None if known is None else "policy"


def _episode(player: Player, robot: GymRobot, seed: int, limit: int | None) -> dict[str, Any]:
    """One episode."""
    player.reset(seed)
    robot.reset(seed)
    total, steps = 0.0, 0
    while not robot.done() and (limit is None or steps < limit):
        robot.act(of_one_robot(player.act(robot.observe())))
        total, steps = total + robot.reward, steps + 1
    return {"return": total, "steps": steps, "success": robot.success, "terminated": robot.terminated}
