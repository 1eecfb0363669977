"""Which environment shows what files hold: found for a data set, and compared with the data's own picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from omp_cli.core.base.errors import MissingDependency, UsageError
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.readers import FORMATS, Recording
from omp_cli.core.data.reference import Reference
from omp_cli.core.data.store import Arrays
from omp_cli.core.suites.base import REAL, SUITES


def rollout_suite(name: str, environment: str | None, format_name: str, recording: Recording) -> dict[str, Any] | None:
    """The suite whose environment shows what was recorded, as plain data; None where none is known.

    Args:
        name: the suite that the data are of.
        environment: the suite's name of the environment that is asked for; None finds the one that shows such data.
        format_name: format of the files.
        recording: what was read of them.

    Raises:
        UsageError: the environment asked for does not, or there is no such thing.
    """
    if name not in SUITES.names():
        if environment is not None:
            raise UsageError(f"suite {name} has no environments", "leave environment out")
        return None
    if environment is None and not FORMATS.get(format_name).simulated:
        return {**REAL}  # the suite lent its name, but a robot's recording is no episode of its simulator
    suite = SUITES.build(SUITES.parse({"name": name}))
    notes = {**recording.notes, "constant_state": _constants(recording.episodes)}
    found = suite.for_data(recording.spec, notes, environment)
    return None if found is None else found.model_dump(mode="json")


def reference_of(suite: dict[str, Any], recording: Recording, progress: Progress) -> dict[str, Any]:
    """The picture that evaluations have to repeat; DataError when the environment, if it is here, does not."""
    reference = Reference.of(recording.starts[0], recording.episodes[0]["img"][0])
    built = SUITES.build(SUITES.parse(suite))
    try:
        built.require()
    except MissingDependency as error:
        progress.note(f"pictures are not compared with the environment's: {error.message}")
    else:
        env = built.make(recording.spec.task)
        try:
            difference = reference.check(env.img_in(recording.starts[0]), recording.spec.task)
        finally:
            env.close()
        progress.note(f"the environment repeats the data's first picture (difference {difference:.2f} of 255)")
    return reference.model_dump(mode="json")


def _constants(episodes: Sequence[Arrays]) -> dict[int, float]:
    """Numbers of the state that are the same in all frames, by their indices."""
    first = episodes[0]["state"][0]
    same = np.all([(e["state"] == first).all(axis=0) for e in episodes], axis=0)
    return {int(index): float(first[index]) for index in np.flatnonzero(same)}
