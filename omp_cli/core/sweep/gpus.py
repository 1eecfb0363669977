"""The GPUs of this machine, and which of them a job sees."""

from __future__ import annotations

import os
from collections.abc import Sequence

from omp_cli.core.base.errors import MissingDependency, UsageError

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable by which CUDA is told which GPUs there are."""


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA is told of them."""
    import torch

    told = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    count = torch.cuda.device_count()
    return told[:count] if told else [str(index) for index in range(count)]


class Gpus:
    """Lends each job one of several GPUs, the one with the fewest jobs, or as many as it asks for.

    Args:
        names: the GPUs.
        share: GPUs of a job, or its share of one; 0 for any number of jobs on each.

    Attributes:
        room: jobs that there are GPUs for; None for any number.

    Raises:
        MissingDependency: there are fewer than one job asks for.
        UsageError: more than one, and not a whole number.
    """

    def __init__(self, names: Sequence[str], share: float) -> None:
        self._each = max(int(share), 1)
        if share > 1 and share != self._each:
            raise UsageError(f"--gpus {share:g}: a share of one GPU, or a whole number of them", "such as 0.25, or 2")
        if share and len(names) < self._each:
            there = f"{len(names) or 'no'} CUDA GPU{'s' * (len(names) > 1)}"
            raise MissingDependency(f"--gpus {share:g}: this machine has {there}", "leave it out")
        self._jobs = dict.fromkeys(names, 0)
        self.room: int | None = None
        if share:
            self.room = len(names) // self._each if share >= 1 else len(names) * int(1 / share)

    def lend(self) -> list[str]:
        """The GPUs of one more job; none where there are none."""
        chosen = sorted(self._jobs, key=self._jobs.__getitem__)[: self._each]
        for name in chosen:
            self._jobs[name] += 1
        return chosen

    def give_back(self, names: Sequence[str]) -> None:
        """A job with these has ended."""
        for name in names:
            self._jobs[name] -= 1
