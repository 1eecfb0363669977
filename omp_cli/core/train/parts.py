"""The parts of a loss whose time is told apart."""

from __future__ import annotations

from collections.abc import Callable

import torch

from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.policy import LossModule, Policy


def time_parts(module: LossModule, teacher: Policy | None, watch: Stopwatch, compiled: bool) -> None:
    """Charge the encoder and the network's recorded and unrecorded passes to parts of their own, from now on.

    Args:
        module: the loss; what is left of its time is the part "loss".
        teacher: the policy that it learns from.
        watch: charges the time.
        compiled: whether the network will be compiled, which would compile the clock with it.
    """
    policy = module.policy
    modules: list[tuple[torch.nn.Module, Callable[[], str]]] = [(policy.encoder, lambda: "encoder")]
    if not compiled:
        modules.append((policy.net, lambda: "net" if torch.is_grad_enabled() else "du/dt (net, unrecorded)"))
    if teacher is not None:
        modules += [(part, lambda: "teacher") for part in (teacher.encoder, teacher.net)]
    if module.score is not None:
        modules.append((module.score, lambda: "score network"))
    for part, name in modules:
        part.register_forward_pre_hook(lambda *_: watch.lap("loss"))
        part.register_forward_hook(lambda *_, name=name: watch.lap(name()))
