"""A robot that LeRobot records, compared with the data that a policy learned from: joints, their order, the rate."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from lerobot.configs.policies import PreTrainedConfig

from omp_cli.core.base.errors import DataError
from omp_cli.core.deploy.lerobot.features import Feature

LOG = logging.getLogger(__name__)


def compare_with_robot(features: Iterable[Feature], meta: Any, config: PreTrainedConfig) -> None:
    """Compare what a policy reads and answers with what the robot shows and takes.

    Args:
        features: the policy's.
        meta: LeRobot's description of the data set that is recorded, which is the robot's.
        config: the policy's, with the names that the user may have set.

    Raises:
        DataError: numbers of another count, or the same names in another order, which would move the wrong joints.
    """
    for feature in features:
        shown = meta.features.get(feature.key)
        if shown is None or feature.kind == "VISUAL":  # a camera may be renamed on its way, and is resized
            continue
        if tuple(shown["shape"]) != feature.shape:
            raise DataError(f"robot: {feature.key} has shape {tuple(shown['shape'])}, the policy has {feature.shape}")
        _same_names(feature.key, config.names.get(feature.key, []), _flat(shown.get("names")))
    if config.control_hz and abs(meta.fps / config.control_hz - 1) > 0.01:
        LOG.warning(
            "the robot acts %g times a second, the policy's data %g times: motions are that much faster or slower",
            meta.fps,
            config.control_hz,
        )


def _same_names(key: str, ours: list[str], theirs: list[str]) -> None:
    if not ours or not theirs or ours == theirs:
        return
    if sorted(ours) == sorted(theirs):
        raise DataError(
            f"robot: {key} is {', '.join(theirs)}, the policy has them in another order: {', '.join(ours)}",
            "--policy.names says what the policy's numbers are, if its data called them wrongly",
        )
    LOG.warning("%s: the robot has %s, the policy %s; they are taken by place", key, ", ".join(theirs), ", ".join(ours))


def _flat(names: Any) -> list[str]:
    """LeRobot's names of a feature's numbers: a list, or lists by kind."""
    if isinstance(names, dict):
        return [str(name) for value in names.values() for name in (value if isinstance(value, list) else [value])]
    return [] if names is None else [str(name) for name in names]
