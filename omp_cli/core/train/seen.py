"""What a step of training lets one see: tensors while it is recorded or replayed, numbers when it is logged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from omp_cli.core.methods import LossReport


@dataclass(frozen=True)
class Seen:
    """Nothing but the gradient norm, if that, of a step that is not logged.

    Attributes:
        figures: scalars.
        diagnostics: computes further ones from what the step has left in memory, by decompositions that cannot be
            recorded.
    """

    figures: dict[str, Tensor] = field(default_factory=dict)
    diagnostics: Callable[[], dict[str, Tensor]] = dict

    @classmethod
    def of(cls, report: LossReport, parameters: Iterable[nn.Parameter]) -> Seen:
        """Loss, its parts and the gradient norm of each weighted term; the backward pass is still to come."""
        learning = [p for p in parameters if p.requires_grad]
        norms: dict[str, Tensor] = {}
        for name, term in report.terms.items():
            norms[f"grad_{name}"] = torch.zeros_like(term)
            if term.requires_grad:
                grads = torch.autograd.grad(term, learning, retain_graph=True, allow_unused=True)
                norms[f"grad_{name}"] = torch.stack([g.norm() for g in grads if g is not None]).norm()
        return cls({"loss": report.total.detach(), **report.parts, **norms}, report.diagnostics)

    def numbers(self) -> dict[str, float]:
        """All figures, and each term's share of the sum of the gradient norms: a dead term shows as zero."""
        found = {name: float(value) for name, value in (self.figures | self.diagnostics()).items()}
        norms = {
            name.removeprefix("grad_"): value
            for name, value in found.items()
            if name.startswith("grad_") and name != "grad_norm"
        }
        total = sum(norms.values()) or 1.0
        return found | {f"share_{name}": norm / total for name, norm in norms.items()}
