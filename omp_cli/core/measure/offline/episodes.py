"""Which recorded episodes a policy is compared with, and what of them it was shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.data.split import episodes_of, others
from omp_cli.core.data.store import Dataset, read_store
from omp_cli.core.encoders import ENCODERS
from omp_cli.core.measure.offline.config import OfflineConfig


@dataclass(frozen=True)
class ReferenceEpisodes:
    """The recorded episodes with which a policy's actions are compared.

    Attributes:
        data: the whole data set.
        episodes: their indices in it.
        known: (F, A) the demonstrations' actions, whose mean is a baseline and whose deviation is the unit of error:
            what the policy was trained on, or of another data set all of it.
        which: "held-out", "train", or "other data".
    """

    data: Dataset
    episodes: tuple[int, ...]
    known: NDArray[np.float32]
    which: str


def reference_episodes(checkpoint: Checkpoint, config: OfflineConfig, note: Callable[[str], None]) -> ReferenceEpisodes:
    """Find the episodes that a policy is to be compared with.

    Args:
        checkpoint: the policy's checkpoint.
        config: which data set, which of its episodes.
        note: called with a line for what is done without having been asked for.

    Raises:
        DataError: there are none: nothing was held out, or the data set is gone or is another one.
        UsageError: the data show or take something else than the policy.
    """
    data = read_store(config.dataset or _own(checkpoint))
    held_out = checkpoint.meta.held_out
    learned = others(data, held_out)
    if data.sha256 != checkpoint.meta.dataset_sha256:
        return _of_another(checkpoint, config, data, note)
    if config.on == "train":
        note(f"{data.path}: these {len(learned)} episodes are what the policy was trained on")
    elif not held_out:
        raise DataError(
            f"{checkpoint.run}: held no episode out of its training",
            "train with --hold-out 0.1, name other data with --dataset PATH, or look at the training data: --on train",
        )
    known = episodes_of(data, learned).whole("action")
    return ReferenceEpisodes(data, learned if config.on == "train" else held_out, known, config.on)


def _own(checkpoint: Checkpoint) -> Path:
    try:
        return checkpoint.dataset()[0]
    except DataError as error:
        raise DataError(error.message, "name a data set: --dataset PATH") from None


def _of_another(
    checkpoint: Checkpoint, config: OfflineConfig, data: Dataset, note: Callable[[str], None]
) -> ReferenceEpisodes:
    """All episodes of another data set but those that start where one did that the policy was trained on."""
    if config.on == "train":
        raise UsageError(
            f"--on train: {data.path} is not what the policy was trained on", "leave --dataset or --on out"
        )
    spec, keys = checkpoint.meta.spec, ENCODERS.get(checkpoint.config().encoder.name).keys
    for name in ("state_dim", "action_dim", *(["points"] * ("point_cloud" in keys)), *(["image"] * ("img" in keys))):
        ours, theirs = getattr(spec, name), getattr(data.spec, name)
        if ours != theirs:
            raise UsageError(f"data set {data.path}: its {name} is {theirs}, the policy's is {ours}")
    names = () if spec.action_channels is None else spec.action_channels.names
    data.spec.same_actions(names, spec.action_unit, spec.action_rotations, f"data set {data.path}", note)
    if "img" in keys:
        data.spec.same_cameras(spec.cameras, f"data set {data.path}", note)
    if missing := [key for key in keys if key not in data.arrays]:
        raise DataError(f"data set {data.path}: the policy reads data/{missing[0]}, which is not there")
    mine = checkpoint.meta.start_states
    seen = {start for index, start in enumerate(mine) if index not in checkpoint.meta.held_out}
    starts = data.provenance.get("start_states", [])
    learned = {index for index, start in enumerate(starts) if start in seen}
    episodes = others(data, tuple(learned))
    if not episodes:
        raise DataError(
            f"data set {data.path}: all its episodes start where one did that the policy was trained on",
            "name data that were not trained on",
        )
    if learned:
        note(f"left out: {len(learned)} episodes of {data.path} that start where one did that was trained on")
    return ReferenceEpisodes(data, episodes, data.whole("action"), "other data")
