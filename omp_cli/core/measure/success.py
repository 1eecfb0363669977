"""Success of a policy over held-out episodes, rolled out in worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.checkpoint import Checkpoint, Weights
from omp_cli.core.config import Settings
from omp_cli.core.errors import DataError, RunFailed
from omp_cli.core.measure.statistics import Rate, wilson
from omp_cli.core.policy import Policy
from omp_cli.core.progress import Progress
from omp_cli.core.seeds import eval_seed
from omp_cli.core.suites.chunking import chunk_env_factory


class EvalConfig(Settings):
    """How a policy is evaluated.

    Attributes:
        episodes: N.
        nfe: evaluations of the network per decision.
        weights: moving average, or as trained.
        seed: of the start states and of the policy's noise.
        max_steps: environment steps per episode; None takes the task's own limit.
        curve: episodes for each earlier checkpoint of the run (success over training); 0 for none.
        threads: torch threads.
    """

    episodes: int = Field(default=50, ge=1)
    nfe: int = Field(default=1, ge=1)
    weights: Weights = "ema"
    seed: int = 0
    max_steps: int | None = Field(default=None, ge=1)
    curve: int = Field(default=0, ge=0)
    threads: int = Field(default=1, ge=1)


@dataclass(frozen=True)
class Episode:
    """One evaluation episode.

    Attributes:
        task: task name.
        index: its number in the evaluation.
        seed: of its start state; never a demonstration's.
        start_state: hash of that state.
        success_any: the suite's success flag at any step.
        success_chunk: the flag held for a whole executed chunk.
        first_success: number of environment steps until the flag was first seen at the end of a chunk; None if never.
        steps: environment steps until the episode ended.
        episode_return: sum of rewards.
        checkpoint_step: training step of the evaluated weights.
        weights: "ema" or "raw".
        nfe: evaluations of the network per decision.
    """

    task: str
    index: int
    seed: int
    start_state: str
    success_any: bool
    success_chunk: bool
    first_success: int | None
    steps: int
    episode_return: float
    checkpoint_step: int
    weights: Weights
    nfe: int


@dataclass
class _Running:
    """An episode in progress in one worker."""

    index: int
    seed: int
    start_state: str
    generator: torch.Generator
    success_any: bool = False
    success_chunk: bool = False
    first_success: int | None = None
    steps: int = 0
    total: float = 0.0


def summarise(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Rates by both success rules, mean return and length."""
    count = len(episodes)
    return {
        "success_any": wilson(sum(e.success_any for e in episodes), count).as_dict(),
        "success_chunk": wilson(sum(e.success_chunk for e in episodes), count).as_dict(),
        "mean_return": round(float(np.mean([e.episode_return for e in episodes])), 3),
        "mean_steps": round(float(np.mean([e.steps for e in episodes])), 1),
    }


def rate_of(episodes: Sequence[Episode]) -> Rate:
    """Success at any step."""
    return wilson(sum(e.success_any for e in episodes), len(episodes))


def evaluate(
    checkpoint: Checkpoint,
    config: EvalConfig,
    episodes: int,
    workers: int,
    device: torch.device,
    progress: Progress,
    picture_episodes: int = 0,
) -> tuple[list[Episode], list[NDArray[np.uint8]]]:
    """Roll a checkpoint out.

    An episode ends once success has held for a whole chunk (both rules are then decided) or at the step limit. The
    noise of an episode depends on its seed alone, so the result does not depend on the number of workers.

    Args:
        checkpoint: the policy; its own suite and task are used.
        config: nfe, weights, seed, step limit.
        episodes: N.
        workers: environment processes; 1 runs in this process.
        device: where the network runs.
        progress: told of every finished episode.
        picture_episodes: record pictures of the first so many episodes.

    Returns:
        One record per episode in order, and the pictures of each recorded episode, (frames, P, P, 3).

    Raises:
        DataError: a start state equals a demonstration's.
        RunFailed: an environment process died.
    """
    policy = checkpoint.load(config.weights, device)
    spec, known = checkpoint.meta.spec, set(checkpoint.meta.start_states)
    workers = min(workers, episodes)
    chunk = policy.chunk
    make = chunk_env_factory(
        checkpoint.meta.suite,
        spec.task,
        keys=policy.keys,
        n_obs=chunk.n_obs,
        execute=chunk.execute,
        max_steps=config.max_steps,
        film=frozenset(eval_seed(config.seed, spec.task, index) for index in range(picture_episodes)),
    )
    envs = _vector(make, workers)
    progress.start(f"{spec.task}: step {checkpoint.meta.step}, nfe {config.nfe}", episodes)
    done: list[Episode] = []
    films: dict[int, list[NDArray[np.uint8]]] = {}
    running: list[_Running | None] = [None] * workers
    waiting = iter(range(episodes))
    try:
        obs: dict[str, NDArray[np.float32]] = {}
        while True:
            obs = _start_waiting(envs, running, waiting, obs, config, spec.task, known, films, picture_episodes)
            active = [w for w, r in enumerate(running) if r is not None]
            if not active:
                break
            actions = _decide(policy, obs, running, config.nfe, device)
            obs, rewards, _, truncated, info = envs.step(actions)
            for worker in active:
                episode = running[worker]
                assert episode is not None
                _account(episode, float(rewards[worker]), info, worker, films)
                if episode.success_chunk or truncated[worker]:
                    done.append(_record(episode, checkpoint, config, spec.task))
                    running[worker] = None
                    progress.advance(1, success=str(rate_of(done)))
    except (BrokenPipeError, EOFError, ConnectionResetError) as error:
        raise RunFailed("an environment process died", "try again with --workers 1 to see its error") from error
    finally:
        envs.close()
    done.sort(key=lambda e: e.index)
    return done, [np.stack(films[index]) for index in sorted(films)]


