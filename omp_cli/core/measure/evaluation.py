"""One evaluation run: the last checkpoint, earlier ones for the curve, records, plot and video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.base.layers import flatten
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.base.timing import Stopwatch, rounded
from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.deploy.decider import Decider
from omp_cli.core.deploy.exported import OfExport
from omp_cli.core.measure.environments import environments, suite_of
from omp_cli.core.measure.episodes import Episode, EvalConfig, by_episode, starts_hash, summarise
from omp_cli.core.measure.film import write_video
from omp_cli.core.measure.modes import mode_coverage
from omp_cli.core.measure.plots import plot_return, plot_success
from omp_cli.core.measure.records import Records
from omp_cli.core.measure.success import evaluate
from omp_cli.core.suites.base import Suite

VIDEO = "video.mp4"
PLOT = {"success": "success.png", "return": "return.png"}


def evaluate_run(
    run: Run,
    checkpoints: Sequence[Checkpoint],
    config: EvalConfig,
    workers: int,
    device: torch.device,
    progress: Progress,
    films: int,
    export: OfExport | None = None,
    resumed: bool = False,
) -> dict[str, Any]:
    """Evaluate the last of the checkpoints (and the earlier ones with ``config.curve`` episodes each).

    Writes ``episodes.jsonl`` (one record per episode, at its end: a ``resumed`` evaluation goes on from what is there),
    ``success.png`` or ``return.png`` (what the suite's metric is) when there is more than one checkpoint's to show, and
    ``video.mp4`` of the first ``films`` episodes. With ``export``, that decides in the place of the last checkpoint, of
    which it was made.

    Returns:
        The figures that go into the manifest, which gets the time of the parts besides.
    """
    last = checkpoints[-1]
    suite = suite_of(last)
    curve = []
    films = min(films, config.episodes)
    workers = min(workers, config.episodes)
    watch = Stopwatch()
    whole = {} if export is None else {"points": None}
    records = Records(run, suite, resumed)
    if resumed:
        progress.note(f"continuing after {records.count} episodes")
    with records, environments(last, config, workers, progress.note, **whole) as envs:
        envs.start()
        watch.lap("start of the environments")
        for checkpoint in checkpoints[:-1] if config.curve else []:
            count = config.curve
            episodes, _ = evaluate(checkpoint, config, count, envs, device, progress, watch=watch, records=records)
            curve.append(_row(checkpoint, config, episodes, suite))
        said: dict[str, Any] = {}
        count = config.episodes
        episodes, pictures = evaluate(last, config, count, envs, device, progress, films, watch, said, records, export)
        busy = envs.seconds_by_part()
        watch.start()
    watch.lap("end of the environments")
    # Workers advance together, chunk by chunk: who is ready early waits for the slowest, and all wait for the policy.
    parts = watch.seconds
    together = parts.get("environments: step", 0.0) + parts.get("environments: reset", 0.0)  # none where none was left
    theirs = workers * together - sum(busy.values())
    busy["waiting for the slowest"] = max(theirs, 0.0)
    data = data_facts(last)
    watch.lap("the data's own figures")
    figures = _row(last, config, episodes, suite) | said
    if resumed:
        figures["resumed_at_episode"] = records.count
    if suite.metric == "return" and (returns := data.get("returns")) is not None:
        figures["demonstrations"] = returns
    figures["by_episode"] = by_episode(episodes, suite)
    figures["starts_sha256"] = starts_hash(episodes)
    figures |= mode_coverage([e.mode for e in episodes], data.get("modes"))
    if curve:
        figures["curve"] = curve
    _draw(run, last, suite, figures, episodes, pictures)
    watch.lap("plot and video")
    seconds = {"seconds_by_part": watch.rounded(), "worker_seconds_by_part": rounded(busy)}
    policy = policy_facts(last, data) | ({} if export is None else {"export": export.path.name})
    run.metrics(**figures, policy=policy, environments=envs.num_envs, **seconds)
    return figures


def _draw(
    run: Run,
    last: Checkpoint,
    suite: Suite,
    figures: dict[str, Any],
    episodes: Sequence[Episode],
    pictures: Sequence[NDArray[np.uint8]],
) -> None:
    """The plot over training, where there are several checkpoints, and the video, where there are pictures."""
    spec = last.meta.spec
    if "curve" in figures:
        plot = {"success": plot_success, "return": plot_return}[suite.metric]
        file = run.folder / PLOT[suite.metric]
        plot(file, f"{spec.suite}/{spec.task}", [*figures["curve"], figures])
        run.artifact(file)
    if pictures:
        green = [e.succeeded(suite) if suite.judged else not e.terminated for e in episodes]
        write_video(run.folder / VIDEO, pictures, green, spec.control_hz)
    if (run.folder / VIDEO).is_file():  # also of before: it shows the same episodes
        run.artifact(run.folder / VIDEO)


def data_facts(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the data that the checkpoint's run was trained on say of themselves; empty when they are not to be had."""
    try:
        return checkpoint.dataset()[1]
    except DataError:  # their figures are a courtesy; evaluation does not need the data
        return {}


def policy_facts(checkpoint: Checkpoint, data: dict[str, Any]) -> dict[str, Any]:
    """What was evaluated: method, training seed and steps, every setting of policy and training, the data.

    What only the run's manifest and the data set know (seed, settings and figures of the training, how the data were
    made) is None or left out where they are gone. Settings of a fine-tuning are called "finetune.*". "training" has the
    figures of the whole run, whichever of its checkpoints is evaluated, and what it found on held-out episodes.
    ``data`` is what the data set says of itself (``data_facts``).
    """
    meta = checkpoint.meta
    seed, trained, figures = _training(checkpoint)
    made = {key: value for key, value in data.get("recipe", {}).items() if key not in ("suite", "task")}
    turned: dict[str, Any] = {
        "quaternions": [q.first for q in meta.spec.quaternions],
        "state_rotations": list(map(str, meta.spec.state_rotations)),
        "action_rotations": list(map(str, meta.spec.action_rotations)),
    }
    return {
        "method": meta.policy["method"]["name"],
        "seed": seed,
        "steps": meta.step,
        "finetuned_by": meta.finetuned_by,
        "settings": flatten(meta.policy) | trained,
        "training": figures,
        "data": {
            "content_sha256": meta.dataset_sha256,
            "demos": len(meta.start_states),
            "settings": flatten({**meta.suite, **made, **{name: value for name, value in turned.items() if value}}),
        },
    }


def acting_facts(decider: Decider) -> dict[str, Any]:
    """Of a policy that acts on a robot what an evaluation says of one, for a report: ``policy``, suite and checkpoint.

    Empty of an export whose checkpoint is gone.
    """
    try:
        checkpoint = decider.checkpoint()
    except DataError:
        return {}
    by = {"export": decider.path.name} if isinstance(decider, OfExport) else {}
    return {
        "suite": checkpoint.meta.spec.suite,
        "checkpoint_step": checkpoint.meta.step,
        "selection": checkpoint.selection,
        "policy": policy_facts(checkpoint, data_facts(checkpoint)) | by,
    }


def _training(checkpoint: Checkpoint) -> tuple[int | None, dict[str, Any], dict[str, Any]]:
    """Seed, settings and figures of the run that the checkpoint belongs to, as far as its manifest is there."""
    try:
        run = read_manifest(checkpoint.run)
    except DataError:  # a checkpoint that was copied out of its run can be evaluated too
        return None, {}, {}
    figures = {k: v for k, v in run.metrics.items() if k == "evaluations" or isinstance(v, int | float)}
    settings = {key: value.value for key, value in run.config.items()}
    if run.command == "finetune":
        settings = {f"finetune.{k}": v for k, v in settings.items() if k not in ("checkpoint", "seed", "threads")}
    else:
        settings = {k: v for k, v in settings.items() if k.startswith("train.")}
    return run.seeds.get("seed"), settings, figures


def _row(checkpoint: Checkpoint, config: EvalConfig, episodes: Sequence[Episode], suite: Suite) -> dict[str, Any]:
    return {
        "suite": checkpoint.meta.spec.suite,
        "task": checkpoint.meta.spec.task,
        "checkpoint_step": checkpoint.meta.step,
        "weights": config.weights,
        "nfe": config.nfe or checkpoint.nfe,
        "noise_scale": config.noise_scale,
        "selection": checkpoint.selection,
        **summarise(episodes, suite),
    }
