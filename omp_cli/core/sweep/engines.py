"""Which engine runs the jobs of a sweep."""

from __future__ import annotations

import os
from dataclasses import dataclass

from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.base.manifest import hardware
from omp_cli.core.sweep.local import Engine, Local
from omp_cli.core.sweep.on_ray import OnRay

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class EngineChoice:
    """What a line asks of an engine, checked, before anything is started.

    Attributes:
        name: "local" or "ray".
        workers: jobs at once; None for as many as there are cores for, of ``OMP_NUM_THREADS`` each.
        address: of a Ray cluster; None starts a Ray on this machine.
        gpus: GPUs of a job of Ray's, or its share of one.

    Raises:
        UsageError: no such engine, or what does not go with it.
    """

    name: str
    workers: int | None = None
    address: str | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise UsageError(f"unknown engine {self.name!r}", did_you_mean(self.name, ENGINES))
        if self.name == "local" and (self.address is not None or self.gpus):
            raise UsageError("--address and --gpus are for --engine ray")
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
        return Local(self.workers or max(hardware().cores // self.threads, 1))
