"""Which engine runs the jobs of a sweep."""

from __future__ import annotations

import os
from dataclasses import dataclass

from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.base.manifest import hardware
from omp_cli.core.sweep.gpus import Gpus, visible_gpus
from omp_cli.core.sweep.local import Engine, Local
from omp_cli.core.sweep.on_ray import OnRay

ENGINES = ("local", "ray")
LEAST, MOST = 1e-3, 1e3
"""GPUs of a job."""
CHOSEN_HERE = ("auto", "cuda")
"""Devices of which a job takes what it sees."""


@dataclass(frozen=True)
class EngineChoice:
    """What a line asks of an engine, checked, before anything is started.

    Attributes:
        name: "local" or "ray".
        workers: jobs at once; None for as many as there are cores for, of ``OMP_NUM_THREADS`` each.
        address: of a Ray cluster; None starts a Ray on this machine.
        gpus: GPUs of a job, or its share of one; 0 for no limit, and on several GPUs of this machine the one with the
            fewest jobs.
        device: where a job's tensors live, by the line.

    Raises:
        UsageError: no such engine, or what does not go with it.
    """

    name: str
    workers: int | None = None
    address: str | None = None
    gpus: float = 0.0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise UsageError(f"unknown engine {self.name!r}", did_you_mean(self.name, ENGINES))
        if self.name == "local" and self.address is not None:
            raise UsageError("--address is for --engine ray")
        if self.gpus and not LEAST <= self.gpus <= MOST:
            raise UsageError(
                f"--gpus {self.gpus:g}: a share of one GPU, or a whole number of them", "such as 0.25, or 2"
            )
        if self.gpus and self.device not in CHOSEN_HERE:
            raise UsageError(f"--gpus chooses the GPU of each job, and --device {self.device} names one")
        if self.threads < 1:
            asked = os.environ["OMP_NUM_THREADS"]
            raise UsageError(f"OMP_NUM_THREADS={asked}: not a number of threads", "OMP_NUM_THREADS=1")

    @property
    def threads(self) -> int:
        """Threads of a job; 0 where the environment says something else than a number."""
        first = os.environ["OMP_NUM_THREADS"].partition(",")[0].strip()  # app.main has set it
        return int(first) if first.isdigit() else 0

    def start(self) -> Engine:
        """The engine; MissingDependency or RunFailed, as of ``OnRay``, where there is none of Ray."""
        if self.name == "ray":
            return OnRay(self.workers, self.threads, self.gpus, self.address)
        names = visible_gpus() if self.device in CHOSEN_HERE else []
        gpus = Gpus(names, self.gpus) if self.gpus or len(names) > 1 else None
        most = self.workers or max(hardware().cores // self.threads, 1)
        return Local(most if gpus is None or gpus.room is None else min(gpus.room, most), gpus)
