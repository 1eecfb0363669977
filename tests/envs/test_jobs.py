"""Jobs in worker processes: results in order, whatever dies; every worker keeps one environment."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omp_cli.core.base.errors import DataError, RunFailed
from omp_cli.core.envs.jobs import Kept, in_order
from tests.envs.test_pool import two_workers_end_with


class Closing:
    """An environment that says in a file when it was made and closed, and by whom."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.say("made")

    def say(self, what: str) -> None:
        with self.file.open("a") as stream:
            stream.write(f"{os.getpid()} {what}\n")

    def close(self) -> None:
        self.say("closed")


Job = tuple[int, str, Path]


def work(job: Job, kept: Kept[Any]) -> tuple[int, int]:
    number, what, folder = job
    kept.get(what == "other", lambda: Closing(folder / "log"))
    if what == "slow":
        time.sleep(0.5)
    if what == "fails":
        raise DataError("a bad job", "leave it out")
    if what == "odd":
        raise ValueError("odd")
    if what == "dies" or (what == "dies once" and not (folder / f"died {number}").exists()):
        (folder / f"died {number}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "sleeps":
        time.sleep(60)
    return number, os.getpid()


def jobs(folder: Path, **special: str) -> list[Job]:
    return [(number, special.get(f"j{number}", ""), folder) for number in range(9)]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_order_and_environments_are_closed(tmp_path: Path, workers: int) -> None:
    results = list(in_order(work, jobs(tmp_path, j0="slow", j4="other"), workers, print))
    assert [number for number, _ in results] == list(range(9))
    pids = {pid for _, pid in results}
    assert len(pids) <= workers
    assert (os.getpid() in pids) == (workers == 1)
    log = (tmp_path / "log").read_text().splitlines()
    for pid in pids:
        said = [line.split()[1] for line in log if line.startswith(f"{pid} ")]
        assert said == ["made", "closed"] * (len(said) // 2)
    assert not multiprocessing.active_children()


def test_a_job_whose_worker_dies_is_done_anew(tmp_path: Path) -> None:
    notes: list[str] = []
    found = in_order(work, jobs(tmp_path, j1="dies once", j5="dies once", j6="dies once"), 2, notes.append)
    assert [number for number, _ in found] == list(range(9))
    assert len(notes) == 3
    assert all(note.endswith("died (signal 9); restarted to do its job anew") for note in notes)


def test_a_job_that_kills_its_worker_every_time_fails_the_run(tmp_path: Path) -> None:
    done = []
    with pytest.raises(RunFailed, match=r"(?m)\Aworker [01] died 4 times in a row \(signal 9\)$"):
        for number, _ in in_order(work, jobs(tmp_path, j3="dies"), 2, lambda _: None):
            done.append(number)
    assert done == [0, 1, 2], "what was done before is had"
    assert not multiprocessing.active_children()


def test_errors_arrive_as_themselves(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a bad job") as caught:
        list(in_order(work, jobs(tmp_path, j2="fails"), 2, print))
    assert caught.value.hint == "leave it out"
    with pytest.raises(RunFailed, match="ValueError: odd"):
        list(in_order(work, jobs(tmp_path, j2="odd"), 2, print))
    with pytest.raises(ValueError, match="odd"):
        list(in_order(work, jobs(tmp_path, j2="odd"), 1, print))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("workers", "limit"), [(1, 3), (2, 7)])
def test_no_job_is_drawn_far_ahead(tmp_path: Path, workers: int, limit: int) -> None:
    drawn: list[int] = []

    def endless() -> Iterator[Job]:
        for number in itertools.count():
            drawn.append(number)
            yield number, "", tmp_path

    found = in_order(work, endless(), workers, print)
    assert [next(found)[0] for _ in range(3)] == [0, 1, 2]
    found.close()  # type: ignore[attr-defined]
    assert 3 <= len(drawn) <= limit
    assert not multiprocessing.active_children()


def test_no_jobs_give_no_results() -> None:
    assert list(in_order(work, [], 4, print)) == []


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    code = "import multiprocessing, pathlib, sys; from tests.envs.test_jobs import in_order, work, jobs; "
    code += "found = in_order(work, jobs(pathlib.Path(sys.argv[1]), j2='sleeps', j3='sleeps'), 2, print); next(found); "
    code += "print(*[c.pid for c in multiprocessing.active_children()], flush=True); list(found)"
    two_workers_end_with(code, str(tmp_path))
