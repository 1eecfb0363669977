"""Which environment shows what files hold: found for a data set, and compared with the data's own picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from omp_cli.core.base.errors import MissingDependency, UsageError
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.readers import FORMATS, Recording
from omp_cli.core.data.readers.roles import DEPTH
from omp_cli.core.data.reference import Reference
from omp_cli.core.data.store import Arrays
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import REAL, SUITES, Suite, is_users_own


def rollout_suite(
    name: str, environment: str | None, format_name: str, recording: Recording
) -> tuple[dict[str, Any] | None, Recording]:
    """The suite whose environment shows what was recorded, as plain data (None where none is known), and the recording.

    A suite of the user's own shows what has the layout of its task. Such a recording gets the suite's spec, and what
    came of the comparison is in its ``said``.

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
        return None, recording
    users_own = is_users_own(name)
    if environment is None and not users_own and not FORMATS.get(format_name).simulated:
        return {**REAL}, recording  # the suite lent its name, but a robot's recording is no episode of its simulator
    suite = SUITES.build(SUITES.parse({"name": name}))
    notes = {**recording.notes, "constant_state": _constants(recording.episodes)}
    found = suite.for_data(recording.spec, notes, environment)
    if found is None:
        return None, recording
    if users_own:
        shown = SUITES.build(found)  # type: ignore[arg-type]  # every suite's settings have its name
        if (reason := _why_not(shown, recording.spec)) is not None:
            if environment is not None:
                raise UsageError(f"environment {environment}: {reason}", "leave environment out")
            said = f"these data cannot be rolled out in suite {name}: {reason}"
            return {**REAL}, replace(recording, said=(*recording.said, said))
        recording = _as_of_suite(shown, recording)
    return found.model_dump(mode="json"), recording


def no_clouds_of_its_own(suite: str, format_name: str, recording: Recording) -> None:
    """UsageError for depth pictures, which stay pictures here, and for clouds that no environment would show again."""
    first = recording.episodes[0]
    lent = FORMATS.get(format_name).simulated and not is_users_own(suite)
    if DEPTH in first or ("point_cloud" in first and lent):
        role = "depth" if DEPTH in first else "cloud"
        raise UsageError(
            f"format.{role}: clouds of a file are data of one's own, no episodes of {suite}",
            "omp prepare own PATH --task NAME",
        )


def _why_not(suite: Suite, found: Spec) -> str | None:
    """Why data of the spec ``found`` are not rolled out in the suite; None where they have the layout of its task."""
    if found.task not in suite.tasks():
        return f"it has no task {found.task!r}"
    ours = suite.spec(found.task)
    try:
        ours.same_layout(found)
    except UsageError as error:
        return error.message
    if None not in (ours.points, found.points) and ours.points != found.points:
        return f"the environment's clouds have {ours.points} points, those of the data {found.points}"
    return None


def _as_of_suite(suite: Suite, recording: Recording) -> Recording:
    """The recording with the spec of the suite's task, but for what the data show; said, with what does not fit."""
    old = recording.spec
    ours = suite.spec(old.task)
    kept = ("points", "image", "cameras", "cloud_in_fps_order")
    said = [f"these data can be rolled out in suite {ours.suite}: state and action are as long as in its environment"]
    if recording.hz not in (None, ours.control_hz):
        said.append(f"the file says {recording.hz:g} Hz, and a step of {ours.suite} is one at {ours.control_hz:g} Hz")
    for what, name in (("pictures", "image"), ("clouds", "points")):
        if getattr(old, name) is not None and getattr(ours, name) is None:
            said.append(f"suite {ours.suite} shows no {what}: a policy that reads those of the data cannot act in it")
    spec = ours.model_copy(update={name: getattr(old, name) for name in kept})
    return replace(recording, spec=spec, said=(*recording.said, *said))


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
