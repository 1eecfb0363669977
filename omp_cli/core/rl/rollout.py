"""Collecting experience: what a policy with noise between its jumps did in N environments.

Legend: T decisions, N environments, K jumps, H horizon, E executed actions, A action dimension.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from omp_cli.core.base.errors import Diverged
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.encoders.images import shifted
from omp_cli.core.policy import Policy
from omp_cli.core.rl.environments import Finished, Stepped, TrainingEnvs

WINDOW = 100
"""Episodes over which return and success are averaged."""


@dataclass(frozen=True)
class Rollout:
    """Experience of T decisions in N environments.

    Attributes:
        obs: what was acted on, {key: (T, N, n_obs, ...)}.
        last: what comes after the last decision, {key: (N, n_obs, ...)}.
        final: (t, n) -> last observation of an episode that was truncated there, {key: (n_obs, ...)}.
        points: chains, (T, N, K + 1, H, A).
        log_probs: log-probabilities by jump as they were sampled, (T, N, K), float64.
        reward: (T, N), as the environments gave it.
        terminated: (T, N) bool; nothing follows.
        ends: (T, N) bool; the next row belongs to another episode, for whatever reason.
        valid: (T, N) bool; False where a worker died, so that the outcome is not known.
    """

    obs: dict[str, Tensor]
    last: dict[str, Tensor]
    final: dict[tuple[int, int], dict[str, Tensor]]
    points: Tensor
    log_probs: Tensor
    reward: Tensor
    terminated: Tensor
    ends: Tensor
    valid: Tensor


class Stopped(Exception):
    """Somebody asked to stop while experience was being collected."""


class Collector:
    """Environments with their present observations, and what is known of finished episodes.

    Args:
        envs: the environments; reset at the first use.
        policy: the policy, whose encoder says what is read.
        augment: shift pictures as in pre-training. A picture is shifted when it is observed, once; acting and all
            learning see the same shifted one.
        device: where the policy lives.
        watch: receives the time of the parts.
        asked_to_stop: asked before every step; ``Stopped`` is raised where it says so.
    """

    def __init__(
        self,
        envs: TrainingEnvs,
        policy: Policy,
        augment: bool,
        device: torch.device,
        watch: Stopwatch,
        asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.envs, self.device, self.watch, self._asked_to_stop = envs, device, watch, asked_to_stop
        self._keys = policy.keys
        self._shift = getattr(policy.encoder.config, "shift", 0) if augment else 0
        self._obs: dict[str, Tensor] | None = None
        self.recent: deque[Finished] = deque(maxlen=WINDOW)
        self.env_steps = self.decisions = self.episodes = 0

    @property
    def obs(self) -> dict[str, Tensor]:
        """What the environments show now, {key: (N, n_obs, ...)}, on the policy's device."""
        if self._obs is None:
            self._obs = self.seen(self.envs.reset())
            self.watch.lap("environments: start")
        return self._obs

    def seen(self, obs: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        """Observations as the policy gets to see them, augmented if that is asked for."""
        tensors = {key: torch.from_numpy(obs[key]).to(self.device) for key in self._keys}
        if self._shift and "img" in tensors:
            tensors["img"] = shifted(tensors["img"], self._shift)
        return tensors

    def step(self, actions: Tensor) -> Stepped:
        """Execute action chunks (N, E, A) and keep the books; Diverged where an action is not finite."""
        if self._asked_to_stop():
            raise Stopped
        if not bool(actions.isfinite().all()):
            raise Diverged(f"diverged at decision {self.decisions}: actions that are not finite", "lower --lr")
        stepped = self.envs.step(actions.cpu().numpy())
        self.watch.lap("environments: step")
        self._obs = self.seen(stepped.obs)
        self.recent.extend(stepped.finished)
        self.env_steps += int(stepped.steps.sum())
        self.decisions += len(stepped.steps)
        self.episodes += len(stepped.finished)
        return stepped

    def collect(self, act: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor, Tensor]], decisions: int) -> Rollout:
        """A rollout of the same number of decisions in every environment.

        Args:
            act: observations -> actions (N, E, A), points (N, K + 1, H, A), log-probabilities (N, K).
            decisions: T, the number of decisions of each environment.
        """
        obs, points, log_probs, steps = [], [], [], []
        final: dict[tuple[int, int], dict[str, Tensor]] = {}
        for t in range(decisions):
            seen = self.obs
            actions, chain, log_prob = act(seen)
            self.watch.lap("policy")
            stepped = self.step(actions)
            for n in stepped.final:
                if stepped.truncated[n]:
                    final[t, n] = self.seen({key: value[None] for key, value in stepped.final[n].items()})
            obs.append(seen)
            points.append(chain)
            log_probs.append(log_prob)
            steps.append(stepped)
            self.watch.lap("records")
        lost = self._stacked([s.lost for s in steps])
        terminated, truncated = (self._stacked([getattr(s, k) for s in steps]) for k in ("terminated", "truncated"))
        ends = terminated | truncated | lost
        ends[:-1] |= lost[1:]  # what a dead worker would have answered is not known: the trace stops before it
        return Rollout(
            obs={key: torch.stack([o[key] for o in obs]) for key in self._keys},
            last=self.obs,
            final=final,
            points=torch.stack(points),
            log_probs=torch.stack(log_probs),
            reward=self._stacked([s.reward for s in steps]).float(),
            terminated=terminated,
            ends=ends,
            valid=~lost,
        )

    def _stacked(self, rows: list[NDArray[Any]]) -> Tensor:
        return torch.stack([torch.from_numpy(row) for row in rows]).to(self.device)
