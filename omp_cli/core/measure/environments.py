"""The environments of a checkpoint's task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omp_cli.core.base.errors import DataError, MissingDependency, UsageError, did_you_mean
from omp_cli.core.base.run import of_plugin
from omp_cli.core.base.table import first_few
from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.deploy.player import executed
from omp_cli.core.encoders import ENCODERS
from omp_cli.core.envs.chunking import ChunkEnv, chunk_env_factory
from omp_cli.core.envs.pool import EnvPool
from omp_cli.core.measure.episodes import EvalConfig
from omp_cli.core.suites.base import Suite, recorded_suite


def suite_of(checkpoint: Checkpoint) -> Suite:
    """The suite in whose environments a checkpoint's policy acts, as its data had it.

    Raises:
        MissingDependency: the suite is not known here.
        DataError: it is, and does not have the task, or the settings that the data were made with.
    """
    try:
        suite = recorded_suite(checkpoint.meta.suite)
    except MissingDependency as error:
        raise MissingDependency(error.message, of_plugin(checkpoint.run, error.hint)) from None
    except UsageError as error:
        hint = of_plugin(checkpoint.run, error.hint)
        raise DataError(f"checkpoint {checkpoint.path}: {error.message}", hint) from None
    if suite.simulated and not _has(suite, task := checkpoint.meta.spec.task):
        hint = of_plugin(checkpoint.run, did_you_mean(task, suite.tasks()) or f"its tasks: {first_few(suite.tasks())}")
        name = checkpoint.meta.suite["name"]
        raise DataError(f"checkpoint {checkpoint.path}: suite {name} has no task {task!r} here", hint)
    return suite


def _has(suite: Suite, task: str) -> bool:
    """Whether a suite knows a task; the name of a data set is one that it need not list."""
    if task in suite.tasks():
        return True
    try:
        suite.spec(task)
    except Exception:  # a plugin's says in its own way that it knows none of that name
        return False
    return True


def env_factory(checkpoint: Checkpoint, **arguments: Any) -> Callable[[], ChunkEnv]:
    """A function that makes the environment of a checkpoint, with its observations and chunking.

    Args:
        checkpoint: the checkpoint whose task, observations and chunking the environment has.
        arguments: further arguments of ``ChunkEnv``.

    Raises:
        MissingDependency: the suite has no environment here.
    """
    meta, policy = checkpoint.meta, checkpoint.config()
    return chunk_env_factory(
        meta.suite,
        meta.spec.task,
        keys=ENCODERS.get(policy.encoder.name).keys,
        n_obs=policy.chunk.n_obs,
        reference=meta.reference,
        **{"execute": policy.chunk.execute, "points": getattr(policy.encoder, "points", None), **arguments},
    )


def environments(
    checkpoint: Checkpoint, config: EvalConfig, workers: int, note: Callable[[str], None], **arguments: Any
) -> EnvPool:
    """The environments of an evaluation; they serve every checkpoint of the same run.

    Args:
        checkpoint: the checkpoint whose suite, task and chunking are used.
        config: step limit, actions executed of a chunk, episodes and how many environments are stepped together.
        workers: processes that share the environments, each with at least one; a single one is this process.
        note: called with one line when a process dies; its episode is begun anew.
        arguments: further arguments of ``ChunkEnv``.

    Raises:
        MissingDependency: the suite has no environment here.
        UsageError: the policy makes fewer actions to be executed.
    """
    count = max(workers, min(config.together, config.episodes))
    execute = executed(config.execute, checkpoint.config().chunk.execute)
    factory = env_factory(checkpoint, max_steps=config.max_steps, execute=execute, **arguments)
    return EnvPool(factory, count, workers, note, ("begins anew", "begin anew"))
