"""One writer per folder, whose lock ends with its process; what is left of killed ones; lost runs, moved inputs."""

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import atomic, writable_folder
from omp_cli.core.base.locks import LOCK, hold, is_held
from omp_cli.core.base.manifest import read_manifest, write_manifest
from omp_cli.core.base.run import CHECKPOINTS, TRACEBACK, Run, state_of, whereabouts
from tests.conftest import held_by_another

PARENT = """
import multiprocessing, sys, time
from pathlib import Path
from omp_cli.core.base.locks import hold
if __name__ == "__main__":
    with hold(Path(sys.argv[1])):
        child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
        child.start()
        print(child.pid, flush=True)
        time.sleep(60)
"""


def test_the_second_is_told_who_is_at_work_and_the_lock_leaves_nothing(tmp_path: Path) -> None:
    link = tmp_path.with_name(f"{tmp_path.name}-link")
    link.symlink_to(tmp_path)
    with held_by_another(tmp_path) as process:
        for folder in (tmp_path, link):
            assert is_held(folder)
            with pytest.raises(UsageError, match=rf"process {process} \(since 20.*\) is at work there"), hold(folder):
                pass
        assert (tmp_path / LOCK).exists()
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path), hold(link):
        assert is_held(tmp_path)
        (tmp_path / "file").touch()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_killed_holder_leaves_no_lock_though_its_workers_live_on(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    folder = tmp_path / "folder"
    folder.mkdir()
    with subprocess.Popen([sys.executable, script, folder], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_held(folder)
        parent.kill()
        parent.wait()
        try:
            os.kill(child, 0)  # it lives
            assert (folder / LOCK).exists()
            assert not is_held(folder)
            with hold(folder):
                assert is_held(folder)
        finally:
            os.kill(child, signal.SIGKILL)
    assert list(folder.iterdir()) == []


def test_a_network_file_system_grants_no_exclusive_lock_to_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS answers "bad file descriptor" there."""
    flock = fcntl.flock

    def nfs(descriptor: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", nfs)
    with held_by_another(tmp_path):
        assert is_held(tmp_path)
    with hold(tmp_path):
        assert is_held(tmp_path)
    (tmp_path / LOCK).write_text("of a killed process")
    assert not is_held(tmp_path)


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_file_system_without_locks_has_one_writer_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lustre without ``-o flock`` answers "function not implemented"."""

    def lustre(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", lustre)
    with hold(tmp_path):
        with hold(tmp_path):
            assert is_held(tmp_path)
        assert is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / LOCK).write_text(f"{2**22 + 1}\n{platform.node()}\n1\n")
    assert not is_held(tmp_path), "its process on this machine is gone"
    (tmp_path / LOCK).write_text("77\nnode7\n1\n")
    assert is_held(tmp_path), "nobody here knows what became of it"
    with pytest.raises(UsageError, match="process 77 on node7 is at work there") as refused, hold(tmp_path):
        pass
    assert "where it is gone: rm " in refused.value.hint


def test_a_holder_of_another_machine_is_told_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with held_by_another(tmp_path) as process:
        monkeypatch.setattr(platform, "node", lambda: "node7")
        told = rf"process {process} on {os.uname().nodename} \(since 20.*\) is at work there"
        with pytest.raises(UsageError, match=told) as refused, hold(tmp_path):
            pass
    assert "rm " not in refused.value.hint, "the lock ends with its process"


def test_two_machines_with_a_process_of_one_number_make_folders_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch = Path.touch

    def touched_and_taken_away(path: Path) -> None:
        touch(path)
        path.unlink()

    monkeypatch.setattr(Path, "touch", touched_and_taken_away)
    assert writable_folder(tmp_path) == tmp_path


def test_leftovers_of_killed_processes_go_and_those_of_other_runs_stay(tmp_path: Path) -> None:
    litter = [
        ".demos.99.tmp.zarr",
        ".manifest.99.tmp.json",
        ".probe.99",
        "checkpoints/.step-00000010.99.tmp",
        "start/.step-00000000.99.tmp",
        ".episodes/.000001-5.99.tmp.npz",
    ]
    for name in litter:
        (tmp_path / name).mkdir(parents=True)
    kept = ["other/.x.99.tmp", "working/.x.99.tmp", ".mine.tmp", "data/deep/.x.99.tmp"]
    for name in kept:
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "other" / "manifest.json").touch()
    (tmp_path / "working" / LOCK).touch()
    with hold(tmp_path):
        assert [name for name in litter if (tmp_path / name).exists()] == []
        assert [name for name in kept if not (tmp_path / name).exists()] == []
        with atomic(tmp_path / "own.json") as temporary:
            temporary.touch()
            with hold(tmp_path):
                assert temporary.exists(), "of the present holder"


def test_a_refused_run_changes_nothing(tmp_path: Path) -> None:
    with Run(tmp_path, "pretrain", {}, {}):
        (tmp_path / CHECKPOINTS).mkdir()
    with held_by_another(tmp_path):
        (tmp_path / CHECKPOINTS / ".step-00000010.99.tmp").mkdir()  # what the other is writing
        before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
        with pytest.raises(UsageError, match="is at work there"), Run(tmp_path, "pretrain", {}, {}):
            pass
        assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    with pytest.raises(UsageError, match="holds checkpoints"), Run(tmp_path, "pretrain", {}, {}, earlier="kept"):
        pass
    assert read_manifest(tmp_path).status == "succeeded"


def test_a_running_manifest_of_nobody_is_lost(tmp_path: Path) -> None:
    with Run(tmp_path, "eval", {}, {}, inputs=[("checkpoint", Path("c"), "0")]):
        found = read_manifest(tmp_path)
        assert state_of(tmp_path, found) == found.status == "running"
        assert [i.path for i in found.inputs] == ["c"], "a kill right now loses none"
    assert state_of(tmp_path, read_manifest(tmp_path)) == "succeeded"
    write_manifest(tmp_path, found)
    assert state_of(tmp_path, read_manifest(tmp_path)) == "lost"
    with held_by_another(tmp_path):
        assert state_of(tmp_path, read_manifest(tmp_path)) == "running"


def test_the_traceback_of_an_earlier_try_goes_with_success(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Run(tmp_path, "eval", {}, {}):
        _ = 1 / 0
    assert (tmp_path / TRACEBACK).exists()
    with Run(tmp_path, "eval", {}, {}):
        pass
    assert not (tmp_path / TRACEBACK).exists()


MOVED = "toy-of-a-project"
"""What nobody has in a folder above that of the tests, where it would be found too."""


def test_inputs_are_looked_for_where_the_run_was_begun_and_where_a_project_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, data = tmp_path / "project" / "runs" / "r", tmp_path / "project" / "data" / MOVED
    run.mkdir(parents=True)
    data.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert list(whereabouts(run, f"data/{MOVED}")) == [data]
    assert list(whereabouts(run, f"/before/it/was/moved/data/{MOVED}")) == [data]
    link = tmp_path / "link"
    link.symlink_to(run)
    assert list(whereabouts(link, f"data/{MOVED}")) == [data]
    assert next(whereabouts(run, str(data))) == data
    assert list(whereabouts(run, "data/other")) == []
