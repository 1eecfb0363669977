"""Which engine runs the jobs of a sweep."""

from __future__ import annotations

import os

from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.base.manifest import hardware
from omp_cli.core.sweep.local import Engine, Local
from omp_cli.core.sweep.on_ray import OnRay

ENGINES = ("local", "ray")


def choose_engine(name: str, workers: int | None, address: str | None, gpus: float) -> Engine:
    """The engine of this name.

    Args:
        name: "local" or "ray".
        workers: jobs at once; None for as many as there are cores for, of ``OMP_NUM_THREADS`` each.
        address: of a Ray cluster; None starts a Ray on this machine.
        gpus: GPUs of a job of Ray's, or its share of one.

    Raises:
        UsageError: no such engine, or what does not go with it.
    """
    asked = os.environ["OMP_NUM_THREADS"]  # app.main has set it
    threads = int(first) if (first := asked.partition(",")[0].strip()).isdigit() else 0
    if threads < 1:
        raise UsageError(f"OMP_NUM_THREADS={asked}: not a number of threads", "OMP_NUM_THREADS=1")
    if name == "ray":
        return OnRay(workers, threads, gpus, address)
    if name != "local":
        raise UsageError(f"unknown engine {name!r}", did_you_mean(name, ENGINES))
    if address is not None or gpus:
        raise UsageError("--address and --gpus are for --engine ray")
    return Local(workers or max(hardware().cores // threads, 1))
