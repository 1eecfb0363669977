"""Jobs run once, in order, through failures, interruptions and kills; a stand-in does their work."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.locks import PATIENCE, hold, is_held
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.base.progress import Silent
from omp_cli.core.base.run import CHECKPOINTS, Run
from omp_cli.core.sweep import execute
from omp_cli.core.sweep import job as module
from omp_cli.core.sweep.config import SweepConfig
from omp_cli.core.sweep.job import Work
from omp_cli.core.sweep.plan import plan_jobs
from tests.sweep.small import resolve, small_jobs, sweep
from tests.sweep.stand_in import FREE, RUNS

ROOT = Path(__file__).parents[2]
OUT = Path("out")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)


def runs(*kinds: str) -> int:
    """How often lines that begin so were started."""
    return sum(line.startswith(kinds) for line in RUNS.read_text().splitlines())


def states(metrics: dict[str, Any]) -> dict[str, str]:
    return {job["name"]: job["state"] for job in metrics["jobs"] if job["command"] != "prepare"}


def process() -> subprocess.Popen[str]:
    """A sweep of two variants whose training goes on until a file "free" is there."""
    line = [sys.executable, "-m", "tests.sweep.small", str(OUT), "--held", "yes"]
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def both_train() -> bool:
    folders = [OUT / "reach" / name / "seed0" for name in ("one", "two")]
    return all((f / CHECKPOINTS).is_dir() and read_manifest(f).status == "running" for f in folders)


def test_every_job_once_and_a_failure_stops_only_what_needs_it() -> None:
    jobs = small_jobs(OUT, good="--a 1", bad="--fail full")
    found = sweep(OUT, jobs)
    good, bad = ({f"reach/{name}/seed0": a, f"reach/{name}/seed0/eval": b} for name, a, b in STATES)
    assert states(found) == {**good, **bad}
    assert found["states"]["finished"] == 3
    errors = {job["name"]: job["error"] for job in found["jobs"] if job["error"]}
    assert errors == {"reach/bad/seed0": "full", "reach/bad/seed0/eval": "needs reach/bad/seed0"}
    manifest = read_manifest(OUT)
    assert (manifest.status, manifest.error and manifest.error.exit_code) == ("failed", 1)
    assert "error: full" in (OUT / "logs" / "reach" / "bad" / "seed0.log").read_text()

    started = {job.name: read_manifest(job.folder).started_at for job in jobs if job.folder.is_dir()}
    FREE.touch()
    assert set(states(sweep(OUT, jobs)).values()) == {"finished"}
    again = {job.name for job in jobs if read_manifest(job.folder).started_at != started.get(job.name)}
    assert again == {"reach/bad/seed0", "reach/bad/seed0/eval"}
    assert runs("pretrain --resume") == 1, "it had a checkpoint"
    assert runs("") == 6
    assert set(states(sweep(OUT, jobs)).values()) == {"finished"}
    assert runs("") == 6, "all was there"


def test_a_fine_tuning_goes_on_from_its_checkpoint() -> None:
    document = {"tasks": ["reach"], "seeds": [0], "prepare": "toy", "variants": {"v": {"finetune": "--fail full"}}}
    jobs = plan_jobs(SweepConfig.model_validate(document), OUT, resolve)
    assert set(states(sweep(OUT, jobs)).values()) == {"finished", "failed", "blocked"}
    FREE.touch()
    assert set(states(sweep(OUT, jobs)).values()) == {"finished"}
    assert (runs("pretrain"), runs("finetune"), runs("finetune --resume"), runs("eval")) == (1, 2, 1, 2)


def test_what_goes_wrong_about_one_job_is_its_failure_alone() -> None:
    """Here its log cannot be written: the others go on to their end."""
    jobs = small_jobs(OUT, bad="--a 1", good="--a 1")
    jobs[1].log.mkdir(parents=True)
    found = sweep(OUT, jobs)
    expected = [f"reach/{name}/seed0{end}" for name in ("bad", "good") for end in ("", "/eval")]
    assert states(found) == dict(zip(expected, ("failed", "blocked", "finished", "finished"), strict=True))
    assert "directory" in next(job["error"] for job in found["jobs"] if job["state"] == "failed")


def test_jobs_save_where_the_sweep_itself_cannot_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def note_down(_: object) -> None:
        if both_train():
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(execute._Sweep, "keep_noted", note_down)
    with pytest.raises(OSError, match="No space"):
        sweep(OUT, small_jobs(OUT, one="--held yes", two="--held yes"))
    trained = [read_manifest(OUT / "reach" / name / "seed0") for name in ("one", "two")]
    assert [manifest.status for manifest in trained] == ["interrupted"] * 2, "they were not killed"


def test_a_killed_job_is_told_with_what_kills_most_often(monkeypatch: pytest.MonkeyPatch) -> None:
    job = small_jobs(OUT, one="")[1]
    monkeypatch.setattr(module, "PROGRAM", (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"))
    work = Work(job)
    while (outcome := work.poll()) is None:
        time.sleep(0.02)
    assert (outcome.error or "").startswith("ended by SIGKILL: the memory ran out (take fewer --workers)")


STATES = (("good", "finished", "finished"), ("bad", "failed", "blocked"))


def test_stopped_and_killed_sweeps_take_their_jobs_with_them_and_a_new_one_goes_on() -> None:
    cut = process()
    wait_until(both_train)
    with pytest.raises(UsageError, match=f"process {cut.pid} .*at work there"), hold(OUT):
        pass
    cut.send_signal(signal.SIGTERM)
    assert "stopped with 1 of 5 jobs finished" in cut.communicate(timeout=120)[1]
    assert cut.returncode == 143
    assert read_manifest(OUT).status == "interrupted"
    trained = [OUT / "reach" / name / "seed0" for name in ("one", "two")]
    assert states(read_manifest(OUT).metrics)["reach/one/seed0"] == "interrupted"
    assert [read_manifest(folder).status for folder in trained] == ["interrupted"] * 2, "they ended in good order"

    cut = process()
    wait_until(both_train)
    cut.send_signal(signal.SIGKILL)
    cut.communicate()
    wait_until(lambda: {read_manifest(folder).status for folder in trained} == {"interrupted"})
    FREE.touch()
    found = sweep(OUT, small_jobs(OUT, one="--held yes", two="--held yes"))
    assert set(states(found).values()) == {"finished"}
    assert (runs("prepare"), runs("pretrain --resume"), runs("pretrain"), runs("eval")) == (1, 4, 6, 2)


def test_a_job_waits_for_the_process_of_an_earlier_sweep() -> None:
    job = small_jobs(OUT, one="")[0]
    work = Work(job)
    with Run(job.folder, "prepare", {}, {}):
        assert is_held(job.folder)
        assert work.poll() is None
        assert job.outcome().state == "running"
    outcome = work.poll()
    assert outcome is not None
    assert outcome.state == "finished", "by that process: it is not begun again"
    assert not RUNS.exists()


def test_what_a_sweep_waits_for_is_said() -> None:
    jobs, notes, ending = small_jobs(OUT, one=""), [], ExitStack()

    class Watching(Silent):
        def note(self, text: str) -> None:
            notes.append(text)
            ending.close()

    ending.enter_context(Run(jobs[0].folder, "prepare", {}, {}))
    sweep(OUT, jobs, Watching())
    assert notes == [f"{jobs[0].name}: another process is at work in {jobs[0].folder}, and is waited for"]
    assert runs("prepare") == 0
    assert runs("pretrain") == 1


def test_a_job_that_finds_its_folder_taken_waits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of an earlier sweep may take the folder between our look and our own process's try."""
    monkeypatch.setattr(module, "PROGRAM", (sys.executable, "-m", "tests.sweep.stand_in"))
    job = small_jobs(OUT, one="")[0]
    work = Work(job)
    assert work.poll() is None
    with Run(job.folder, "prepare", {}, {}):
        wait_until(lambda: RUNS.exists())
        time.sleep(2 * PATIENCE)  # refused by now
        assert work.poll() is None
        assert work.poll() is None
    outcome = work.poll()
    assert outcome is not None
    assert outcome.state == "finished", "by the one that had the folder"
    assert runs("") == 1
