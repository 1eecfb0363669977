"""Jobs as tasks of a Ray of this machine with two workers; skipped where Ray is not installed."""

import os
import signal
import threading
from pathlib import Path

import pytest

from omp_cli.core.base.errors import Terminated
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.base.progress import Silent
from omp_cli.core.base.run import CHECKPOINTS, Run
from omp_cli.core.sweep.config import SweepConfig
from omp_cli.core.sweep.execute import execute
from omp_cli.core.sweep.job import Job
from omp_cli.core.sweep.on_ray import OnRay
from omp_cli.core.sweep.plan import plan_jobs

pytest.importorskip("ray")

ROOT = Path(__file__).parents[2]
WORDS = "--steps 100000 --set encoder.channels=[8,16] --set encoder.points=16 --set train.checkpoint_every=5"


def test_two_workers_do_real_jobs_until_the_sweep_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets are made, then two long trainings on one of them get a SIGTERM that came to the sweep."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    document = {"tasks": ["reach", "detour"], "seeds": [0], "prepare": "toy --demos 2 --points 32", "pretrain": WORDS}
    document["variants"] = {"one": {}, "two": {"tasks": ["reach"]}}
    jobs = plan_jobs(SweepConfig.model_validate(document), Path("out"), lambda *_: {})
    trainings = [job for job in jobs if job.command == "pretrain"]
    done = threading.Event()

    def at_work() -> list[Job]:  # which two of the three depends on which data set is there first
        return [job for job in trainings if (job.folder / CHECKPOINTS).is_dir()]

    def stop_when_two_train() -> None:
        while len(at_work()) < 2 and not done.wait(0.1):
            pass
        if not done.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_two_train, daemon=True).start()
    # as in what a shell starts in the background; Ray's processes inherit it
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    engine = OnRay(workers=2)
    try:
        with pytest.raises(Terminated, match="2 of 8 jobs finished"), Run(Path("out"), "sweep", {}, {}) as run:
            execute(run, jobs, engine, Silent())
    finally:
        done.set()
        signal.signal(signal.SIGINT, before)
    states = {job["name"]: job["state"] for job in read_manifest(Path("out")).metrics["jobs"]}
    assert [states[job.name] for job in jobs[:2]] == ["finished", "finished"]
    assert [states[job.name] for job in at_work()] == ["interrupted", "interrupted"]
    assert [read_manifest(job.folder).status for job in at_work()] == ["interrupted", "interrupted"]
