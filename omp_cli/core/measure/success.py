"""Success or return of a policy over held-out episodes."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, Diverged, diverged_action
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.seeds import eval_seed
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.deploy.decider import Decider
from omp_cli.core.deploy.deciders import OfCheckpoint
from omp_cli.core.envs.chunking import Obs
from omp_cli.core.envs.pool import ChunkResult, EnvPool
from omp_cli.core.measure.environments import suite_of
from omp_cli.core.measure.episodes import Episode, EvalConfig, so_far
from omp_cli.core.measure.records import Records
from omp_cli.core.policy import check_noise_scale
from omp_cli.core.suites.base import Suite


@dataclass
class _Running:
    """An episode in progress in one environment: what it shows, and the noise of its decisions."""

    episode: Episode
    generator: torch.Generator
    obs: Obs


@dataclass
class _State:
    """One evaluation in progress; an environment has an episode assigned before it runs, and when its worker dies."""

    checkpoint: Checkpoint
    decider: Decider
    config: EvalConfig
    envs: EnvPool
    waiting: Iterator[int]
    filmed: int
    assigned: dict[int, int] = field(default_factory=dict)
    running: dict[int, _Running] = field(default_factory=dict)
    films: dict[int, list[NDArray[np.uint8]]] = field(default_factory=dict)


def evaluate(
    checkpoint: Checkpoint,
    config: EvalConfig,
    episodes: int,
    envs: EnvPool,
    device: torch.device,
    progress: Progress,
    filmed: int = 0,
    watch: Stopwatch | None = None,
    said: dict[str, Any] | None = None,
    records: Records | None = None,
    decider: Decider | None = None,
) -> tuple[list[Episode], list[NDArray[np.uint8]]]:
    """Roll a checkpoint out.

    An episode ends once success has held for a whole chunk (both rules are then decided) unless the suite is judged
    at the end, where the task terminates, or at the step limit. The noise of an episode depends on its seed alone, so
    the result does not depend on the number of workers, nor on their deaths: a new one begins the episode anew.

    Args:
        checkpoint: the policy.
        config: its NFE, weights, precision, graph and seed are used.
        episodes: N, the number of episodes.
        envs: the environments, made by ``environments``.
        device: where the network runs.
        progress: advances with every finished episode.
        filmed: number of episodes, from the first on, of which pictures are taken.
        watch: receives the time of the parts.
        said: receives what executed the decisions, "runtime", and of a lower precision "against_float32".
        records: receives each episode that has ended, so that it is there if the others never are; those that it has
            of this checkpoint are not begun again, unless they are filmed.
        decider: what decides in the checkpoint's place: an export of it, which has weights and NFE of its own. The
            environments then show it whole clouds.

    Returns:
        One record per episode in order, and the pictures of each filmed episode, (frames, P, P, 3).

    Raises:
        DataError: a start state equals a demonstration's, or the weights do not fit.
        UsageError: the environment's state or action is of another size than the policy's, a graph was asked for on a
            device that has none, or other noise of a policy that draws none.
        Diverged: the policy, or the simulator, gave a number that is not finite.
        RunFailed: a worker died again and again in one episode.
        OmpError: an environment raised it, in whatever process.
    """
    watch = watch or Stopwatch()
    suite = suite_of(checkpoint)
    if decider is None:
        if device.type == "cuda":
            gc.collect()  # graphs of earlier decisions are cycles, which hold their policy's weights there
        decider = OfCheckpoint(checkpoint, config.weights, device, config.nfe, config.graph, config.precision)
    check_noise_scale(config.noise_scale, decider.generative)
    suite.spec(checkpoint.meta.spec.task).same_layout(checkpoint.meta.spec)
    watch.lap("loading the policy")
    progress.start(f"{checkpoint.meta.spec.task}: step {checkpoint.meta.step}, nfe {decider.signature.nfe}", episodes)
    before = [] if records is None else records.of(checkpoint.meta.step)
    done = [episode for episode in before if filmed <= episode.index < episodes]
    known = {episode.index for episode in done}
    waiting = (index for index in range(episodes) if index not in known)
    state = _State(checkpoint, decider, config, envs, waiting, filmed)
    if done:
        progress.advance(len(done), **so_far(done, suite))
    while _begin_waiting(state):
        watch.lap("environments: reset")
        actions = _decide(state)
        watch.lap("policy")
        rows = envs.step(actions)
        watch.lap("environments: step")
        for episode in _ended(state, rows, suite):
            done.append(episode)
            if records is not None:
                records.append(episode)
            progress.advance(1, **so_far(done, suite))
        watch.lap("records")
    if said is not None:
        said |= decider.figures()
    _say_if_alike(done, progress)
    done.sort(key=lambda e: e.index)
    return done, [np.stack(state.films[index]) for index in sorted(state.films)]


def _ended(state: _State, rows: Mapping[int, ChunkResult | None], suite: Suite) -> Iterator[Episode]:
    """Account for a chunk of each environment, None of one whose worker died; the episodes that end with it."""
    for env, row in rows.items():
        if row is None:
            state.running.pop(env, None)
            continue
        running = state.running[env]
        running.obs, episode = row.obs, running.episode
        episode.add(row.reward, row.info, row.terminated)
        state.films.get(episode.index, []).extend(row.info.get("pictures", ()))
        decided = episode.success_chunk and not suite.judged_at_end
        if decided or row.terminated or row.truncated:
            episode.end()
            state.envs.done(env)
            del state.running[env], state.assigned[env]
            yield episode


def _say_if_alike(done: Sequence[Episode], progress: Progress) -> None:
    """A note where all episodes have one start state: their number then says nothing of other ones."""
    if len(done) > 1 and len({episode.start_state for episode in done}) == 1:
        blame = "reset(seed) draws nothing, or start_state() leaves it out"
        progress.note(f"{done[0].task}: all {len(done)} episodes begin in one start state ({blame})")


def _begin_waiting(state: _State) -> bool:
    """Assign waiting episodes to idle environments, and begin what is assigned; whether any episode is running."""
    for env in range(state.envs.num_envs):
        if env not in state.assigned and (index := next(state.waiting, None)) is not None:
            state.assigned[env] = index
    while fresh := {env: index for env, index in state.assigned.items() if env not in state.running}:
        seeds = {env: _seed(state, index) for env, index in fresh.items()}
        rows = state.envs.reset(seeds, [env for env, index in fresh.items() if index < state.filmed])
        for env, row in rows.items():
            if row is None:
                state.running.pop(env, None)
            else:
                state.running[env] = _begun(state, fresh[env], row)
    return bool(state.running)


def _begun(state: _State, index: int, row: ChunkResult) -> _Running:
    """An episode after its reset; DataError where it starts as a demonstration did."""
    meta, number, start = state.checkpoint.meta, _seed(state, index), row.info["start_state"]
    if start in meta.start_states:
        task = meta.spec.task
        raise DataError(f"{task}: evaluation seed {number} starts where a demonstration did", "use another --seed")
    if "pictures" in row.info:
        state.films[index] = row.info["pictures"]
    weights = state.decider.weights or state.config.weights
    episode = Episode(meta.spec.task, index, number, start, meta.step, weights, state.decider.signature.nfe)
    return _Running(episode, torch.Generator().manual_seed(number), row.obs)


def _seed(state: _State, index: int) -> int:
    return eval_seed(state.config.seed, state.checkpoint.meta.spec.task, index)


def _decide(state: _State) -> dict[int, NDArray[np.float32]]:
    """Action chunks (E, A), or as much of them as is executed, by environment.

    Idle environments fill the batch, for its size decides the last bits of all; so do copies where a graph takes a
    certain number of decisions per call.
    """
    reads = state.decider.signature
    some = next(iter(state.running.values()))
    slots = [state.running.get(env) for env in range(state.envs.num_envs)]
    batch = reads.batch or len(slots)
    slots += [None] * (-len(slots) % batch)
    noise = state.decider.drawn_noise([None if r is None else r.generator for r in slots], state.config.noise_scale)
    seen = {key: np.stack([(r or some).obs[key] for r in slots]) for key in reads.arrays}
    calls = [slice(first, first + batch) for first in range(0, len(slots), batch)]
    actions = np.concatenate(
        [state.decider.decide({key: x[rows] for key, x in seen.items()}, noise[rows]) for rows in calls]
    )
    for env, running in state.running.items():
        if not np.isfinite(actions[env]).all():
            raise _diverged(running.episode, {key: running.obs[key] for key in reads.arrays})
    return {env: actions[env][: state.config.execute] for env in state.running}


def _diverged(episode: Episode, seen: dict[str, NDArray[Any]]) -> Diverged:
    """The error of an action that is not finite: it is no failure of the task, and simulators take it for a zero."""
    where = f"{episode.task}, evaluation seed {episode.seed}, after {episode.steps} environment steps"
    wrong = [key for key, array in seen.items() if not np.isfinite(array).all()]
    if wrong:
        return Diverged(
            f"{where}: the simulator shows {wrong[0]} with numbers that are not finite", "another --seed may do"
        )
    return diverged_action(where, "evaluate")
