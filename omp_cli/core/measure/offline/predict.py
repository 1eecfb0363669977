"""What a policy would do at the frames of a recorded episode, and what was done there.

Legend: W windows, m samples, H horizon, E executed steps, A action dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from omp_cli.core.base.errors import diverged_action
from omp_cli.core.base.seeds import derived_seed
from omp_cli.core.data.split import episodes_of
from omp_cli.core.data.store import Dataset
from omp_cli.core.data.windows import make_windows
from omp_cli.core.measure.offline.scores import DATA, LAST, MEAN, POLICY, SAMPLE, Floats
from omp_cli.core.policy import Policy
from omp_cli.core.rotations import nearest

TOGETHER = 512
"""Chunks that are sampled in one batch."""


@dataclass(frozen=True)
class Chunks:
    """Decisions at some frames of an episode; rotations are written as near to what was done as they can be.

    Attributes:
        frames: (W,) of the newest observation, counted from the episode's first.
        samples: (W, m, E, A) what the policy would do, in the data's units.
        truth: (W, E, A) what was done.
        valid: (W, E) whether that was recorded: at the end of an episode the last steps were not.
        before: (W, E, A) the action before the decision, at each step.
        mean: (W, E, A) the mean action of the demonstrations, at each step.
    """

    frames: NDArray[np.int64]
    samples: Floats
    truth: Floats
    valid: NDArray[np.bool_]
    before: Floats
    mean: Floats

    def predicted(self, generative: bool) -> dict[str, Floats]:
        """Chunks (W, 1 or m, E, A) of the policy and of the baselines by predictor."""
        found = {SAMPLE: self.samples, MEAN: self.samples.mean(1, keepdims=True)} if generative else {}
        found = found or {POLICY: self.samples}
        return found | {LAST: self.before[:, None], DATA: self.mean[:, None]}


def chunks_of(
    policy: Policy,
    data: Dataset,
    episode: int,
    frames: Sequence[int] | NDArray[np.int64],
    samples: int,
    nfe: int,
    seed: int,
    mean: Floats,
) -> Iterator[Chunks]:
    """The policy's decisions at some frames of an episode, in batches.

    The noise of a decision depends on seed, episode and frame alone, so a frame's samples are the same whatever frames
    are asked for. Before the first frame nothing was done: there ``mean`` stands for the action before.

    Args:
        policy: the policy, in evaluation mode.
        data: the whole data set.
        episode: index of the episode.
        frames: counted from the episode's first.
        samples: m.
        nfe: K.
        seed: seed of the noise.
        mean: (A,) mean action of the demonstrations.

    Raises:
        Diverged: the policy's action is not finite.
    """
    part = episodes_of(data, (episode,))
    windows, length = make_windows(part.episode_ends, policy.chunk), int(part.episode_ends[-1])
    actions = part.whole("action").astype(np.float64)
    device, rotations = next(policy.parameters()).device, data.spec.action_rotations or policy.spec.action_rotations
    shape = (samples, policy.chunk.horizon, policy.spec.learned_action_dim)
    for rows in np.array_split(np.asarray(frames), -(-len(frames) * samples // TOGETHER)):
        noise = torch.cat([_noise(shape, derived_seed("offline", seed, episode, int(frame))) for frame in rows])
        obs = {key: torch.from_numpy(part.arrays[key][windows.obs[rows]]).to(device) for key in policy.keys}
        with torch.no_grad():
            h = policy.embed(obs).repeat_interleave(samples, 0)
            seen = {key: array.repeat_interleave(samples, 0) for key, array in obs.items() if key == "state"}
            chunks = policy.executed(policy.sample(h, noise.to(device), nfe), seen)
        found = chunks.double().cpu().numpy().reshape(len(rows), samples, *chunks.shape[1:])
        if not np.isfinite(found).all():
            raise diverged_action(f"episode {episode}", "evaluate")
        steps = rows[:, None] + np.arange(policy.chunk.execute)
        before = np.where(rows[:, None] > 0, actions[np.maximum(rows - 1, 0)], mean)
        truth = actions[np.minimum(steps, length - 1)]
        still, usual = (np.broadcast_to(x, truth.shape) for x in (before[:, None], mean))
        alike = [nearest(x, truth, rotations) for x in (still, usual)]
        yield Chunks(rows, nearest(found, truth[:, None], rotations), truth, steps < length, *alike)


def _noise(shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
