"""States of Adroit's simulator in files, shown anew: what a policy would see, and whether the goal was reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import DataError
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.readers.base import Recording, Subject
from omp_cli.core.data.store import Arrays
from omp_cli.core.envs.jobs import Kept, in_order
from omp_cli.core.prepare.attempt import PICTURE_SIZE, counted_since
from omp_cli.core.prepare.collect import filled_sentence, points_on
from omp_cli.core.suites.adroit.config import AdroitConfig
from omp_cli.core.suites.adroit.poses import states_of
from omp_cli.core.suites.adroit.suite import Adroit, AdroitEnv

HELD = 10
"""Actions that an episode has to be at the goal, as in DP3's recordings."""


@dataclass(frozen=True)
class ShowJob:
    """One episode: states (T, n) by name, or None and observations (T, S) to find them from; actions (T, A)."""

    suite: AdroitConfig
    task: str
    states: Arrays | None
    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    keep: bool


@dataclass(frozen=True)
class Shown:
    """What the simulator showed.

    Attributes:
        frames: "state", "point_cloud", "img" and "success" (T, ...); None where the episode is left out.
        pictures: first and last picture, for a contact sheet.
        start: the simulator's first state, as one vector.
        deviation: largest difference of a joint position after the first action to the file's next state, rad or m.
        points_on: points of the clouds before sampling, by what they lay on.
        filled: points that clouds lacked and that were filled by repetition, over all frames.
        frames_filled: frames in which that happened.
    """

    frames: Arrays | None
    pictures: Arrays
    start: NDArray[np.float64]
    deviation: float
    points_on: dict[str, int] = field(default_factory=dict)
    filled: int = 0
    frames_filled: int = 0


def show_recording(
    recording: Recording,
    suite: Settings,
    subject: Subject,
    keep_failures: bool,
    limit: int | None,
    workers: int,
    progress: Progress,
) -> Recording:
    """The recording with what a policy sees in the place of the file's observations; the first ``limit`` episodes.

    Without ``keep_failures`` those are left out that are at the goal for less than ``HELD`` actions.

    Raises:
        DataError: the file has neither states nor whole observations, or no episode reaches the goal.
        MissingDependency: gymnasium-robotics is not installed.
    """
    assert isinstance(suite, AdroitConfig)
    Adroit(suite).require()
    _check_observations(recording, subject)
    suite = _lasting(suite, recording, subject)
    kept, places, tried = _first_kept(recording, suite, subject, keep_failures, limit, workers, progress)
    seen = [found for _, found in kept]
    return replace(
        recording,
        episodes=[episode for episode, _ in kept],
        spec=Adroit(suite).spec(subject.task),
        notes={**recording.notes, **_notes(recording, suite, kept, tried)},
        starts=[found.start for found in seen],
        states=None,
        sheet=[{**episode, **found.pictures} for episode, found in kept],
        said=(*recording.said, *_said(tried, seen)),
        numbers=tuple(recording.number(place) for place in places),
    )


def _check_observations(recording: Recording, subject: Subject) -> None:
    """DataError where a file holds neither states nor the whole observations to find them from."""
    seen = recording.episodes[0]["state"].shape[1]
    wanted = Adroit(AdroitConfig(state="observation")).spec(subject.task).state_dim
    if recording.states is None and seen != wanted:
        raise DataError(
            f"neither states of the simulator in the file ({', '.join(subject.states)}) nor observations of "
            f"{wanted} numbers, but of {seen}: nothing to make clouds of",
            "--set replay=false takes the file's own observations",
        )


