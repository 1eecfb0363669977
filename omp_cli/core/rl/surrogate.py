"""PPO's clipped loss, over a chain as one decision or over each of its jumps as a decision of its own.

Legend: B rows of a minibatch, K jumps, H horizon, A action dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor

from omp_cli.core.rl.chain import Chain, reduced
from omp_cli.core.rl.ppo_config import PpoConfig
from omp_cli.core.rl.tuned import clips


class Surrogate:
    """The loss and what it shows of how far the policy has moved.

    Args:
        config: the algorithm's settings.
        entries: H A, the number of entries of a chunk.
        entries_by_jump: of each jump, the number of those that count, (K,); the tensor's device is that of the loss.
    """

    def __init__(self, config: PpoConfig, entries: int, entries_by_jump: Tensor) -> None:
        self._config, self._entries, self._entries_by_jump = config, entries, entries_by_jump
        epsilons = clips(config, len(entries_by_jump))
        self._clip = torch.tensor(epsilons, dtype=torch.float64, device=entries_by_jump.device)

    def __call__(self, chain: Chain, old: Tensor, advantage: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (DMPO equation 34; each jump for itself: DPPO), a scalar, and detached figures.

        Args:
            chain: what the present weights say of the chains.
            old: log-probabilities under the policy that collected, by jump, (B, K).
            advantage: (B,).
        """
        config = self._config
        if config.per_jump:
            log_ratio = (chain.log_probs - old) / self._entries_by_jump  # (B, K)
            behind = torch.arange(len(self._entries_by_jump) - 1, -1, -1, device=old.device)
            weighted = advantage[:, None] * config.jump_gamma**behind
        else:
            now, before = (reduced(x, self._entries, config.reduction) for x in (chain.log_probs, old))
            log_ratio, weighted = now - before, advantage
        ratio = log_ratio.exp()
        epsilon = self._clip if config.per_jump else self._clip[-1]
        clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
        loss = -torch.minimum(ratio * weighted, clipped * weighted).mean()
        with torch.no_grad():
            figures = {
                "ratio": ratio.mean(),
                "kl": (ratio - 1 - log_ratio).mean(),  # Schulman's k3 of the reduced ratio
                "clip_share": ((ratio - 1).abs() > epsilon).to(ratio).mean(),
                "log_ratio_per_entry": (chain.log_probs - old).abs().max() / self._entries,
            }
        return loss, figures
