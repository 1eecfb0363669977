"""Success or return of a policy over held-out episodes, rolled out in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.checkpoint import Checkpoint, Weights
from omp_cli.core.config import Settings
from omp_cli.core.encoders import ENCODERS
from omp_cli.core.errors import DataError, OmpError, WorkerDied
from omp_cli.core.measure.statistics import Rate, spread, wilson
from omp_cli.core.policy import Policy
from omp_cli.core.processes import starting_workers
from omp_cli.core.progress import Progress
from omp_cli.core.seeds import eval_seed
from omp_cli.core.suites.base import Suite, recorded_suite
from omp_cli.core.suites.chunking import ChunkEnv, chunk_env_factory
from omp_cli.core.timing import Stopwatch

CLOSED_PIPE = (BrokenPipeError, EOFError, ConnectionResetError)
"""What talking to a process that has died raises."""


class EvalConfig(Settings):
    """How a policy is evaluated.

    Attributes:
        episodes: N.
        nfe: evaluations of the network per decision.
        weights: moving average, or as trained.
        seed: of the start states and of the policy's noise.
        max_steps: environment steps per episode; None takes the task's own limit.
        curve: episodes for each earlier checkpoint of the run (success or return over training); 0 for none.
        threads: torch threads.
        together: environments that a single worker steps together; their decisions are one batch, which is faster where
            physics is cheap.
        label: what reports call the policy; None: its method and derivative.
    """

    episodes: int = Field(default=50, ge=1)
    nfe: int = Field(default=1, ge=1)
    weights: Weights = "ema"
    seed: int = 0
    max_steps: int | None = Field(default=None, ge=1)
    curve: int = Field(default=0, ge=0)
    threads: int = Field(default=1, ge=1)
    together: int = Field(default=1, ge=1)
    label: str | None = Field(default=None, min_length=1)


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
        success_end: the flag at the last step; counts where the suite is judged at the end.
        first_success: number of environment steps until the flag was first seen at the end of a chunk; None if never.
        steps: environment steps until the episode ended.
        episode_return: sum of rewards.
        checkpoint_step: training step of the evaluated weights.
        weights: "ema" or "raw".
        nfe: evaluations of the network per decision.
        terminated: whether the task ended the episode (the robot fell, all is done), not the step limit.
        mode: the way in which it did the task, where the suite tells them apart.
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
    terminated: bool = False
    mode: str | None = None
    success_end: bool = False

    def as_dict(self, suite: Suite) -> dict[str, Any]:
        """Plain data without what the suite does not have."""
        left_out = {"terminated"} if suite.metric == "success" else set()
        left_out |= {"mode"} if self.mode is None else set()
        left_out |= set() if suite.judged_at_end else {"success_end"}
        left_out |= set() if suite.judged else {"success_any", "success_chunk", "first_success"}
        return {key: value for key, value in asdict(self).items() if key not in left_out}


@dataclass
class _Running:
    """An episode in progress in one worker."""

    index: int
    seed: int
    start_state: str
    generator: torch.Generator
    film: list[NDArray[np.uint8]] | None = None
    success_any: bool = False
    success_chunk: bool = False
    success_end: bool = False
    first_success: int | None = None
    steps: int = 0
    total: float = 0.0
    terminated: bool = False
    mode: str | None = None


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


def summarise(episodes: Sequence[Episode], suite: Suite) -> dict[str, Any]:
    """Mean return and length; rates by both success rules where there is success; a spread where the return counts."""
    count = len(episodes)
    figures: dict[str, Any] = {}
    if suite.judged:
        figures["success_any"] = wilson(sum(e.success_any for e in episodes), count).as_dict()
        figures["success_chunk"] = wilson(sum(e.success_chunk for e in episodes), count).as_dict()
    if suite.judged_at_end:
        figures["success_end"] = wilson(sum(e.success_end for e in episodes), count).as_dict()
    figures["mean_return"] = round(float(np.mean([e.episode_return for e in episodes])), 3)
    figures["mean_steps"] = round(float(np.mean([e.steps for e in episodes])), 1)
    if suite.metric == "return":
        figures |= {"metric": "return"} | ({} if suite.counts is None else {"counts": suite.counts})
        figures["return"] = spread([e.episode_return for e in episodes]).as_dict()
        figures["steps"] = spread([float(e.steps) for e in episodes]).as_dict()
        figures["terminated"] = sum(e.terminated for e in episodes)
    return figures


def rate_of(episodes: Sequence[Episode]) -> Rate:
    """Success at any step."""
    return wilson(sum(e.success_any for e in episodes), len(episodes))


def _so_far(episodes: Sequence[Episode], suite: Suite) -> dict[str, str]:
    """The figure that a progress bar shows."""
    if suite.metric == "success":
        return {"success": str(rate_of(episodes))}
    mean = float(np.mean([e.episode_return for e in episodes]))
    return {"mean_return": f"{mean:.1f}"} if suite.counts is None else {suite.counts: f"{mean:.2f}"}


def env_factory(checkpoint: Checkpoint, **arguments: Any) -> Callable[[], ChunkEnv]:
    """A function that makes the environment of a checkpoint, with its observations and chunking.

    Args:
        checkpoint: whose.
        arguments: further ones of ``ChunkEnv``.

    Raises:
        MissingDependency: the suite has no environment here.
    """
    meta, policy = checkpoint.meta, checkpoint.config()
    return chunk_env_factory(
        meta.suite,
        meta.spec.task,
        keys=ENCODERS.get(policy.encoder.name).keys,  # type: ignore[attr-defined]
        n_obs=policy.chunk.n_obs,
        execute=policy.chunk.execute,
        points=getattr(policy.encoder, "points", None),
        reference=meta.reference,
        **arguments,
    )


@contextmanager
def environments(checkpoint: Checkpoint, config: EvalConfig, workers: int, filmed: int = 0) -> Iterator[VectorEnv]:
    """The checkpoint's task in worker processes; serves every checkpoint of the same run.

    Args:
        checkpoint: its suite, task and chunking are used.
        config: seed and step limit.
        workers: environment processes; a single one is this process, with ``config.together`` environments.
        filmed: episodes of which ``evaluate`` may ask for pictures.

    Raises:
        MissingDependency: the suite has no environment here.
    """
    from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

    task = checkpoint.meta.spec.task
    film = frozenset(eval_seed(config.seed, task, index) for index in range(filmed))
    make = env_factory(checkpoint, max_steps=config.max_steps, film=film)
    if workers == 1:
        count = min(config.together, config.episodes)
        # the other mode refuses to step an environment whose episodes have run out
        envs: VectorEnv = SyncVectorEnv([make] * count, autoreset_mode=AutoresetMode.NEXT_STEP)
    else:  # spawn: a forked copy of a process with torch's threads and a simulator in it is a lottery
        with starting_workers():
            envs = AsyncVectorEnv([make] * workers, context="spawn", autoreset_mode=AutoresetMode.DISABLED)
    try:
        yield envs
    finally:
        _close(envs)


def _close(envs: VectorEnv) -> None:
    from gymnasium.vector import AsyncVectorEnv

    if isinstance(envs, AsyncVectorEnv):  # its own way waits for an answer of every process: forever where one died
        for process in envs.processes:
            process.kill()
            process.join()
        envs.closed = True
    envs.close()


def worker_seconds(envs: VectorEnv) -> dict[str, float]:
    """Seconds by part that all environments together spent."""
    watch = Stopwatch()
    for seconds in envs.call("seconds_by_part"):
        for part, value in seconds.items():
            watch.add(part, value)
    return watch.seconds


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
        WorkerDied: an environment process is gone; ``envs`` are of no more use.
        OmpError: an environment raised it, in whatever process.
    """
    watch = watch or Stopwatch()
    suite = recorded_suite(checkpoint.meta.suite)
    policy = checkpoint.load(config.weights, device)
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
            state.obs, rewards, terminated, truncated, info = envs.step(actions)
            watch.lap("environments: step")
            for worker, episode in enumerate(state.running):
                if episode is None:
                    continue
                _account(episode, float(rewards[worker]), info, worker)
                episode.terminated = bool(terminated[worker])
                decided = episode.success_chunk and not suite.judged_at_end
                if decided or episode.terminated or truncated[worker]:
                    done.append(_record(episode, checkpoint, config))
                    state.running[worker] = None
                    progress.advance(1, **_so_far(done, suite))
            watch.lap("records")
    except CLOSED_PIPE as error:
        raise WorkerDied("an environment process died", "try again with --workers 1 to see its error") from error
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
        state.running[worker] = _Running(index, number, start, torch.Generator().manual_seed(number), film)
    return True


