"""One attempt of an expert at one start state, recorded as a file."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.base.config import Count, CountOrZero, Flag, Settings
from omp_cli.core.base.errors import data_error
from omp_cli.core.base.files import atomic
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.data.large import held
from omp_cli.core.data.store import Arrays
from omp_cli.core.envs.jobs import Kept
from omp_cli.core.experts import Expert, read_expert, vectors_of
from omp_cli.core.suites import SUITES, Outcome, TaskEnv

PICTURE_SIZE = 192
EXTRAS = ("result", "start_state", "first_picture", "last_picture")


class CollectConfig(Settings):
    """What is recorded."""

    demos: Annotated[Count, Flag(panel="Recording")] = 10
    """Episodes of the data set: successful ones, unless the suite keeps failures; of a file its first ones."""
    after_success: Annotated[CountOrZero, Flag(panel="Recording")] = 10
    """Steps recorded after the first success. Ten lets the policy see what holding the goal looks like without filling
    the data with post-success behaviour (44-84 % of the public 200-step demonstrations).
    """
    max_steps: Count | None = None
    """Steps within which the expert must succeed; None takes the task's own limit."""
    raw_actions: Annotated[bool, Flag(panel="Recording", only_on=True)] = False
    """Whether to store what the expert asked for, outside [-1, 1] too, as the public data does."""
    images: Annotated[bool, Flag(panel="Recording", only_on=True)] = False
    """Whether to store RGB pictures "img" (84, 84, 3) as well, which needs OpenGL. Where the suite's ``Spec`` has an
    ``image``, its pictures are stored in any case.
    """
    max_attempts: Count = 10
    """Candidates tried per wanted demonstration before giving up."""
    spread: Annotated[int, Flag(panel="Recording"), Field(ge=1, le=1000)] = 1
    """Start states that are looked at for each demonstration, to spread them over the task. With 1, they begin as the
    seed draws; with more, those are tried first that lie farthest from each other (``start_order``), so that a few
    demonstrations show more of the task. Evaluations always draw; other pipelines' demonstrations do, too.
    """


@dataclass(frozen=True)
class AttemptJob:
    """One candidate episode, small enough to send to a worker process; without a file of an expert the suite's own."""

    suite: dict[str, Any]
    task: str
    seed: int
    collect: CollectConfig
    file: Path
    expert: Path | None = None


@dataclass(frozen=True)
class Candidate:
    """The result of a job; the arrays are in ``file`` when it succeeded.

    Attributes:
        seed: start state.
        success: whether the expert succeeded within the limit, or its failures count as well.
        steps: environment steps recorded.
        filled: points that clouds lacked and that were filled by repetition, over all frames.
        frames_filled: frames in which that happened.
        seconds: wall time by part of a frame ("physics", and what the environment's sensor reports).
        file: the recorded episode.
        overhead: wall time of the episode's other parts.
        mode: the way in which it did the task, where the suite tells them apart.
        points_on: points of its clouds before sampling, by what they lay on.
        beyond_one: values of its actions outside [-1, 1], which are clipped unless raw actions are recorded.
    """

    seed: int
    success: bool
    steps: int
    filled: int
    frames_filled: int
    seconds: dict[str, float]
    file: Path
    overhead: dict[str, float] = field(default_factory=dict)
    mode: str | None = None
    points_on: dict[str, int] = field(default_factory=dict)
    beyond_one: int = 0


