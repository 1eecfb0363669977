"""How far a runtime's outputs lie from eager's, and when that is too far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from omp_cli.core.rotations import Continuous
from omp_cli.core.spec import Rotation

# Largest error relative to the largest reference value. Reordered sums of a policy of ten layers differ by a few ulp of
# the dtype per layer (float32: measured 1e-7 to 2e-6); a wrong graph is off by 1e-2 and more.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
TF32_TOLERANCE = 5e-3
"""For float32 on CUDA where torch may round operands to TF32 (10 bits), as convolutions do unless told not to."""

SAMPLES = 5
"""Made-up observations on which two ways to the same decision are compared."""


@dataclass(frozen=True)
class Difference:
    """The largest difference over several inputs.

    Attributes:
        max_abs: largest absolute error, in the output's units; inf when a number is not finite.
        max_rel: the same, divided by the largest absolute reference value.
        tolerance: what ``max_rel`` may be.
        inputs: number of inputs compared.
    """

    max_abs: float
    max_rel: float
    tolerance: float
    inputs: int

    @property
    def accepted(self) -> bool:
        """Whether the outputs count as the same."""
        return self.max_rel <= self.tolerance

    def as_json(self) -> dict[str, Any]:
        """The difference as a manifest has it; JSON has no infinity, so such an error is null."""
        return {key: None if value == float("inf") else value for key, value in asdict(self).items()}

    @property
    def spread(self) -> str:
        """The two errors, for people."""
        return f"max abs {self.max_abs:.2g}, max rel {self.max_rel:.2g}"

    def __str__(self) -> str:
        return f"{self.spread} (tolerance {self.tolerance:.0e})"


def tolerance(dtype: torch.dtype, device: torch.device) -> float:
    """The largest relative error that counts as the same computation."""
    tf32 = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    if dtype == torch.float32 and device.type == "cuda" and tf32:
        return TF32_TOLERANCE
    return TOLERANCE[dtype]


def difference(
    references: Sequence[Tensor], outputs: Sequence[Tensor], dtype: torch.dtype, rotations: Sequence[Rotation] = ()
) -> Difference:
    """Compare outputs with references pair by pair.

    Args:
        references: eager's outputs.
        outputs: the other runtime's, of the same shapes.
        dtype: the type in which both computed; it sets the tolerance.
        rotations: those of the outputs, compared in numbers that jump nowhere, for a last bit decides whether half a
            turn is given out as pi or as -pi.

    Raises:
        ValueError: a shape differs, or nothing to compare.
    """
    worst, scale = 0.0, 0.0
    for reference, output in zip(references, outputs, strict=True):
        if reference.shape != output.shape:
            raise ValueError(f"shape {tuple(output.shape)}, eager's is {tuple(reference.shape)}")
        continuous = Continuous(rotations, reference.shape[-1]) if rotations else nn.Identity()
        expected, found = (continuous(x.detach().double().cpu()) for x in (reference, output))
        if not (expected.isfinite().all() and found.isfinite().all()):
            return Difference(float("inf"), float("inf"), tolerance(dtype, reference.device), len(references))
        worst = max(worst, float((expected - found).abs().max()))
        scale = max(scale, float(expected.abs().max()))
    if not references:
        raise ValueError("nothing to compare")
    relative = worst / scale if scale else (0.0 if worst == 0 else float("inf"))
    return Difference(worst, relative, tolerance(dtype, references[0].device), len(references))
