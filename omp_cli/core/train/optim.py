"""AdamW and the moving average; what a checkpoint keeps for the sake of going on, as plain tensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from omp_cli.core.base.errors import DataError
from omp_cli.core.policy import LossModule, Policy
from omp_cli.core.train.config import TrainConfig

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def make_optimizer(module: LossModule, config: TrainConfig, recorded: bool = False) -> torch.optim.AdamW:
    """AdamW over all parameters, as one fused kernel where the device has it; each group has a ``rate``.

    The learning rate of a group is ``rate`` times that of the run (``set_learning_rate``).

    Args:
        module: the module whose parameters are trained.
        config: its learning rate, betas, eps and weight decay are used.
        recorded: its steps may become part of a CUDA graph: rates are tensors on the device then.
    """
    policy = module.policy
    groups: list[dict[str, Any]] = [{"params": list(policy.parameters()), "rate": policy.method.policy_rate}]
    if module.score is not None:
        groups.append({"params": list(module.score.parameters()), "rate": 1.0})
    device = next(policy.parameters()).device
    if recorded:
        for group in groups:
            group["lr"] = torch.tensor(config.lr, device=device)
    fused = device.type in ("cpu", "cuda")
    optimizer = torch.optim.AdamW(
        groups, config.lr, config.betas, config.eps, config.weight_decay, fused=fused, capturable=recorded
    )
    return eager_at_first(optimizer) if recorded else optimizer


def eager_at_first(optimizer: torch.optim.AdamW) -> torch.optim.AdamW:
    """An optimiser whose steps will be recorded; torch would warn of the first, which are eager on purpose."""
    optimizer._warned_capturable_if_run_uncaptured = True
    return optimizer


def set_learning_rate(optimizer: torch.optim.AdamW, rate: float) -> None:
    """Give every group its share of the run's learning rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate * group["rate"])
        else:
            group["lr"] = rate * group["rate"]


class MovingAverage(nn.Module):
    """Moving average of a policy's parameters with decay ``min(ema_max, 1 - (1 + n)^-ema_power)`` at update n.

    The count is a plain number: torch's ``AveragedModel`` reads it back from the device at every update.

    Args:
        policy: the policy that is averaged; it is copied, but for parameters that are not trained, which are shared.
        config: its ``ema_power`` and ``ema_max`` are used.
    """

    def __init__(self, policy: Policy, config: TrainConfig) -> None:
        super().__init__()
        shared = {id(p): p for p in policy.parameters() if not p.requires_grad}
        self.module = copy.deepcopy(policy, dict(shared))
        self.n_averaged = 0
        self._power, self._max = config.ema_power, config.ema_max
        # Kept, since looking them up anew takes a small policy on a GPU as long as the rest of its step.
        self._averages: list[Tensor] = [p for p in self.module.parameters() if id(p) not in shared]
        self._values: list[Tensor] = [p for p in policy.parameters() if id(p) not in shared]
        # By type: torch copies tensors of one type with one launch, and those of several one by one.
        self._copied: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for copied, buffer in zip(self.module.buffers(), policy.buffers(), strict=True):
            for kept, one in zip(self._copied.setdefault(buffer.dtype, ([], [])), (copied, buffer), strict=True):
                kept.append(one)

    @torch.no_grad()
    def update(self) -> None:
        """Take the policy's present parameters into the average; buffers are copied."""
        if self.n_averaged == 0:
            torch._foreach_copy_(self._averages, self._values)
        else:
            decay = min(self._max, 1 - (1 + self.n_averaged) ** -self._power)
            torch._foreach_lerp_(self._averages, self._values, 1 - decay)
        for copies, buffers in self._copied.values():  # limits of the data at least
            torch._foreach_copy_(copies, buffers)
        self.n_averaged += 1


def make_ema(policy: Policy, config: TrainConfig) -> MovingAverage:
    """The moving average of a policy, before its first update."""
    return MovingAverage(policy, config)


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.AdamW, prefix: str = "") -> dict[str, Tensor]:
    """The optimiser's state as ``{"<parameter>/<moment>": tensor}``; names lose ``prefix``."""
    return {
        f"{name.removeprefix(prefix)}/{moment}": optimizer.state[parameter][moment]
        for name, parameter in module.named_parameters()
        if parameter in optimizer.state
        for moment in MOMENTS
    }


def restore_optimizer(
    module: nn.Module,
    optimizer: torch.optim.AdamW,
    tensors: Mapping[str, Tensor],
    prefix: str = "",
    complete: bool = True,
) -> None:
    """Inverse of ``optimizer_tensors``; DataError when the state is of another network.

    Without ``complete`` parameters may have none, because they have not learned so far.
    """
    for name, parameter in module.named_parameters():
        state = {moment: tensors.get(f"{name.removeprefix(prefix)}/{moment}") for moment in MOMENTS}
        part = getattr(module.get_submodule(name.rpartition(".")[0]), "of_weight", None)
        if part is not None:  # convolutions of which omp 0.1 trained the whole kernel
            state = {moment: None if x is None else part(x) for moment, x in state.items()}
        average = state["exp_avg"]
        if not parameter.requires_grad or (average is None and not complete):
            continue
        if average is None or average.shape != parameter.shape:
            raise DataError(f"optimiser state of {name} is missing or of another shape", "the checkpoint is damaged")
        optimizer.state[parameter] = {
            # Fused kernels keep the step count beside the parameter, and go through memory in order: moments lie as the
            # parameter does.
            moment: value.to(parameter.device) if moment == "step" else torch.empty_like(parameter).copy_(value)
            for moment, value in state.items()
            if value is not None
        }


def training_tensors(module: LossModule, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """What is trained beside the policy, and the optimiser's state; the policy's go by their names in the policy."""
    return optimizer_tensors(module, optimizer, "policy.") | _beside(module)


@torch.no_grad()
def restore_training(module: LossModule, optimizer: torch.optim.AdamW, tensors: dict[str, Tensor]) -> None:
    """Inverse of ``training_tensors``; DataError when the state is of another network."""
    for name, tensor in _beside(module).items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            raise DataError(f"{name} is missing or of another shape", "the checkpoint is damaged")
        tensor.copy_(tensors[name])
    restore_optimizer(module, optimizer, tensors, "policy.")


def _beside(module: LossModule) -> dict[str, Tensor]:
    """The state of the module that is not the policy's."""
    return {name: tensor for name, tensor in module.state_dict().items() if not name.startswith("policy.")}
