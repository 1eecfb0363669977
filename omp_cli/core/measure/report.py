"""One evaluation run: the last checkpoint, earlier ones for the curve, records, plot and video."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.files import write_text
from omp_cli.core.measure.film import write_video
from omp_cli.core.measure.plots import plot_success
from omp_cli.core.measure.success import Episode, EvalConfig, environments, evaluate, summarise, worker_seconds
from omp_cli.core.progress import Progress
from omp_cli.core.run import Run
from omp_cli.core.timing import Stopwatch, rounded

EPISODES, PLOT, VIDEO = "episodes.jsonl", "success.png", "video.mp4"


def evaluate_run(
    run: Run,
    checkpoints: Sequence[Checkpoint],
    config: EvalConfig,
    workers: int,
    device: torch.device,
    progress: Progress,
    films: int,
) -> dict[str, Any]:
    """Evaluate the last of the checkpoints (and the earlier ones with ``config.curve`` episodes each).

    Writes ``episodes.jsonl`` (one record per episode), ``success.png`` when there is more than one checkpoint's
    success to show, and ``video.mp4`` of the first ``films`` episodes.

    Returns:
        The figures that go into the manifest, which gets the time of the parts besides.
    """
    last = checkpoints[-1]
    earlier = checkpoints[:-1] if config.curve else []
    records: list[Episode] = []
    curve = []
    films = min(films, config.episodes)
    workers = min(workers, config.episodes)
    watch = Stopwatch()
    with environments(last, config, workers, films) as envs:
        watch.lap("start of the environments")
        for checkpoint in earlier:
            episodes, _ = evaluate(checkpoint, config, config.curve, envs, device, progress, watch=watch)
            records += episodes
            curve.append(_row(checkpoint, config, episodes))
        episodes, pictures = evaluate(last, config, config.episodes, envs, device, progress, films, watch)
        busy = worker_seconds(envs)
        watch.start()
    watch.lap("end of the environments")
    # Workers advance together, chunk by chunk: who is ready early waits for the slowest, and all wait for the policy.
    parts = watch.seconds
    theirs = workers * (parts["environments: step"] + parts["environments: reset"]) - sum(busy.values())
    busy["waiting for the slowest"] = max(theirs, 0.0)
    records += episodes
    figures = _row(last, config, episodes)
    write_text(run.folder / EPISODES, "".join(json.dumps(asdict(record)) + "\n" for record in records))
    run.artifact(run.folder / EPISODES)
    if curve:
        figures["curve"] = curve
        plot_success(run.folder / PLOT, f"{last.meta.spec.suite}/{last.meta.spec.task}", [*curve, figures])
        run.artifact(run.folder / PLOT)
    if pictures:
        write_video(run.folder / VIDEO, pictures, [e.success_any for e in episodes], last.meta.spec.control_hz)
        run.artifact(run.folder / VIDEO)
    watch.lap("plot and video")
    run.metrics(**figures, seconds_by_part=watch.rounded(), worker_seconds_by_part=rounded(busy))
    return figures


def _row(checkpoint: Checkpoint, config: EvalConfig, episodes: Sequence[Episode]) -> dict[str, Any]:
    return {
        "suite": checkpoint.meta.spec.suite,
        "task": checkpoint.meta.spec.task,
        "checkpoint_step": checkpoint.meta.step,
        "weights": config.weights,
        "nfe": config.nfe,
        "selection": "last",
        **summarise(episodes),
    }
