"""The environments of a checkpoint's task, in this process or in workers."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gymnasium.vector import VectorEnv

from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.encoders import ENCODERS
from omp_cli.core.errors import WorkerDied
from omp_cli.core.measure.episodes import EvalConfig
from omp_cli.core.processes import starting_workers
from omp_cli.core.seeds import eval_seed
from omp_cli.core.suites.chunking import ChunkEnv, chunk_env_factory
from omp_cli.core.timing import Stopwatch


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
        keys=ENCODERS.get(policy.encoder.name).keys,
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
        WorkerDied: a process ended while it started.
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
        with starting_workers(), deaths_told(), _none_left_behind():
            envs = AsyncVectorEnv([make] * workers, context="spawn", autoreset_mode=AutoresetMode.DISABLED)
    try:
        yield envs
    finally:
        _close(envs)


@contextmanager
def deaths_told() -> Iterator[None]:
    """WorkerDied for what talking to a process that has died raises."""
    try:
        yield
    except (BrokenPipeError, EOFError, ConnectionResetError) as error:
        raise WorkerDied("an environment process died", "try again with --workers 1 to see its error") from error


@contextmanager
def _none_left_behind() -> Iterator[None]:
    """End the processes that the block has started when it fails: nobody else knows them then."""
    before = set(multiprocessing.active_children())
    try:
        yield
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
            process.join()
        raise


def _close(envs: VectorEnv) -> None:
    from gymnasium.vector import AsyncVectorEnv

    if isinstance(envs, AsyncVectorEnv):  # its own way waits for an answer of every process: forever where one died
        for process in envs.processes:
            process.kill()
            process.join()
        envs.closed = True
    envs.close()


def worker_seconds(envs: VectorEnv) -> dict[str, float]:
    """Seconds by part that all environments together spent; WorkerDied when a process is gone."""
    watch = Stopwatch()
    with deaths_told():
        all_seconds = envs.call("seconds_by_part")
    for seconds in all_seconds:
        for part, value in seconds.items():
            watch.add(part, value)
    return watch.seconds
