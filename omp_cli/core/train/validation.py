"""The loss on held-out episodes while a training goes on, and the step at which it was lowest (``validate_every``)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omp_cli.core.base.device import autocast
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.seeds import derived_seed
from omp_cli.core.data.store import Dataset
from omp_cli.core.data.windows import make_windows
from omp_cli.core.policy import LossModule, evaluating
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.distributed import World
from omp_cli.core.train.trackers import METRICS, rows_until

LOSS = "validation_loss"


class Validation:
    """Measures the training loss, with the moving average of the weights, on all windows of the held-out episodes.

    Noise and times are drawn once and are the same at every step, so what changes is the network; nothing is augmented
    and nothing is dropped out.

    Args:
        config: the run's configuration; UsageError where it asks for validation and no episode is held out.
        held_out: the held-out episodes alone; None where no episode is held out.
        averaged: the loss of the moving average.
        keys: observation arrays that policy and teacher read.
        device: where the network is.
        world: this process among its peers, who all measure and agree on what the first one found.

    Attributes:
        last: the loss that was measured last; None before the first.
    """

    def __init__(
        self,
        config: PretrainConfig,
        held_out: Dataset | None,
        averaged: LossModule,
        keys: Iterable[str],
        device: torch.device,
        world: World,
    ) -> None:
        self._config, self._module, self._device, self._world = config, averaged, device, world
        self._every = config.train.validate_every
        self.last: float | None = None
        self._rows: list[tuple[float, int]] = []
        if not self._every:
            return
        if held_out is None:
            raise UsageError("train.validate_every: no episode is held out", "hold some out, say with --hold-out 0.1")
        self._obs = {key: held_out.arrays[key] for key in keys}
        self._action = torch.from_numpy(held_out.whole("action"))
        self._windows = make_windows(held_out.episode_ends, config.chunk)
        shape = (len(self._windows) * config.train.draws, config.chunk.horizon, held_out.spec.learned_action_dim)
        generator = torch.Generator().manual_seed(derived_seed("validation", config.seed))
        self._draws = averaged.policy.method.draw(shape, generator)

    def due(self, step: int, total: int) -> bool:
        """Whether the weights after a step are to be measured: every ``validate_every`` steps, and the last ones."""
        return self._every > 0 and (step % self._every == 0 or step == total)

    def resume(self, folder: Path, step: int) -> None:
        """Take over what the process that this one goes on from has measured up to a step and logged in ``folder``."""
        rows = rows_until(folder / METRICS, step)
        self._rows = [(row[LOSS], row["step"]) for row in rows if row.get(LOSS) is not None]
        self.last = self._rows[-1][0] if self._rows else None

    @torch.no_grad()
    def measure(self, step: int) -> dict[str, float]:
        """The figure of a step for its row, ``{"validation_loss": mean over the windows}``."""
        train, policy = self._config.train, self._module.policy
        total, count = 0.0, math.ceil(len(self._windows) / train.batch_size)
        with evaluating(policy):
            for rows in np.array_split(np.arange(len(self._windows)), count):  # of nearly the same size
                frames = self._windows.obs[rows]
                obs = {key: torch.from_numpy(x[frames]).to(self._device) for key, x in self._obs.items()}
                actions = self._action[self._windows.action[rows]].to(self._device)
                start, stop = (int(rows[0]) * train.draws, (int(rows[-1]) + 1) * train.draws)
                with autocast(train.precision, self._device):
                    report = self._module(obs, actions, self._draws.part(start, stop).to(actions))
                total += float(report.total) * len(rows)
        found = self._world.of_the_first({LOSS: total / len(self._windows)}, self._device)
        self.last = found[LOSS]
        if math.isfinite(self.last):
            self._rows.append((self.last, step))
        return found

    def is_best(self, step: int) -> bool:
        """Whether the weights after a step have the lowest loss so far; the first of equals counts."""
        return bool(self._rows) and min(self._rows)[1] == step

    @property
    def figures(self) -> dict[str, Any]:
        """The last loss, the lowest and its step, for the manifest; empty where nothing was measured."""
        if not self._every:
            return {}
        lowest, step = min(self._rows, default=(None, None))
        rounded = [None if x is None else round(x, 6) for x in (self.last, lowest)]
        return {LOSS: rounded[0], "best_validation_loss": rounded[1], "best_step": step}
