"""One decision of a policy as a graph that needs nothing but tensors.

Legend: B batch, T observation steps, H horizon, E executed steps, A action dimension (of noise
``Spec.learned_action_dim``), N points, S state dimension.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from omp_cli.core.data.windows import make_windows
from omp_cli.core.methods import VelocityField
from omp_cli.core.policy import Policy
from omp_cli.core.policy_config import PolicyConfig
from omp_cli.core.spec import Spec


class Decision(nn.Module):
    """Noise and raw observations to the action chunk to execute; normalisation inside, the noise an input.

    Args:
        policy: the policy, in evaluation mode.
        nfe: evaluations of the network.
        reencode: encode the observation anew at every evaluation, as the public code of the papers does. The result
            is the same; it costs what it costs.
    """

    def __init__(self, policy: Policy, nfe: int = 1, reencode: bool = False) -> None:
        super().__init__()
        self.policy, self.nfe, self.reencode = policy, nfe, reencode

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arguments of ``forward``."""
        return ("noise", *self.policy.keys)

    @torch.no_grad()
    def forward(self, noise: Tensor, *observations: Tensor) -> Tensor:
        """noise z_1 (B, H, A) and the arrays named by ``policy.keys``, each (B, T, ...) -> (B, E, A), task's units."""
        obs = dict(zip(self.policy.keys, observations, strict=True))
        if self.reencode:
            z_0 = self.policy.method.sample(self._encoding_field(obs), noise, self.nfe)
        else:
            z_0 = self.policy.sample(self.policy.embed(obs), noise, self.nfe)
        return self.policy.executed(z_0, obs)

    def _encoding_field(self, obs: dict[str, Tensor]) -> VelocityField:
        def u(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
            return self.policy.field(self.policy.embed(obs))(z, r, t, features)

        return u


def example_inputs(policy: Policy, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Random arguments of ``Decision.forward`` on the CPU, of the right shapes, types and rough sizes.

    Clouds lie within 0.3 m of the end-effector, as after a crop.
    """
    spec, chunk = policy.spec, policy.chunk
    g = torch.Generator().manual_seed(seed)
    lead = (batch, chunk.n_obs)
    state = torch.rand(*lead, spec.state_dim, generator=g) - 0.5
    arrays = {"state": state}
    if spec.points is not None:
        offsets = 0.6 * torch.rand(*lead, spec.points, 3, generator=g) - 0.3
        centre = 0 if spec.end_effector is None else state[..., spec.end_effector][:, :, None]
        arrays["point_cloud"] = centre + offsets
    if spec.image is not None:
        arrays["img"] = torch.randint(0, 256, (*lead, *spec.image), generator=g, dtype=torch.uint8)
    noise = torch.randn(batch, chunk.horizon, spec.learned_action_dim, generator=g)
    return (noise, *(arrays[key] for key in policy.keys))


def fresh_policy(config: PolicyConfig, spec: Spec, seed: int = 0) -> Policy:
    """A policy with random weights in evaluation mode, its normalisation fitted to random observations."""
    torch.manual_seed(seed)
    policy = Policy(config, spec)
    observations = dict(zip(policy.keys, example_inputs(policy, 64, seed + 1)[1:], strict=True))
    frames = {key: x.flatten(0, 1) for key, x in observations.items()}
    count = len(next(iter(frames.values())))
    low_high = torch.tensor([-1.0, 1.0]).repeat(count // 2)[:, None].expand(count, spec.action_dim)
    policy.fit({**frames, "action": low_high}, make_windows(np.array([count]), policy.chunk))
    return policy.eval()
