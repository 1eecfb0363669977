"""A task as a Gymnasium environment whose action is a whole chunk and whose observation is the recent history.

Only the frames that the policy reads are observed: of a chunk of E steps the last T (T observation steps).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.data.reference import Reference
from omp_cli.core.data.store import start_hash
from omp_cli.core.suites.base import Outcome, Suite, TaskEnv, recorded_suite
from omp_cli.core.suites.ends import Ends, after_step

Obs = dict[str, NDArray[Any]]


class ChunkEnv(gymnasium.Env[Obs, NDArray[np.float32]]):
    """Executes chunks; ends where the task terminates, else by truncation at its step limit.

    An episode ends by one or the other, never by both: reward could have followed a truncation, and none follows a
    termination. Stopping on success is the caller's. A step of an episode that has ended does nothing.

    ``step`` takes (E, A) and returns the observation history {key: (T, ...)}, the chunk's summed reward, and an info
    with ``steps`` (executed), ``success_any``, ``success_all`` (at every step of the chunk, or at the task's end),
    ``success_end`` (at its last step), ``ends`` (of the episode so far, ``ends.after_step``), ``mode`` once the episode
    has one and, in filmed episodes, ``pictures``, a list of (P, P, 3), one per step. A frame of another shape than the
    task's ``Spec`` says and a picture that is not uint8 are a DataError: stacked or cast they would be something else.

    Args:
        env: the task.
        keys: observation arrays the policy reads.
        points: number of points that the policy reads, from the start of the cloud; None reads the whole cloud.
        reference: a picture of the data, as plain data, that the environment has to repeat before its first episode.
        n_obs: T.
        execute: E.
        max_steps: environment steps per episode; None takes the task's own limit.
        picture_size: P.
    """

    def __init__(
        self,
        env: TaskEnv,
        keys: tuple[str, ...],
        n_obs: int,
        execute: int,
        max_steps: int | None = None,
        picture_size: int = 256,
        points: int | None = None,
        reference: dict[str, Any] | None = None,
    ) -> None:
        self._env, self._keys, self._n_obs, self._execute = env, keys, n_obs, execute
        self._limit = max_steps or env.spec.max_steps
        self._picture_size = picture_size
        self._filming = False
        self._history: deque[Obs] = deque(maxlen=n_obs)
        self._steps = 0
        self._terminated = False
        self._ends: Ends = {}
        self._points = points
        self._reference = Reference.model_validate(reference) if reference and "img" in keys else None
        self._made = False
        env.read_points(points)
        boxes: dict[str, gymnasium.Space[Any]] = {key: self._box(key) for key in keys}
        self.observation_space = gymnasium.spaces.Dict(boxes)  # type: ignore[assignment]  # Any in place of NDArray
        self._watch = Stopwatch()
        self._before = env.seconds  # spent on the observation above
        self.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (execute, env.spec.action_dim), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """Start the episode that ``seed`` determines; the first frame fills the whole history.

        ``options["film"]`` asks for pictures of it.
        """
        super().reset(seed=seed)
        self._watch.start()
        if not self._made:
            self._env.reset(0)
            if self._reference is not None:
                self._reference.check(self._env.img_in(np.array(self._reference.state)), self._env.spec.task)
            self._made = True
            self._watch.lap("start of the simulator")
        self._env.reset(int(seed or 0))
        self._steps = 0
        self._terminated = False
        self._ends = {}
        self._filming = bool((options or {}).get("film"))
        self._watch.lap("reset")
        self._history.extend([self._observed()] * self._n_obs)
        self._watch.lap("observation")
        info: dict[str, Any] = {"start_state": start_hash(self._env.start_state())}
        if self._filming:
            info["pictures"] = [self._env.picture(self._picture_size)]
            self._watch.lap("pictures")
        return self._stacked(), info

    def step(self, action: NDArray[np.float32]) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Execute the chunk, or as much of it as the step limit and the task allow.

        The last frame of a terminated episode is observed; those before it may not have been.
        """
        reward = 0.0
        successes: list[bool] = []
        pictures: list[NDArray[np.uint8]] = []
        count = 0 if self._terminated else min(self._execute, self._limit - self._steps)
        self._watch.start()
        for index in range(count):
            outcome = self._env.step(action[index])
            self._watch.lap("physics")
            reward += outcome.reward
            successes.append(bool(outcome.success))
            self._ends = after_step(self._ends, outcome.ends)
            self._terminated = outcome.terminated
            if index >= count - self._n_obs or self._terminated:
                self._history.append(self._observed())
                self._watch.lap("observation")
            if self._filming:
                pictures.append(self._env.picture(self._picture_size))
                self._watch.lap("pictures")
            if self._terminated:
                break
        self._steps += len(successes)
        info: dict[str, Any] = {
            "steps": self._steps,
            "success_any": any(successes),
            # a task that ends in success has no steps left to hold it for
            "success_all": bool(successes) and (all(successes) or (self._terminated and successes[-1])),
            "success_end": bool(successes) and successes[-1],
            "ends": dict(self._ends),
        }
        if successes and outcome.mode is not None:
            info["mode"] = outcome.mode
        if pictures:
            info["pictures"] = pictures
        truncated = self._steps >= self._limit and not self._terminated
        return self._stacked(), reward, self._terminated, truncated, info

    def seconds_by_part(self) -> dict[str, float]:
        """Wall time so far: physics, reset, pictures, and the parts of the observation."""
        parts = dict(self._watch.seconds)
        observing = {name: value - self._before.get(name, 0.0) for name, value in self._env.seconds.items()}
        rest = parts.pop("observation", 0.0) - sum(observing.values())
        return {**parts, **observing, "other observation": rest}

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()

    @property
    def _who(self) -> str:
        return f"the environment of {self._env.spec.suite} {self._env.spec.task}"

    def _observed(self) -> Obs:
        frame = self._env.observe(self._keys)
        if missing := [key for key in self._keys if key not in frame]:
            raise DataError(f"{self._who} shows no {missing[0]!r}", "its observe() is asked for it by that name")
        frame = {key: value[: self._points] if key == "point_cloud" else value for key, value in frame.items()}
        for key in self._keys:
            self._check(key, np.asarray(frame[key]))
        return frame

    def _check(self, key: str, shown: NDArray[Any]) -> None:
        """DataError where an array of a frame is not what a history of frames is made of."""
        space = self.observation_space[key]  # type: ignore[index]  # of a Dict
        expected = space.shape[1:]
        if shown.shape != expected:
            what = f"{key!r} of shape {shown.shape}, and {expected} is expected"
            raise DataError(f"{self._who} shows {what}", "its Spec says the shapes")
        if space.dtype == np.uint8 and shown.dtype != np.uint8:
            raise DataError(f"{self._who} shows {key!r} of type {shown.dtype}", "pictures are uint8, 0 to 255")

    def _box(self, key: str) -> gymnasium.spaces.Box:
        shape = (self._n_obs, *self._shape(key))
        if key == "img":
            return gymnasium.spaces.Box(0, 255, shape, np.uint8)
        return gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)

    def _shape(self, key: str) -> tuple[int, ...]:
        """Shape of one frame's array: what the spec says, so that no simulator is needed, or else what is observed."""
        spec = self._env.spec
        if key == "state":
            return (spec.state_dim,)
        if key == "point_cloud" and spec.points is not None:
            return (min(self._points or spec.points, spec.points), 3)
        if key == "img" and spec.image is not None:
            return spec.image
        self._env.reset(0)
        return self._env.observe((key,))[key].shape

    def _stacked(self) -> Obs:
        return {
            key: np.stack([frame[key] for frame in self._history]).astype(np.uint8 if key == "img" else np.float32)
            for key in self._keys
        }


