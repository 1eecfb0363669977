"""One evaluation without an environment: errors, records of the episodes, picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from omp_cli.core.base.files import defined, to_json, write_text
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import EPISODES, Run
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.measure.evaluation import policy_facts
from omp_cli.core.measure.offline.config import PICTURE, OfflineConfig
from omp_cli.core.measure.offline.episodes import ReferenceEpisodes
from omp_cli.core.measure.offline.picture import plot_actions
from omp_cli.core.measure.offline.predict import Chunks, chunks_of
from omp_cli.core.measure.offline.scores import BASELINES, MEAN, POLICY, SAMPLE, SAMPLES, Floats, Sums
from omp_cli.core.policy import Policy
from omp_cli.core.rotations import mean_of, nearest


def evaluate_offline(
    run: Run,
    checkpoint: Checkpoint,
    reference: ReferenceEpisodes,
    config: OfflineConfig,
    device: torch.device,
    progress: Progress,
) -> dict[str, Any]:
    """Compare a policy's actions with those of recorded episodes.

    At every ``config.stride``-th frame the policy is shown what was observed up to there, and the E steps that it would
    execute are compared with those recorded. Writes ``episodes.jsonl`` (the error of each episode) and ``actions.png``
    (what it would have done over the episode of median error).

    Returns:
        The figures that go into the manifest, which gets the time of the parts besides; see ``Sums.figures``.

    Raises:
        Diverged: the policy gave a number that is not finite.
    """
    watch = Stopwatch()
    policy = checkpoint.load(config.weights, device)
    nfe, data = config.nfe or policy.nfe, reference.data
    samples = config.samples if policy.method.generative else 1
    rotations = data.spec.action_rotations or policy.spec.action_rotations
    mean = mean_of(reference.known, rotations)
    known = nearest(reference.known.astype(np.float64), mean, rotations)
    sums = Sums(policy.chunk.execute, known.std(0), np.ptp(known, axis=0) >= policy.action_limits.min_range)
    lengths = np.diff(data.episode_ends, prepend=0)
    frames = {index: np.arange(0, lengths[index], config.stride) for index in reference.episodes}
    main = SAMPLE if policy.method.generative else POLICY
    watch.lap("loading the policy")
    progress.start(f"{data.spec.task}: step {checkpoint.meta.step}, nfe {nfe}", sum(map(len, frames.values())))
    for index in reference.episodes:
        sums.begin()
        for chunks in chunks_of(policy, data, index, frames[index], samples, nfe, config.seed, mean):
            watch.lap("policy")
            sums.add(chunks.predicted(policy.method.generative), chunks.truth, chunks.valid)
            watch.lap("errors")
            error = sums.relative(main)[-1]
            progress.advance(len(chunks.frames), **({} if error is None else {"relative_error": error}))
    figures = {
        "suite": data.spec.suite,
        "task": data.spec.task,
        "checkpoint_step": checkpoint.meta.step,
        "weights": config.weights,
        "nfe": nfe,
        "selection": checkpoint.selection,
        "offline": _errors(policy, reference, sums, samples, config.seed),
    }
    records = _records(reference, sums)
    write_text(run.folder / EPISODES, "".join(to_json(defined(row)) + "\n" for row in records))
    run.artifact(run.folder / EPISODES)
    watch.lap("intervals")
    shown = _median(reference, sums.relative(main))
    title = f"{data.spec.suite}/{data.spec.task}, {reference.which} episode {shown}, NFE {nfe}"
    done, decided = _over(policy, reference, shown, samples, nfe, config.seed, mean)
    plot_actions(run.folder / PICTURE, title, policy.spec, done, decided)
    run.artifact(run.folder / PICTURE)
    watch.lap("picture")
    facts = policy_facts(checkpoint, data.provenance if reference.which != "other data" else {})
    run.metrics(**figures, policy=facts, seconds_by_part=watch.rounded())
    return figures


def _errors(policy: Policy, reference: ReferenceEpisodes, sums: Sums, samples: int, seed: int) -> dict[str, Any]:
    """The errors with their intervals, and what they were taken over; JSON types."""
    names = ((SAMPLE, MEAN, SAMPLES) if policy.method.generative else (POLICY,)) + BASELINES
    return {
        "on": reference.which,
        "content_sha256": reference.data.sha256,
        "episodes": list(reference.episodes),
        "decisions": sum(sums.windows),
        "samples": samples,
        "names": list(policy.spec.action_names),
        "unit": policy.spec.action_unit,
        "spread": [float(f"{s:.6g}") if moves else None for s, moves in zip(sums.spread, sums.moving, strict=True)],
        "errors": {name: sums.figures(name, seed) for name in names},
    }


def _records(reference: ReferenceEpisodes, sums: Sums) -> list[dict[str, Any]]:
    """A row for each episode: its decisions, and the relative error of every predictor."""
    errors = {name: sums.relative(name) for name in sums.squares}
    return [
        {
            "episode": index,
            "decisions": sums.windows[row],
            "relative_error": {name: of[row] for name, of in errors.items()},
        }
        for row, index in enumerate(reference.episodes)
    ]


def _median(reference: ReferenceEpisodes, errors: list[float | None]) -> int:
    """The episode whose error lies in the middle."""
    order = np.argsort([0.0 if error is None else error for error in errors], kind="stable")
    return reference.episodes[int(order[(len(order) - 1) // 2])]


def _over(
    policy: Policy, reference: ReferenceEpisodes, episode: int, samples: int, nfe: int, seed: int, mean: Floats
) -> tuple[Floats, list[Chunks]]:
    """What was done over an episode (F, A), and what the policy would have done, chunk after executed chunk."""
    first, last = (np.concatenate([[0], reference.data.episode_ends])[episode + n] for n in (0, 1))
    frames = np.arange(0, last - first, policy.chunk.execute)
    chunks = list(chunks_of(policy, reference.data, episode, frames, samples, nfe, seed, mean))
    return reference.data.arrays["action"][first:last].astype(np.float64), chunks