def load_episode(path: Path) -> Arrays:
    """All arrays of a recorded candidate, the frame-major ones and those of ``EXTRAS``; DataError when damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: held(file[name]) for name in file.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        hint = "delete that file and run the line again"
        raise data_error(error, f"episode {path}", "damaged", hint) from None


def start_of(job: AttemptJob, kept: Kept[TaskEnv]) -> NDArray[np.float64]:
    """The start state of a candidate."""
    env = _environment(job, kept)
    env.reset(job.seed)
    return env.start_state()


def record(job: AttemptJob, kept: Kept[TaskEnv]) -> Candidate:
    """Roll the expert out once and keep the episode as a file; returns at once when the file is there."""
    if job.file.exists():
        return Candidate(**json.loads(str(load_episode(job.file)["result"])), file=job.file)
    watch = Stopwatch()
    env = _environment(job, kept)
    watch.lap("start of the simulator")
    env.reset(job.seed)
    expert = _expert(job, env)
    before, on_before = env.seconds, env.points_on
    extras = {"start_state": env.start_state(), "first_picture": env.picture(PICTURE_SIZE)}
    watch.lap("reset and pictures")
    tape = _rolled_out(job, env, expert, watch)
    seconds = {part: value - before.get(part, 0) for part, value in env.seconds.items()}
    watch.add("other observation", watch.seconds.pop("observation") - sum(seconds.values()))
    seconds["physics"] = watch.seconds.pop("physics")
    watch.start()
    arrays: Arrays = {}
    stays = _stays(job, tape.succeeded_at is not None, tape.last.success)
    if stays:
        extras["last_picture"] = env.picture(PICTURE_SIZE)
        arrays = {name: np.stack(values) for name, values in tape.rows.items()}
    watch.lap("reset and pictures")
    result: dict[str, Any] = {
        "seed": job.seed,
        "success": stays,
        "steps": len(tape.rows["action"]),
        "filled": tape.filled,
        "frames_filled": tape.frames_filled,
        "seconds": seconds,
        "overhead": watch.seconds,
        "mode": tape.last.mode,
        "points_on": counted_since(on_before, env.points_on),
        "beyond_one": tape.beyond_one,
    }
    with atomic(job.file) as temporary:
        np.savez(temporary, result=json.dumps(result), **extras, **arrays)  # type: ignore[arg-type]  # NumPy's stub
    return Candidate(**result, file=job.file)


@dataclass
class _Tape:
    """An episode as it is recorded.

    Attributes:
        rows: by array, one value per step.
        last: outcome of the last step.
        succeeded_at: number of the first step with success.
        filled, frames_filled, beyond_one: see ``Candidate``.
    """

    rows: dict[str, list[NDArray[Any] | np.generic]] = field(default_factory=dict)
    last: Outcome = field(init=False)
    succeeded_at: int | None = None
    filled: int = 0
    frames_filled: int = 0
    beyond_one: int = 0

    def add(self, name: str, value: NDArray[Any] | np.generic) -> None:
        """A step's value of an array."""
        self.rows.setdefault(name, []).append(value)


def _rolled_out(job: AttemptJob, env: TaskEnv, expert: Expert | None, watch: Stopwatch) -> _Tape:
    """Record step after step until the task is done for long enough, is over, or the time is up."""
    keys = list(vectors_of(env))
    keys += ["point_cloud"] if env.spec.points is not None else []
    keys += ["img"] if job.collect.images or env.spec.image is not None else []
    shown = keys if expert is None else list(dict.fromkeys([*keys, *expert.keys]))
    tape = _Tape()
    for step in range(job.collect.max_steps or env.spec.max_steps):
        frame = env.observe(shown)
        for name in keys:
            tape.add(name, frame[name])
        tape.filled += env.filled
        tape.frames_filled += env.filled > 0
        watch.lap("observation")
        action = (env.expert() if expert is None else expert.act(frame)).astype(np.float32)
        outcome = tape.last = env.step(action)
        watch.lap("physics")
        tape.beyond_one += int((np.abs(action) > 1).sum())
        tape.add("action", action if job.collect.raw_actions else np.clip(action, -1, 1))
        tape.add("reward", np.float32(outcome.reward))
        tape.add("success", np.bool_(outcome.success))
        if expert is not None:
            tape.add("terminal", np.bool_(outcome.terminated))
        if outcome.terminated:
            break
        if outcome.success and tape.succeeded_at is None:
            tape.succeeded_at = step
        if tape.succeeded_at is not None and step - tape.succeeded_at >= job.collect.after_success:
            break
    return tape


def counted_since(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """What was added to counts by name."""
    return {name: more for name, count in now.items() if (more := count - before.get(name, 0))}


def _expert(job: AttemptJob, env: TaskEnv) -> Expert | None:
    """The expert of the job's file, at the start of an episode."""
    if job.expert is None:
        return None
    expert = read_expert(job.expert)
    expert.start(env, job.seed)
    return expert


def _stays(job: AttemptJob, reached: bool, at_the_end: bool) -> bool:
    """Whether an episode is worth keeping, by what the suite's evaluations count."""
    suite = SUITES.get(job.suite["name"])
    if suite.metric == "return" and suite.counts is None:
        return True  # nothing in it can succeed
    if job.expert is None:
        return reached or suite.keeps_failures
    return at_the_end if suite.judged_at_end else reached


def _environment(job: AttemptJob, kept: Kept[TaskEnv]) -> TaskEnv:
    return kept.get((job.suite, job.task), lambda: SUITES.build(SUITES.parse(job.suite)).make(job.task))