def _vector(make: Any, workers: int) -> Any:
    from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

    factories = [make] * workers
    if workers == 1:
        return SyncVectorEnv(factories, autoreset_mode=AutoresetMode.DISABLED)
    # spawn: a forked copy of a process with torch's threads and a simulator in it is a lottery
    return AsyncVectorEnv(factories, context="spawn", autoreset_mode=AutoresetMode.DISABLED)


def _start_waiting(
    envs: Any,
    running: list[_Running | None],
    waiting: Any,
    obs: dict[str, NDArray[np.float32]],
    config: EvalConfig,
    task: str,
    known: set[str],
    films: dict[int, list[NDArray[np.uint8]]],
    picture_episodes: int,
) -> dict[str, NDArray[np.float32]]:
    """Reset every idle worker to the next waiting episode; returns the observations with those rows replaced."""
    mask = np.zeros(len(running), bool)
    seeds: list[int | None] = [None] * len(running)
    fresh: dict[int, int] = {}
    for worker, episode in enumerate(running):
        if episode is None and (index := next(waiting, None)) is not None:
            mask[worker], fresh[worker] = True, index
            seeds[worker] = eval_seed(config.seed, task, index)
    if not fresh:
        return obs
    if not obs:
        mask[:] = True  # the first reset has to reach every worker
    obs, info = envs.reset(seed=seeds, options={"reset_mask": mask})
    for worker, index in fresh.items():
        start, seed = str(info["start_state"][worker]), seeds[worker]
        assert seed is not None
        if start in known:
            raise DataError(f"{task}: evaluation seed {seed} starts where a demonstration did", "use another --seed")
        running[worker] = _Running(index, seed, start, torch.Generator().manual_seed(seed))
        if index < picture_episodes:
            films[index] = list(info["pictures"][worker])
    return obs


def _decide(
    policy: Policy,
    obs: dict[str, NDArray[np.float32]],
    running: list[_Running | None],
    nfe: int,
    device: torch.device,
) -> NDArray[np.float32]:
    """Action chunks (workers, E, A); idle workers get zeros."""
    chunk, action_dim = policy.chunk, policy.spec.action_dim
    shape = (chunk.horizon, action_dim)
    noise = torch.stack(
        [torch.zeros(shape) if r is None else torch.randn(shape, generator=r.generator) for r in running]
    )
    batch = {key: torch.from_numpy(obs[key]).to(device) for key in policy.keys}
    actions = policy.act(batch, noise.to(device), nfe).cpu().numpy()
    actions[[r is None for r in running]] = 0
    return actions


def _account(
    episode: _Running, reward: float, info: dict[str, Any], worker: int, films: dict[int, list[NDArray[np.uint8]]]
) -> None:
    episode.total += reward
    episode.steps = int(info["steps"][worker])
    episode.success_any |= bool(info["success_any"][worker])
    episode.success_chunk |= bool(info["success_all"][worker])
    if episode.success_any and episode.first_success is None:
        episode.first_success = episode.steps
    if episode.index in films:
        films[episode.index].extend(info["pictures"][worker])


def _record(episode: _Running, checkpoint: Checkpoint, config: EvalConfig, task: str) -> Episode:
    return Episode(
        task=task,
        index=episode.index,
        seed=episode.seed,
        start_state=episode.start_state,
        success_any=episode.success_any,
        success_chunk=episode.success_chunk,
        first_success=episode.first_success,
        steps=episode.steps,
        episode_return=round(episode.total, 4),
        checkpoint_step=checkpoint.meta.step,
        weights=config.weights,
        nfe=config.nfe,
    )
