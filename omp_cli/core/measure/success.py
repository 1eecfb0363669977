"""Success or return of a policy over held-out episodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.errors import DataError, Diverged, OmpError
from omp_cli.core.measure.environments import deaths_told
from omp_cli.core.measure.episodes import Episode, EvalConfig, so_far
from omp_cli.core.policy import Policy
from omp_cli.core.progress import Progress
from omp_cli.core.seeds import eval_seed
from omp_cli.core.suites.base import recorded_suite
from omp_cli.core.timing import Stopwatch


@dataclass
class _Running:
    """An episode in progress in one worker."""

    episode: Episode
    generator: torch.Generator
    film: list[NDArray[np.uint8]] | None


@dataclass
class _State:
    """One evaluation in progress."""

    checkpoint: Checkpoint
    config: EvalConfig
    waiting: Iterator[int]
    running: list[_Running | None]
    filmed: int
    obs: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    films: dict[int, list[NDArray[np.uint8]]] = field(default_factory=dict)


def evaluate(
    checkpoint: Checkpoint,
    config: EvalConfig,
    episodes: int,
    envs: VectorEnv,
    device: torch.device,
    progress: Progress,
    filmed: int = 0,
    watch: Stopwatch | None = None,
) -> tuple[list[Episode], list[NDArray[np.uint8]]]:
    """Roll a checkpoint out.

    An episode ends once success has held for a whole chunk (both rules are then decided) unless the suite is judged
    at the end, where the task terminates, or at the step limit. The noise of an episode depends on its seed alone, so
    the result does not depend on the number of workers.

    Args:
        checkpoint: the policy.
        config: nfe, weights, seed.
        episodes: N.
        envs: from ``environments``.
        device: where the network runs.
        progress: told of every finished episode.
        filmed: take pictures of the first so many episodes.
        watch: receives the time of the parts.

    Returns:
        One record per episode in order, and the pictures of each filmed episode, (frames, P, P, 3).

    Raises:
        DataError: a start state equals a demonstration's, or the weights do not fit.
        UsageError: the environment's state or action is of another size than the policy's.
        Diverged: the policy, or the simulator, gave a number that is not finite.
        WorkerDied: an environment process is gone; ``envs`` are of no more use.
        OmpError: an environment raised it, in whatever process.
    """
    watch = watch or Stopwatch()
    suite = recorded_suite(checkpoint.meta.suite)
    policy = checkpoint.load(config.weights, device)
    config = config.model_copy(update={"nfe": config.nfe or policy.nfe})
    suite.spec(checkpoint.meta.spec.task).same_layout(checkpoint.meta.spec)
    watch.lap("loading the policy")
    progress.start(f"{checkpoint.meta.spec.task}: step {checkpoint.meta.step}, nfe {config.nfe}", episodes)
    state = _State(checkpoint, config, iter(range(episodes)), [None] * envs.num_envs, filmed)
    done: list[Episode] = []
    try:
        while _start_waiting(envs, state):
            watch.lap("environments: reset")
            actions = _decide(policy, state, config.nfe, device)
            watch.lap("policy")
            with deaths_told():
                state.obs, rewards, terminated, truncated, info = envs.step(actions)
            watch.lap("environments: step")
            for worker, running in enumerate(state.running):
                if running is None:
                    continue
                episode = running.episode
                told = {key: value[worker] for key, value in info.items()}
                episode.add(float(rewards[worker]), told, bool(terminated[worker]))
                if running.film is not None:
                    running.film.extend(told["pictures"])
                decided = episode.success_chunk and not suite.judged_at_end
                if decided or episode.terminated or truncated[worker]:
                    # decisions in batches of another size differ in their last bits
                    episode.episode_return = round(episode.episode_return, 4)
                    done.append(episode)
                    state.running[worker] = None
                    progress.advance(1, **so_far(done, suite))
            watch.lap("records")
    except OmpError as error:
        if isinstance(cause := error.args[0], OmpError):  # Gymnasium wraps a worker's error in one of the same kind
            raise cause from error
        raise
    done.sort(key=lambda e: e.index)
    return done, [np.stack(state.films[index]) for index in sorted(state.films)]


def _start_waiting(envs: VectorEnv, state: _State) -> bool:
    """Reset every idle worker to the next waiting episode; whether any episode is running."""
    task, seed = state.checkpoint.meta.spec.task, state.config.seed
    fresh = {
        w: index for w, r in enumerate(state.running) if r is None and (index := next(state.waiting, None)) is not None
    }
    if not fresh:
        return any(state.running)
    seeds: list[int | None] = [None] * envs.num_envs
    for worker, index in fresh.items():
        seeds[worker] = eval_seed(seed, task, index)
    # the first reset has to reach every worker
    mask = np.array([w in fresh or not state.obs for w in range(envs.num_envs)])
    with deaths_told():
        state.obs, info = envs.reset(seed=seeds, options={"reset_mask": mask, "film": state.filmed > 0})
    known = set(state.checkpoint.meta.start_states)
    for worker, index in fresh.items():
        start = str(info["start_state"][worker])
        number = eval_seed(seed, task, index)
        if start in known:
            raise DataError(f"{task}: evaluation seed {number} starts where a demonstration did", "use another --seed")
        film = None
        if index < state.filmed:
            film = state.films[index] = list(info["pictures"][worker])
        how = (state.checkpoint.meta.step, state.config.weights, state.config.nfe)
        episode = Episode(task, index, number, start, *how)
        state.running[worker] = _Running(episode, torch.Generator().manual_seed(number), film)
    return True


def _decide(policy: Policy, state: _State, nfe: int, device: torch.device) -> NDArray[np.float32]:
    """Action chunks (workers, E, A); idle workers get zeros."""
    shape = (policy.chunk.horizon, policy.spec.action_dim)
    noise = [torch.zeros(shape) if r is None else torch.randn(shape, generator=r.generator) for r in state.running]
    batch = {key: torch.from_numpy(state.obs[key]).to(device) for key in policy.keys}
    actions = policy.act(batch, torch.stack(noise).to(device), nfe).cpu().numpy()
    actions[[r is None for r in state.running]] = 0
    for worker in np.flatnonzero(~np.isfinite(actions).all(axis=(1, 2))):
        running = state.running[worker]
        assert running is not None
        _diverged(running.episode, {key: state.obs[key][worker] for key in policy.keys})
    return actions


def _diverged(episode: Episode, seen: dict[str, NDArray[Any]]) -> None:
    """Raise Diverged: an action that is not finite is no failure of the task, and simulators take it for a zero."""
    where = f"{episode.task}, evaluation seed {episode.seed}, after {episode.steps} environment steps"
    wrong = [key for key, array in seen.items() if not np.isfinite(array).all()]
    if wrong:
        raise Diverged(
            f"{where}: the simulator shows {wrong[0]} with numbers that are not finite", "another --seed may do"
        )
    raise Diverged(
        f"{where}: the policy's action is not finite although its weights are",
        "training has diverged: evaluate an earlier checkpoint, or train again with a lower --lr",
    )