def _decide(policy: Policy, state: _State, nfe: int, device: torch.device) -> NDArray[np.float32]:
    """Action chunks (workers, E, A); idle workers get zeros."""
    shape = (policy.chunk.horizon, policy.spec.action_dim)
    noise = [torch.zeros(shape) if r is None else torch.randn(shape, generator=r.generator) for r in state.running]
    batch = {key: torch.from_numpy(state.obs[key]).to(device) for key in policy.keys}
    actions = policy.act(batch, torch.stack(noise).to(device), nfe).cpu().numpy()
    actions[[r is None for r in state.running]] = 0
    return actions


def _account(episode: _Running, reward: float, info: dict[str, Any], worker: int) -> None:
    episode.total += reward
    episode.steps = int(info["steps"][worker])
    episode.success_any |= bool(info["success_any"][worker])
    episode.success_chunk |= bool(info["success_all"][worker])
    episode.success_end = bool(info["success_end"][worker])
    if episode.success_any and episode.first_success is None:
        episode.first_success = episode.steps
    if "mode" in info:
        episode.mode = info["mode"][worker]
    if episode.film is not None:
        episode.film.extend(info["pictures"][worker])


def _record(episode: _Running, checkpoint: Checkpoint, config: EvalConfig) -> Episode:
    return Episode(
        task=checkpoint.meta.spec.task,
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
        terminated=episode.terminated,
        mode=episode.mode,
        success_end=episode.success_end,
    )