def chunk_env_factory(suite: dict[str, Any], task: str, **arguments: Any) -> Callable[[], ChunkEnv]:
    """A function that makes the environment where it is called; small enough to send to a worker process.

    Args:
        suite: the suite's configuration as plain data.
        task: task name.
        arguments: further arguments of ``ChunkEnv``.

    Raises:
        MissingDependency: there is data of the suite, but no environment.
    """
    recorded_suite(suite).require()
    return partial(_made, suite, task, arguments)


def _made(suite: dict[str, Any], task: str, arguments: dict[str, Any]) -> ChunkEnv:
    return ChunkEnv(LateEnv(recorded_suite(suite), task), **arguments)


class LateEnv(TaskEnv):
    """A task whose simulator is built when it is first needed."""

    def __init__(self, suite: Suite, task: str) -> None:
        suite.require()
        self.spec = suite.spec(task)
        self._make: Callable[[], TaskEnv] = lambda: suite.make(task)
        self._built: TaskEnv | None = None
        self._points: int | None = None

    @property
    def _env(self) -> TaskEnv:
        if self._built is None:
            self._built = self._make()
            self._built.read_points(self._points)
        return self._built

    def reset(self, seed: int) -> None:
        """See the base class."""
        self._env.reset(seed)

    def step(self, action: NDArray[np.floating[Any]]) -> Outcome:
        """See the base class."""
        return self._env.step(action)

    def observe(self, keys: Iterable[str]) -> Obs:
        """See the base class."""
        return self._env.observe(keys)

    def expert(self) -> NDArray[np.float32]:
        """See the base class."""
        return self._env.expert()

    def start_state(self) -> NDArray[np.float64]:
        """See the base class."""
        return self._env.start_state()

    def img_in(self, state: NDArray[np.float64]) -> NDArray[np.uint8]:
        """See the base class."""
        return self._env.img_in(state)

    def picture(self, size: int) -> NDArray[np.uint8]:
        """See the base class."""
        return self._env.picture(size)

    def read_points(self, count: int | None) -> None:
        """See the base class."""
        self._points = count
        if self._built is not None:
            self._built.read_points(count)

    @property
    def filled(self) -> int:
        """See the base class."""
        return self._env.filled

    @property
    def seconds(self) -> dict[str, float]:
        """See the base class."""
        return self._built.seconds if self._built is not None else {}

    def close(self) -> None:
        """Free the simulator, if there is one."""
        if self._built is not None:
            self._built.close()
