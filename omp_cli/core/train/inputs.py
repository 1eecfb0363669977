"""Before a training: what it will come to; for a resumed run, where its inputs are now and how far it has to go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.manifest import Input, Manifest
from omp_cli.core.base.run import CHECKPOINTS, whereabouts
from omp_cli.core.checkpoint import open_run
from omp_cli.core.data.split import trained_on
from omp_cli.core.data.store import Dataset, read_attributes
from omp_cli.core.spec import Spec
from omp_cli.core.train.build import build_policy
from omp_cli.core.train.config import PretrainConfig, TrainConfig

WHERE = {
    "dataset": "say where that is now: omp pretrain DATASET --resume RUN",
    "teacher": "say where that is now: omp pretrain --teacher RUN_OR_CHECKPOINT --resume RUN",
}
"""How the user is told of an input of a resumed run that has moved."""


def inputs_now(
    run: Path, before: Sequence[Input], wanted: Iterable[str], given: Mapping[str, Path | None]
) -> dict[str, Path]:
    """Where the inputs of a run are now, by kind.

    Args:
        run: the run's folder.
        before: what it has read.
        wanted: the kinds of inputs that it has.
        given: where the line says that they are now.

    Raises:
        UsageError: the run had not read one, or the line says where one is that the run does not have.
        DataError: one is nowhere near.
    """
    found, wanted = {read.kind: read for read in before}, list(wanted)
    if any(kind not in found for kind in wanted):
        raise UsageError(f"{run}: ended before it had read its data set", "start it again without --resume")
    for kind, path in given.items():
        if path is not None and kind not in wanted:
            raise UsageError(f"{run}: has no {kind}", "leave it out")
    return {kind: given[kind] or _find(run, found[kind]) for kind in wanted}


def check_same(before: Sequence[Input], kind: str, path: Path, sha256: str) -> None:
    """DataError when an input of a run that is resumed is not what the run has read before; a new run has read none."""
    if any(read.kind == kind and read.sha256 != sha256 for read in before):
        raise DataError(f"{kind} {path}: has another content than the one the run began with", WHERE[kind])


def check_same_spec(run: Path, before: Spec, now: Spec) -> None:
    """DataError when a policy would see or learn the numbers of its data set otherwise than when its run began."""
    ways = {
        "numbers of the state that they are quaternions": "quaternions",
        "numbers of the state that they are rotations": "state_rotations",
        "numbers of the action that they are rotations": "action_rotations",
    }
    for what, name in ways.items():
        if getattr(before, name) != getattr(now, name):
            raise DataError(
                f"{run}: the data set that is there now says of other {what}",
                "go on with the one of then, or one prepared with the settings of then, or start a new run",
            )


def longer(run: Path, manifest: Manifest, train: TrainConfig) -> str:
    """What becomes of the learning rate of a run that goes on to ``train.steps``; UsageError if it has none to go."""
    found = open_run(run) if (run / CHECKPOINTS).is_dir() else []
    done = found[-1].meta.step if found else 0
    if train.steps <= done:
        raise UsageError(
            f"{run}: has taken {done} steps already, and --steps {train.steps} counts from its beginning",
            f"ask for more than {done}, or evaluate an earlier checkpoint: {run / CHECKPOINTS}",
        )
    before = manifest.metrics.get("lr")
    was = f", it was {before:.3g} at step {done}" if isinstance(before, float) else ""
    rate = train.learning_rate(done, train.steps)
    return f"the learning rate follows the schedule of a run of {train.steps} steps from here on: {rate:.3g}{was}"


def expected(config: PretrainConfig, dataset: Dataset) -> tuple[dict[str, int], str | None]:
    """What a training comes to: parameters of the policy, frames and steps; and what is to be told before it begins."""
    data = trained_on(dataset, config.train.hold_out, config.seed)
    frames = int(data.episode_ends[-1])
    figures = {**build_policy(config, data).sizes(), "frames": frames, "steps": config.train.total_steps(frames)}
    return figures, config.train.remark(frames)


def _find(run: Path, read: Input) -> Path:
    """Where an input is now: the first place with the content that the run began with, else as recorded."""
    places = list(whereabouts(run, read.path))
    for place in places:
        with suppress(DataError):  # something else of that name
            same = read_attributes(place)["content_sha256"] if read.kind == "dataset" else open_run(place)[-1].sha256()
            if same == read.sha256:
                return place
    if not places:
        raise DataError(f"{read.kind} {read.path}: no such file or folder, nor is it near {run}", WHERE[read.kind])
    return places[0]
