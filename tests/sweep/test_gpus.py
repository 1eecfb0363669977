"""Jobs of a sweep share the GPUs of a machine; what CUDA is told stands for them here."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from omp_cli.core.base.errors import MissingDependency, UsageError
from omp_cli.core.sweep import engines
from omp_cli.core.sweep import job as module
from omp_cli.core.sweep.engines import EngineChoice
from omp_cli.core.sweep.gpus import VISIBLE, Gpus, visible_gpus
from omp_cli.core.sweep.job import Job
from omp_cli.core.sweep.local import Local

NOTES = """
import os, sys, time
from pathlib import Path
open("seen.txt", "a").write(sys.argv[1] + " " + os.environ.get("CUDA_VISIBLE_DEVICES", "all") + "\\n")
while not Path("free").exists():
    time.sleep(0.01)
"""
"""A job that notes down which GPUs it is shown, and ends when it may."""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.py").write_text(NOTES)
    monkeypatch.setattr(module, "PROGRAM", (module.sys.executable, "job.py"))


def seen(jobs: int) -> dict[str, str]:
    """Which GPUs each of so many jobs was shown, once all have begun."""
    deadline = time.monotonic() + 60
    while not (file := Path("seen.txt")).is_file() or len(lines := file.read_text().splitlines()) < jobs:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return dict(line.split() for line in lines)


def started(engine: Local, *names: str, more: tuple[str, ...] = ()) -> None:
    for name in names:
        assert engine.has_room()
        engine.start(Job(name, "eval", Path("out"), (name, *more), {}))


def ended(engine: Local, count: int) -> None:
    Path("free").touch()
    found, deadline = 0, time.monotonic() + 60
    while found < count:
        found += len(engine.ended())
        assert time.monotonic() < deadline
        time.sleep(0.02)
    Path("free").unlink()
    Path("seen.txt").unlink()


def test_jobs_take_turns_on_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "visible_gpus", lambda: ["0", "3"])
    engine = EngineChoice("local", workers=3).start()
    assert isinstance(engine, Local)
    started(engine, "a", "b", "c")
    engine.ended()
    found = seen(3)
    assert (found["a"], found["b"], found["c"]) == ("0", "3", "0")
    assert not engine.has_room()
    ended(engine, 3)
    started(engine, "d", "e")
    started(engine, "f", more=("--device", "cuda:1"))
    engine.ended()
    assert seen(3) == {"d": "0", "e": "3", "f": "all"}, "a job that names one sees all"
    ended(engine, 3)


def test_a_share_says_how_many_there_are_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "visible_gpus", lambda: ["GPU-a", "GPU-b", "GPU-c"])
    for share, room in ((1.0, 3), (0.5, 6), (0.3, 9), (2.0, 1), (3.0, 1)):
        assert Gpus(["GPU-a", "GPU-b", "GPU-c"], share).room == room
    engine = EngineChoice("local", workers=8, gpus=2.0).start()
    assert isinstance(engine, Local)
    started(engine, "a")
    assert not engine.has_room()
    engine.ended()
    assert seen(1) == {"a": "GPU-a,GPU-b"}
    ended(engine, 1)
    few = EngineChoice("local", workers=2, gpus=0.25).start()
    started(few, "a", "b")  # type: ignore[arg-type]
    assert not few.has_room(), "no more than --workers"
    few.ended()
    assert seen(2) == {"a": "GPU-a", "b": "GPU-b"}
    ended(few, 2)  # type: ignore[arg-type]


def test_what_there_is_not() -> None:
    with pytest.raises(UsageError, match=r"--gpus 1.5: a share of one GPU, or a whole number"):
        Gpus(["0", "1"], 1.5)
    with pytest.raises(MissingDependency, match=r"--gpus 2: this machine has 1 CUDA GPU"):
        Gpus(["0"], 2)
    with pytest.raises(MissingDependency, match=r"--gpus 0.5: this machine has no CUDA GPU"):
        Gpus([], 0.5)
    assert Gpus([], 0).lend() == []
    for wrong in (float("inf"), float("nan"), 1e-9):
        with pytest.raises(UsageError, match=r"--gpus .*: a share of one GPU"):
            EngineChoice("local", gpus=wrong)
    with pytest.raises(UsageError, match="--gpus chooses the GPU of each job"):
        EngineChoice("local", gpus=1, device="cpu")


def test_one_gpu_or_none_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "visible_gpus", lambda: ["0"])
    engine = EngineChoice("local", workers=2).start()
    started(engine, "a", "b")  # type: ignore[arg-type]
    engine.ended()
    assert seen(2) == {"a": "all", "b": "all"}
    ended(engine, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "count", "found"),
    [("", 2, ["0", "1"]), ("2, 5", 2, ["2", "5"]), ("GPU-x,GPU-y", 2, ["GPU-x", "GPU-y"]), ("0,1,9", 2, ["0", "1"])],
)
def test_what_cuda_is_told_counts(told: str, count: int, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, told)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert visible_gpus() == found
