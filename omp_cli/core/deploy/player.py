"""A policy as whoever acts with it wants it: one frame in, one action out; history, noise and playback are inside.

Legend: B batch, T observation steps, H horizon, E executed steps, A action dimension.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.seeds import MAX_SEED, derived_seed
from omp_cli.core.deploy.decider import Decider
from omp_cli.core.deploy.frames import Arrays, Signature
from omp_cli.core.policy import check_noise_scale
from omp_cli.core.rotations import Continuous


def executed(wanted: int | None, own: int) -> int:
    """How many actions of a chunk are executed, of ``own`` that the policy makes; UsageError for more than those."""
    if wanted is not None and not 0 < wanted <= own:
        raise UsageError(f"execute: {wanted}, the policy makes {own} actions to be executed", f"take 1 to {own}")
    return wanted or own


class Player:
    """Plays a policy step by step, for one robot or for a batch of them that advance together.

    An observation is one frame: a mapping from names to arrays as the data have them (raw: normalisation is inside the
    policy), ``signature.arrays`` says which; for data of one's own also as their file had them, by
    ``signature.made_of``. Actions come back in the data's units, as ``float32``. A frame whose
    arrays have one more dimension in front, (B, ...), is a batch, and so is then the action. Arrays that the policy
    does not read are passed over.

    Args:
        decider: the policy.
        seed: seed of the noise of the first episode.
        execute: actions of a chunk that are executed before the next decision; None for the policy's own E.
        ensemble: coefficient m of temporal ensembling (ACT, Zhao et al. 2023): a decision at every step, and the action
            is the mean of what all chunks that reach the step say of it, weighted by exp(-m i), the oldest being i = 0
            (the paper has 0.01). None plays chunks one after the other.
        noise_scale: standard deviation of the noise that a decision begins with, 1 in training.

    Attributes:
        execute: actions of a chunk that are played, unless ensembling decides at every step.
        ensemble, noise_scale: see above.
        decisions: decisions since the player was made.

    Raises:
        UsageError: the policy does not make as many actions, its chunks do not overlap, or it draws no noise.
    """

    def __init__(
        self,
        decider: Decider,
        seed: int = 0,
        execute: int | None = None,
        ensemble: float | None = None,
        noise_scale: float = 1.0,
    ) -> None:
        own = decider.signature.execute
        self.execute, self.ensemble = executed(execute, own), ensemble
        if ensemble is not None and not 0 <= ensemble < float("inf"):
            raise UsageError(f"ensemble: {ensemble}, expected a number from 0 on", "ACT has 0.01")
        if ensemble is not None and execute is not None:
            raise UsageError("ensemble decides at every step, so execute does not count", "leave one of them out")
        if ensemble is not None and own == 1:
            raise UsageError(
                "ensemble: the policy executes 1 action per decision, so chunks do not overlap",
                "leave it out, or train with a larger chunk.execute",
            )
        if not 0 <= noise_scale < float("inf"):
            raise UsageError(f"noise_scale: {noise_scale}, expected a number from 0 on", "1 is that of training")
        self.decider, self.decisions = decider, 0
        check_noise_scale(noise_scale, decider.generative)
        self.noise_scale = noise_scale
        self._continuous = Continuous(decider.signature.action_rotations, decider.signature.action_dim)
        self._seed, self._episode = seed, 0
        self._begin()

    def __repr__(self) -> str:
        return f"Player({self.decider.path}, {self.signature})"

    @property
    def signature(self) -> Signature:
        """What the policy reads and what it answers."""
        return self.decider.signature

    @property
    def seen(self) -> Arrays:
        """The newest frame, as the policy reads it: arrays (B, ...), B = 1 of one robot."""
        return self._history[-1]

    def reset(self, seed: int | None = None) -> None:
        """Begin another episode: no history, no chunk, new noise.

        Args:
            seed: seed of its noise; None goes on from the seed before, so that one seed determines a whole session. The
                noise of an episode of ``omp eval`` is that of its seed.
        """
        if seed is None:
            self._episode += 1
        elif isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= seed <= MAX_SEED:
            raise UsageError(f"seed: {seed!r}, expected a whole number from 0 to {MAX_SEED}")
        else:
            self._seed, self._episode = seed, 0
        self._begin()

    def act(self, obs: Mapping[str, Any]) -> NDArray[np.float32]:
        """The action of this step.

        Args:
            obs: the frame of this step, arrays (...) or (B, ...); every step's frame has to be shown, in order.

        Returns:
            (A,) or (B, A).

        Raises:
            DataError: an array is missing, or has another shape or type; the step has not happened then.
            Diverged: the action is not finite.
        """
        single = self._see(obs)
        if self.ensemble is not None:
            action = self._ensembled(self.ensemble)
        else:
            if not self._chunk:
                self._chunk.extend(np.moveaxis(self._decide()[:, : self.execute], 1, 0))
            action = self._chunk.popleft()
        return action[0] if single else action

    def act_chunk(self, obs: Mapping[str, Any], history: bool = False) -> NDArray[np.float32]:
        """A decision now: all its actions, to be executed by the caller.

        Args:
            obs: the newest frame, arrays (...) or (B, ...). Frames between two decisions are shown by ``observe``.
            history: whether the arrays are the newest T frames instead, (T, ...) or (B, T, ...), oldest first.

        Returns:
            (E, A) or (B, E, A).

        Raises:
            DataError, Diverged: as ``act``.
        """
        single = self._replace(obs) if history else self._see(obs)
        self.forget_chunk()
        chunk = self._decide()[:, : self.execute]
        return chunk[0] if single else chunk

    def as_read(self, obs: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the policy reads, of what a robot shows by the names of its recording (``signature.made_of``).

        Raises:
            DataError: an array cannot be made of what is there.
        """
        if not isinstance(obs, Mapping):
            return obs  # which the signature tells of
        as_read, _ = self.decider.sensing
        return as_read(obs, self.signature.arrays)

    def observe(self, obs: Mapping[str, Any]) -> None:
        """Show a frame (as for ``act``) of a step at which nothing is decided."""
        self._see(obs)

    def forget_chunk(self) -> None:
        """Decide anew at the next step: what is left of the chunks was meant for moments that have passed."""
        self._chunk.clear()
        self._chunks.clear()

    def _begin(self) -> None:
        self._history: deque[Arrays] = deque(maxlen=self.signature.n_obs)
        self._chunk: deque[NDArray[np.float32]] = deque()
        self._chunks: deque[NDArray[np.float32]] = deque(maxlen=self.signature.execute)
        self._noise: list[torch.Generator] = []

    def _see(self, obs: Mapping[str, Any]) -> bool:
        """Take a frame into the history, which the first one fills; whether it is without a batch."""
        obs = self.as_read(obs)
        frame = self.signature.frame(obs)
        self._same_batch(frame)
        repeats = 1 if self._history else self.signature.n_obs
        self._history.extend([{name: x.copy() for name, x in frame.items()}] * repeats)  # a robot may reuse its memory
        return self._single(obs, 0)

    def _replace(self, obs: Mapping[str, Any]) -> bool:
        obs = self.as_read(obs)
        frames = self.signature.history(obs)
        self._same_batch(frames)
        self._history.extend({name: x[:, t].copy() for name, x in frames.items()} for t in range(self.signature.n_obs))
        return self._single(obs, 1)

    def _single(self, obs: Mapping[str, Any], more: int) -> bool:
        name, array = next(iter(self.signature.arrays.items()))
        return np.ndim(obs[name]) == len(array.shape) + more

    def _same_batch(self, arrays: Arrays) -> None:
        batch = len(next(iter(arrays.values())))
        if not self._noise:
            seed = self._seed if self._episode == 0 else derived_seed("episode", self._seed, self._episode)
            seeds = [seed if row == 0 else derived_seed("row", seed, row) for row in range(batch)]
            self._noise = [torch.Generator().manual_seed(number) for number in seeds]
        elif len(self._noise) != batch:
            raise UsageError(
                f"observation: a batch of {batch}, this episode began with {len(self._noise)}", "reset() begins another"
            )

    def _decide(self) -> NDArray[np.float32]:
        """(B, E, A) for the present history."""
        noise = self.decider.drawn_noise(self._noise, self.noise_scale)
        history = {name: np.stack([frame[name] for frame in self._history], 1) for name in self.signature.arrays}
        self.decisions += 1
        return self.decider.chunk(history, noise)

    def _ensembled(self, coefficient: float) -> NDArray[np.float32]:
        """(B, A): what the chunks of the last E steps say of this one, the oldest with the largest weight."""
        self._chunks.append(self._decide())
        ages = range(len(self._chunks) - 1, -1, -1)  # a chunk made n steps ago says in row n what is due now
        due = np.stack([chunk[:, age] for chunk, age in zip(self._chunks, ages, strict=True)])
        weights = np.exp(-coefficient * np.arange(len(due)))
        learned = self._continuous(torch.from_numpy(due)).numpy()  # a mean of pi and -pi would be 0
        mean = np.einsum("i,iba->ba", weights / weights.sum(), learned).astype(np.float32)
        return self._continuous.inverse(torch.from_numpy(mean)).numpy()
