"""AdamW and the moving average, with state that goes to and from plain tensors."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from omp_cli.core.errors import DataError
from omp_cli.core.policy import Policy
from omp_cli.core.train.config import TrainConfig

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def make_optimizer(policy: Policy, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over all parameters, as one fused kernel where the device has it."""
    fused = next(policy.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.AdamW(policy.parameters(), config.lr, config.betas, config.eps, config.weight_decay, fused=fused)


class MovingAverage(nn.Module):
    """Moving average of a policy's parameters with decay ``min(ema_max, 1 - (1 + n)^-ema_power)`` at update n.

    The count is a plain number: torch's ``AveragedModel`` reads it back from the device at every update.

    Args:
        policy: what is averaged; copied.
        config: ``ema_power`` and ``ema_max``.
    """

    def __init__(self, policy: Policy, config: TrainConfig) -> None:
        super().__init__()
        self.module = copy.deepcopy(policy)
        self.n_averaged = 0
        self._power, self._max = config.ema_power, config.ema_max

    @torch.no_grad()
    def update_parameters(self, policy: Policy) -> None:
        """Take the policy's present parameters into the average; buffers are copied."""
        averages, values = list(self.module.parameters()), list(policy.parameters())
        if self.n_averaged == 0:
            torch._foreach_copy_(averages, values)
        else:
            decay = min(self._max, 1 - (1 + self.n_averaged) ** -self._power)
            torch._foreach_lerp_(averages, values, 1 - decay)
        torch._foreach_copy_(list(self.module.buffers()), list(policy.buffers()))  # limits of the data at least
        self.n_averaged += 1


def make_ema(policy: Policy, config: TrainConfig) -> MovingAverage:
    """The moving average of a policy, before its first update."""
    return MovingAverage(policy, config)


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """The optimiser's state as ``{"<parameter>/<moment>": tensor}``."""
    return {
        f"{name}/{moment}": optimizer.state[parameter][moment]
        for name, parameter in module.named_parameters()
        if parameter in optimizer.state
        for moment in MOMENTS
    }


def restore_optimizer(
    module: nn.Module, optimizer: torch.optim.AdamW, tensors: dict[str, Tensor], complete: bool = True
) -> None:
    """Inverse of ``optimizer_tensors``; DataError when the state is of another network.

    Without ``complete`` parameters may have none, because they have not learned so far.
    """
    for name, parameter in module.named_parameters():
        state = {moment: tensors.get(f"{name}/{moment}") for moment in MOMENTS}
        average = state["exp_avg"]
        if average is None and not complete:
            continue
        if average is None or average.shape != parameter.shape:
            raise DataError(f"optimiser state of {name} is missing or of another shape", "the checkpoint is damaged")
        optimizer.state[parameter] = {
            # The fused kernel keeps its step count beside the parameter.
            moment: value.to(parameter.device)
            for moment, value in state.items()
            if value is not None
        }