def _lasting(suite: AdroitConfig, recording: Recording, subject: Subject) -> AdroitConfig:
    """The suite with actions that last as long as in the file, and episodes that are long enough for all of its."""
    repeat = int(recording.notes.get("repeat", 1))
    usual = -(-subject.facts.max_steps // repeat)  # rounded up
    longest = max(len(episode["action"]) for episode in recording.episodes)
    return suite.model_copy(update={"repeat": repeat, "max_steps": suite.max_steps or max(usual, longest)})


def _first_kept(
    recording: Recording,
    suite: AdroitConfig,
    subject: Subject,
    keep_failures: bool,
    limit: int | None,
    workers: int,
    progress: Progress,
) -> tuple[list[tuple[Arrays, Shown]], list[int], int]:
    """The first ``limit`` episodes that are kept, each with what the simulator showed.

    Also where in the recording each of them is, and how many were tried.

    Raises:
        DataError: none of them reaches the goal.
    """
    states: Sequence[Arrays | None] = recording.states or [None] * len(recording.episodes)
    jobs = [
        ShowJob(suite, subject.task, state, episode["state"], episode["action"], keep_failures)
        for state, episode in zip(states, recording.episodes, strict=True)
    ]
    progress.start(f"{subject.task}: showing demonstrations anew", limit or len(jobs))
    kept: list[tuple[Arrays, Shown]] = []
    places: list[int] = []
    tried = 0
    for episode, found in zip(recording.episodes, in_order(show, jobs, workers, progress.note), strict=False):
        tried += 1
        if found.frames is not None:
            kept.append(({**episode, "full_state": episode["state"], **found.frames}, found))
            places.append(tried - 1)
            progress.advance()
        if len(kept) == limit:
            break
    if not kept:
        raise DataError(
            f"{subject.task}: none of {tried} episodes is at the goal for {HELD} actions",
            "--set keep_failures=true keeps them",
        )
    return kept, places, tried


def _notes(recording: Recording, suite: AdroitConfig, kept: list[tuple[Arrays, Shown]], tried: int) -> dict[str, Any]:
    """What the provenance says of how the states were shown anew."""
    seen = [found for _, found in kept]
    frames = sum(len(episode["action"]) for episode, _ in kept)
    return {
        "shown": suite.model_dump(mode="json"),
        "replayed": f"in gymnasium-robotics {metadata.version('gymnasium-robotics')}",
        "simulator_states": "the file's" if recording.states else "found from its observations, without velocities",
        "failures_left_out": tried - len(kept),
        **_filled(seen),
        "deviation_after_first_action": float(np.median([found.deviation for found in seen])),
        **points_on((found.points_on for found in seen), frames),
    }


def _filled(kept: list[Shown]) -> dict[str, int]:
    return {"points_filled": sum(s.filled for s in kept), "frames_filled": sum(s.frames_filled for s in kept)}


def _said(tried: int, kept: list[Shown]) -> list[str]:
    """Episodes left out and clouds filled, in sentences."""
    said = []
    if left := tried - len(kept):
        said.append(
            f"{left} of {tried} episodes are left out: at the goal for fewer than {HELD} actions; "
            "--set keep_failures=true takes all"
        )
    filled = _filled(kept)
    if filled["points_filled"]:
        said.append(filled_sentence(filled["frames_filled"], filled["points_filled"]))
    return said


def show(job: ShowJob, kept: Kept[AdroitEnv]) -> Shown:
    """What a policy is shown in each of the states; success is that of the state after each action."""
    env = kept.get((job.suite, job.task), lambda: Adroit(job.suite).make(job.task))
    columns = job.states or states_of(env, job.observations)
    states = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    success = []
    for state in states[1:]:
        _put(env, state)
        success.append(env.at_goal())
    _put(env, states[0])
    start = env.start_state()
    env.step(job.actions[0])
    deviation = float(np.abs(env.data.qpos - states[1]["qpos"]).max()) if len(states) > 1 else 0.0
    _put(env, states[-1])
    success.append(env.step(job.actions[-1]).success)
    if sum(success) < HELD and not job.keep:
        return Shown(None, {}, start, deviation)
    keys = [
        "state",
        *(["point_cloud"] if job.suite.cloud else []),
        *(["img"] if job.suite.images else []),
    ]
    rows: dict[str, list[Any]] = {key: [] for key in keys}
    before = env.points_on
    filled = frames_filled = 0
    for state in states:
        _put(env, state)
        for key, value in env.observe(keys).items():
            rows[key].append(value)
        filled, frames_filled = filled + env.filled, frames_filled + (env.filled > 0)
    on = counted_since(before, env.points_on)
    pictures = {"last_picture": env.picture(PICTURE_SIZE)}
    _put(env, states[0])
    pictures["first_picture"] = env.picture(PICTURE_SIZE)
    frames = {key: np.stack(values) for key, values in rows.items()}
    seen = {**frames, "success": np.array(success)}
    return Shown(seen, pictures, start, deviation, on, filled, frames_filled)


def _put(env: AdroitEnv, state: Arrays) -> None:
    try:
        env.show(state)
    except (AssertionError, ValueError) as error:
        sizes = ", ".join(f"{name} {np.shape(value)}" for name, value in state.items())
        raise DataError(f"{env.spec.task}: states of another model than gymnasium-robotics' ({sizes})") from error
