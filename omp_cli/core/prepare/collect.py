"""Scripted demonstrations: roll experts out in worker processes, keep the successes, resume by episode."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import RunFailed
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.seeds import demo_seed
from omp_cli.core.envs.jobs import E, J, Kept, in_order
from omp_cli.core.prepare.attempt import AttemptJob, Candidate, CollectConfig, record, start_of


class Tried(Protocol):
    """A finished candidate."""

    @property
    def success(self) -> bool:
        """Whether it is worth keeping."""

    @property
    def steps(self) -> int:
        """Its length in environment steps."""


C = TypeVar("C", bound=Tried)


def filled_sentence(frames: int, points: int) -> str:
    """What to say of clouds with fewer points than were asked for."""
    return f"clouds of {frames} frames had too few points: {points} in all are repetitions of others"


def collect(
    suite: dict[str, Any],
    task: str,
    config: CollectConfig,
    seed: int,
    folder: Path,
    workers: int,
    progress: Progress,
    expert: Path | None = None,
) -> tuple[list[Candidate], int]:
    """Record ``config.demos`` successful episodes of one task.

    Candidates have consecutive indices, or the order of ``start_order``, and the first successes in it are kept, so the
    result does not depend on the number of workers or on interruptions. Finished candidates are files in ``folder`` and
    are reused.

    Args:
        suite: the suite's configuration as plain data, ``{"name": ..., ...}``.
        task: task name.
        config: what is recorded.
        seed: seed of the start states (``seeds.demo_seed``).
        folder: folder where finished candidates are kept until the store is written.
        workers: processes.
        progress: advances with every demonstration that is kept.
        expert: file or folder of the expert that demonstrates (``read_expert``); None takes the suite's scripted one.

    Returns:
        The kept candidates in order, and how many before the last of them failed.

    Raises:
        RunFailed: too few candidates succeeded, or a worker died again and again.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def job(index: int) -> AttemptJob:
        start = demo_seed(seed, task, index)
        return AttemptJob(suite, task, start, config, folder / f"{index:06d}-{start}.npz", expert)

    looked_at = config.demos * config.spread
    first: Iterable[int] = range(looked_at)
    if config.spread > 1:
        first = _spread([job(index) for index in first], task, workers, progress)
    order = itertools.chain(first, itertools.count(looked_at))
    jobs = map(job, itertools.islice(order, config.demos * config.max_attempts))
    return first_successes(record, jobs, config.demos, task, workers, progress)


def first_successes(
    function: Callable[[J, Kept[E]], C], jobs: Iterator[J], wanted: int, task: str, workers: int, progress: Progress
) -> tuple[list[C], int]:
    """The first ``wanted`` successful candidates in the order of their jobs, and how many before the last one failed.

    Raises:
        RunFailed: too few candidates succeeded, or a worker died again and again.
    """
    kept: list[C] = []
    failed = 0
    progress.start(f"{task}: demonstrations", wanted)
    for candidate in in_order(function, jobs, workers, progress.note):
        if candidate.success:
            kept.append(candidate)
            progress.advance(failed=failed, steps=candidate.steps)
        else:
            failed += 1
        if len(kept) == wanted:
            return kept, failed
    raise RunFailed(
        f"{task}: only {len(kept)} of {wanted} demonstrations after {len(kept) + failed} attempts",
        "the expert is weak here: ask for fewer with --demos, or raise collect.max_steps",
    )


def start_order(starts: NDArray[np.float64]) -> list[int]:
    """Farthest point sampling of start states: the first, then always the one farthest from all before it.

    Args:
        starts: ``TaskEnv.start_state`` of the candidates, (M, D); distances are Euclidean in its own units, which are
            metres where it holds the positions of objects and goals.

    Returns:
        All M indices in that order; of equally far ones the lowest first.
    """
    order = [0]
    nearest = np.square(starts - starts[0]).sum(1)
    for _ in range(len(starts) - 1):
        nearest[order[-1]] = -1.0  # taken, and farther than nothing, where start states coincide too
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.square(starts - starts[order[-1]]).sum(1))
    return order


def _spread(jobs: list[AttemptJob], task: str, workers: int, progress: Progress) -> list[int]:
    """The indices of the candidates in the order of ``start_order``."""
    progress.start(f"{task}: start states", len(jobs))
    starts = []
    for start in in_order(start_of, jobs, workers, progress.note):
        starts.append(start)
        progress.advance()
    return start_order(np.stack(starts))


def points_on(counts: Iterable[Mapping[str, int]], frames: int) -> dict[str, Any]:
    """Counts of points by what they lay on, over all frames, as a provenance has them; empty without clouds.

    "points_seen" is the mean number of a frame before sampling, "points_on" the share of each thing in them.
    """
    total = sum((Counter(count) for count in counts), Counter[str]())
    seen = total.total()
    if not seen:
        return {}
    return {
        "points_seen": round(seen / frames, 1),
        "points_on": {name: round(count / seen, 4) for name, count in sorted(total.items())},
    }
