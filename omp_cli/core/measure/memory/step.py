"""One training step on made-up data, in phases, with what stays and what comes and goes kept apart.

The step is the one of ``core.train.loop``: loss module, backward, AdamW, moving average, in the same order.

Legend: B windows per step, m draws per window, T observation steps, H horizon, A action dimension.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from omp_cli.core.base.device import autocast
from omp_cli.core.deploy.graph import example_inputs, fresh_policy
from omp_cli.core.methods import Draws, LossReport
from omp_cli.core.policy import LossModule, Policy
from omp_cli.core.spec import Spec
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.graph import tensors
from omp_cli.core.train.optim import make_ema, make_optimizer

META = torch.device("meta")


class TrainingStep:
    """A policy, its optimiser and moving average, and a batch.

    Args:
        config: configuration of a training run; batch size, draws, precision and seed are taken from it.
        spec: what the task lets the policy see and do.
        device: where; on ``meta`` nothing is computed and nothing allocated, tensors have shapes alone.
    """

    def __init__(self, config: PretrainConfig, spec: Spec, device: torch.device) -> None:
        self.config, self.device = config, device
        if device == META:
            with META:
                self.policy = Policy(config.policy(), spec)
        else:
            self.policy = fresh_policy(config.policy(), spec, config.seed).to(device)
        self.policy.train()
        self.module = LossModule(self.policy)
        self.optimizer = make_optimizer(self.module, config.train)
        self.ema = make_ema(self.policy, config.train)
        self._moments: list[Tensor] = []
        self._data = self._made_up()

    def _made_up(self) -> tuple[dict[str, Tensor], Tensor, Draws]:
        train, chunk, spec = self.config.train, self.config.chunk, self.policy.spec
        g = torch.Generator().manual_seed(self.config.seed)
        _, *arrays = example_inputs(self.policy, train.batch_size, self.config.seed)
        obs = {key: x.to(self.device) for key, x in zip(self.policy.keys, arrays, strict=True)}
        actions = 2 * torch.rand(train.batch_size, chunk.horizon, spec.action_dim, generator=g) - 1
        shape = (train.batch_size * train.draws, chunk.horizon, spec.learned_action_dim)
        draws = self.policy.method.draw(shape, g)
        return obs, actions.to(self.device), draws.map(lambda x: x.to(self.device))

    def batch(self) -> tuple[dict[str, Tensor], Tensor, Draws]:
        """Observations (B, T, ...), actions (B, H, A) and draws (m B rows) as new tensors."""
        obs, actions, draws = self._data
        return {key: x.clone() for key, x in obs.items()}, actions.clone(), draws.map(torch.clone)

    def forward(self) -> LossReport:
        """A batch and its loss."""
        obs, actions, draws = self.batch()
        with autocast(self.config.train.precision, self.device):
            return self.module(obs, actions, draws)

    def backward(self, report: LossReport) -> None:
        """Gradients of a loss; the old ones are dropped only now, as in the training loop."""
        self.optimizer.zero_grad(set_to_none=True)
        report.total.backward()

    def update(self) -> None:
        """AdamW and the moving average; on ``meta`` nothing, as the fused kernel and the in-place average need none."""
        if self.device != META:
            self.optimizer.step()
            self.ema.update()

    def prepare(self) -> None:
        """On ``meta``, in place of a first step: what it leaves behind, gradients and optimiser state."""
        for p in self.policy.parameters():
            if p.requires_grad:
                p.grad = torch.empty_like(p)
                self._moments += [torch.empty((), device=META), torch.empty_like(p), torch.empty_like(p)]

    def run(self) -> None:
        """A whole step."""
        self.backward(self.forward())
        self.update()

    def static_tensors(self) -> dict[str, list[Tensor]]:
        """Everything that outlives a step, by kind; gradients and optimiser state exist after the first step."""
        moments = [x for state in self.optimizer.state.values() for x in state.values() if isinstance(x, Tensor)]
        own = {id(p) for p in self.policy.parameters()}  # those that are not trained are the average's, too
        return {
            "weights": [*self.policy.parameters(), *self.policy.buffers()],
            "gradients": [p.grad for p in self.policy.parameters() if p.grad is not None],
            "optimiser": moments or self._moments,
            "ema": [x for x in (*self.ema.parameters(), *self.ema.buffers()) if id(x) not in own],
        }

    def static_bytes(self) -> dict[str, int]:
        """Bytes of ``static_tensors`` by kind."""
        return {kind: nbytes(tensors) for kind, tensors in self.static_tensors().items()}

    def data_tensors(self) -> list[Tensor]:
        """The data set's stand-in."""
        return tensors(self._data)


def nbytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the tensors' distinct storages."""
    return sum({id(s): s.nbytes() for s in (x.untyped_storage() for x in tensors)}.values())
