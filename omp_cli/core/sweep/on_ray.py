"""Jobs as tasks of a Ray cluster, or of a Ray of this machine. All machines must see the sweep's folder as one."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

from omp_cli.core.base.errors import MissingDependency, RunFailed, one_line
from omp_cli.core.sweep.job import POLL, Job, JobOutcome, Work


def work_through(job: Job, folder: str) -> JobOutcome:
    """In a worker of Ray: one job, from its start to its outcome; cancelled, it ends its process in good order."""
    # Ray cancels by SIGINT, which is ignored in whatever a shell has started in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)  # lines and manifests name files as seen from where omp sweep was called
    work = Work(job)
    while (outcome := work.poll()) is None:
        try:
            time.sleep(POLL)
        except KeyboardInterrupt:  # what Ray's cancel raises here
            work.stop()
    return outcome


class OnRay:
    """Tasks of Ray.

    Args:
        workers: jobs at once; None for as many as the cluster has room for.
        threads: CPUs of a job.
        gpus: GPUs of a job, or its share of one.
        address: address of a cluster; None starts a Ray on this machine.

    Raises:
        MissingDependency: Ray is not installed.
        RunFailed: no cluster answers there, or it has no room for one job.
    """

    def __init__(self, workers: int | None, threads: int = 1, gpus: float = 0.0, address: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
        try:
            import ray
        except ImportError:
            raise MissingDependency("engine ray: Ray is not installed", "pip install 'omp-cli[ray]'") from None
        here: dict[str, Any] = (
            {"num_cpus": workers and workers * threads, "include_dashboard": False} if address is None else {}
        )
        try:
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **here)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise RunFailed(f"engine ray: {one_line(error, 200)}") from None
        self._ray: Any = ray
        self._task = ray.remote(num_cpus=threads, num_gpus=gpus)(work_through)
        has = ray.cluster_resources()
        room = int(min(has.get("CPU", 0) / threads, has.get("GPU", 0) / gpus if gpus else float("inf")))
        if room < 1:
            ray.shutdown()
            raise RunFailed(f"engine ray: a job asks for {threads} CPUs and {gpus:g} GPUs, there is no room for one")
        self._room = min(room, workers or room)
        self._refs: dict[Any, str] = {}

    def has_room(self) -> bool:
        """See the contract."""
        return len(self._refs) < self._room

    def start(self, job: Job) -> None:
        """See the contract."""
        self._refs[self._task.options(name=job.name).remote(job, str(Path.cwd()))] = job.name

    def ended(self) -> dict[str, JobOutcome]:
        """See the contract."""
        if not self._refs:
            return {}
        done, _ = self._ray.wait(list(self._refs), num_returns=len(self._refs), timeout=0)
        return {self._refs.pop(ref): self._outcome(ref) for ref in done}

    def _outcome(self, ref: Any) -> JobOutcome:
        try:
            found: JobOutcome = self._ray.get(ref)
        except self._ray.exceptions.TaskCancelledError:  # it had not begun
            return JobOutcome("interrupted")
        except self._ray.exceptions.RayError as error:
            return JobOutcome("failed", error=str(error).strip().split("\n")[-1])
        return found

    def stop(self) -> None:
        """See the contract."""
        for ref in self._refs:
            self._ray.cancel(ref)

    def close(self) -> None:
        """See the contract: the processes of tasks that are still at work see their workers end, and save and end."""
        self._ray.shutdown()
