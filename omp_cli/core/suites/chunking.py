"""A task as a Gymnasium environment whose action is a whole chunk and whose observation is the recent history.

Only the frames that the policy reads are observed: of a chunk of E steps the last T (T observation steps).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from omp_cli.core.suites.base import SUITES, TaskEnv, start_hash

Obs = dict[str, NDArray[Any]]


class ChunkEnv(gymnasium.Env[Obs, NDArray[np.float32]]):
    """Executes chunks; ends by truncation at the task's step limit, never early: stopping on success is the caller's.

    ``step`` takes (E, A) and returns the observation history {key: (T, ...)}, the chunk's summed reward, and an info
    with ``steps`` (executed), ``success_any``, ``success_all`` (at every step of the chunk) and, in filmed episodes,
    ``pictures``, a list of (P, P, 3), one per step.

    Args:
        env: the task.
        keys: observation arrays the policy reads.
        n_obs: T.
        execute: E.
        max_steps: environment steps per episode; None takes the task's own limit.
        film: seeds of the episodes to record pictures of.
        picture_size: P.
    """

    def __init__(
        self,
        env: TaskEnv,
        keys: tuple[str, ...],
        n_obs: int,
        execute: int,
        max_steps: int | None = None,
        film: frozenset[int] = frozenset(),
        picture_size: int = 256,
    ) -> None:
        self._env, self._keys, self._n_obs, self._execute = env, keys, n_obs, execute
        self._limit = max_steps or env.spec.max_steps
        self._film, self._picture_size = film, picture_size
        self._filming = False
        self._history: deque[Obs] = deque(maxlen=n_obs)
        self._steps = 0
        env.reset(0)
        self.observation_space = gymnasium.spaces.Dict(
            {
                key: gymnasium.spaces.Box(-np.inf, np.inf, (n_obs, *value.shape), np.float32)
                for key, value in env.observe(keys).items()
            }
        )
        self.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (execute, env.spec.action_dim), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """Start the episode that ``seed`` determines; the first frame fills the whole history.

        ``options["film"]`` asks for pictures, where the seed is one of ``film``.
        """
        super().reset(seed=seed)
        self._env.reset(int(seed or 0))
        self._steps = 0
        self._filming = seed in self._film and bool((options or {}).get("film"))
        self._history.extend([self._env.observe(self._keys)] * self._n_obs)
        info: dict[str, Any] = {"start_state": start_hash(self._env.start_state())}
        if self._filming:
            info["pictures"] = [self._env.picture(self._picture_size)]
        return self._stacked(), info

    def step(self, action: NDArray[np.float32]) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Execute the chunk, or as much of it as the step limit allows."""
        reward = 0.0
        successes: list[bool] = []
        pictures: list[NDArray[np.uint8]] = []
        count = min(self._execute, self._limit - self._steps)
        for index in range(count):
            outcome = self._env.step(action[index])
            reward += outcome.reward
            successes.append(outcome.success)
            if index >= count - self._n_obs:
                self._history.append(self._env.observe(self._keys))
            if self._filming:
                pictures.append(self._env.picture(self._picture_size))
        self._steps += count
        info: dict[str, Any] = {
            "steps": self._steps,
            "success_any": any(successes),
            "success_all": bool(successes) and all(successes),
        }
        if pictures:
            # a list: Gymnasium stacks arrays of all workers, and the last chunk may be shorter
            info["pictures"] = pictures
        return self._stacked(), reward, False, self._steps >= self._limit, info

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()

    def _stacked(self) -> Obs:
        return {key: np.stack([frame[key] for frame in self._history]).astype(np.float32) for key in self._keys}


def chunk_env_factory(suite: dict[str, Any], task: str, **arguments: Any) -> Callable[[], ChunkEnv]:
    """A function that builds the environment where it is called; small enough to send to a worker process.

    Args:
        suite: the suite's configuration as plain data.
        task: task name.
        arguments: of ``ChunkEnv``.
    """

    def make() -> ChunkEnv:
        return ChunkEnv(SUITES.build(SUITES.parse(suite)).make(task), **arguments)

    return make
