"""AdamW and the moving average, with state that goes to and from plain tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from omp_cli.core.errors import DataError
from omp_cli.core.policy import Policy
from omp_cli.core.train.config import TrainConfig

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def make_optimizer(policy: Policy, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over all parameters, as one fused kernel where the device has it."""
    fused = next(policy.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.AdamW(policy.parameters(), config.lr, config.betas, config.eps, config.weight_decay, fused=fused)


def make_ema(policy: Policy, config: TrainConfig) -> AveragedModel:
    """Moving average of the parameters with decay ``min(ema_max, 1 - (1 + n)^-ema_power)`` at update n."""

    @torch.no_grad()
    def update(averages: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
        decay = min(config.ema_max, 1 - (1 + float(count)) ** -config.ema_power)
        torch._foreach_lerp_(averages, values, 1 - decay)

    return AveragedModel(policy, multi_avg_fn=update)


def optimizer_tensors(policy: Policy, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """The optimiser's state as ``{"<parameter>/<moment>": tensor}``."""
    return {
        f"{name}/{moment}": optimizer.state[parameter][moment]
        for name, parameter in policy.named_parameters()
        if parameter in optimizer.state
        for moment in MOMENTS
    }


def restore_optimizer(policy: Policy, optimizer: torch.optim.AdamW, tensors: dict[str, Tensor]) -> None:
    """Inverse of ``optimizer_tensors``; DataError when the state is of another network."""
    for name, parameter in policy.named_parameters():
        state = {moment: tensors.get(f"{name}/{moment}") for moment in MOMENTS}
        average = state["exp_avg"]
        if average is None or average.shape != parameter.shape:
            raise DataError(f"optimiser state of {name} is missing or of another shape", "the checkpoint is damaged")
        optimizer.state[parameter] = {
            # The fused kernel keeps its step count beside the parameter.
            moment: value.to(parameter.device)
            for moment, value in state.items()
            if value is not None
        }
