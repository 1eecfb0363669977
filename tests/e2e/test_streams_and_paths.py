"""Real processes whose reader is gone, whose terminal closes, whose folders have moved, whose names are odd."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from omp_cli.core.base.manifest import read_manifest, write_manifest
from omp_cli.core.base.run import CHECKPOINTS
from tests.cli.test_bad_input import refused
from tests.conftest import TINY, Omp, held_by_another, omp_process
from tests.core.test_locks import MOVED
from tests.e2e.test_processes import finish, wait_for

OMP = f"{sys.executable} -m omp_cli"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
LONG = ["--steps", "2000", *TINY, "--set", "train.checkpoint_every=5"]


@pytest.fixture(autouse=True)
def _hangups_are_heard() -> Iterator[None]:
    """Processes of a test hear SIGHUP even where the tests run under nohup, whose children inherit its deafness."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        (">&-", 0),
        (">&- 2>&-", 0),
        ("2</dev/null", 0),
        ("| true", 0),
        ("2>&1 >&- | true", 0),
        ("--json | head -1", 0),
        ("> /dev/full", 1),
        ("--json > /dev/full", 1),
    ],
)
@pytest.mark.parametrize("line", ["manifest {}/run", "eval {}/run --episodes 2 --out e --workers"])
def test_output_that_nobody_reads(workshop: Path, tmp_path: Path, line: str, rest: str, code: int) -> None:
    if line.endswith("--workers"):
        line += " 2" if ">&-" in rest else " 1"  # what is closed is closed in worker processes too
    done = shell(f"{OMP} {line.format(workshop)} {rest}", tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if code:
        assert "error: no space left on device" in done.stderr
    if line.startswith("eval"):
        assert read_manifest(tmp_path / "e").status == "succeeded"


def test_help_and_version_without_a_reader(tmp_path: Path) -> None:
    for line in ("--help", "--version", "pretrain --help"):
        for rest in (">&-", "| true"):
            done = shell(f"{OMP} {line} {rest}", tmp_path)
            assert "Traceback" not in done.stderr
            assert "Exception ignored" not in done.stderr


def test_a_closed_terminal_saves_and_the_run_goes_on(workshop: Path, tmp_path: Path) -> None:
    process = omp_process("pretrain", workshop / "toy", *LONG, "--out", tmp_path / "r")
    wait_for(tmp_path / "r" / CHECKPOINTS, process)
    process.send_signal(signal.SIGHUP)
    code, _, err = finish(process)
    assert code == 129, err
    assert "--resume" in err
    assert "Traceback" not in err
    assert read_manifest(tmp_path / "r").status == "interrupted"
    assert (failure := read_manifest(tmp_path / "r").error) is not None
    assert failure.exit_code == 129


def test_nohup_is_heeded(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "omp_cli", "prepare", "toy", "--demos", "3", "--points", "32", "--workers", "1"]
    process = subprocess.Popen(
        [*line, "--out", str(tmp_path / "d")],
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        stderr=subprocess.PIPE,
    )
    while not (tmp_path / "d" / "manifest.json").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    assert process.wait(120) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_processes_of_a_terminal_is_the_parents_to_answer(tmp_path: Path, number: int) -> None:
    line = [sys.executable, "-m", "omp_cli", "prepare", "toy", "--demos", "500", "--points", "512", "--workers", "2"]
    process = subprocess.Popen(
        [*line, "--out", str(tmp_path / "d")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (tmp_path / "d" / ".episodes" / "recipe.json").exists():  # its workers are about to start
        assert process.poll() is None
    while not subprocess.run(["pgrep", "-P", str(process.pid)], check=False, capture_output=True).stdout:
        assert process.poll() is None
    os.killpg(process.pid, number)
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert "stopped:" in err


def unfinished(run: Path) -> None:
    write_manifest(run, read_manifest(run).model_copy(update={"status": "running", "metrics": {}}))


def test_resumed_from_elsewhere_and_after_a_move(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    shutil.copytree(workshop / "toy", project / MOVED)
    monkeypatch.chdir(project)
    assert omp("pretrain", MOVED, "--steps", 10, *TINY, "--out", "runs/r").code == 0
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    run = project / "runs" / "r"
    link = tmp_path / "link"
    link.symlink_to(run)
    for path in (run, link):
        unfinished(run)
        done = omp("pretrain", "--resume", path)
        assert done.code == 0, done.err
    moved = tmp_path / "moved"
    project.rename(moved)
    run = moved / "runs" / "r"
    unfinished(run)
    assert omp("pretrain", "--resume", run).code == 0
    (moved / MOVED).rename(tmp_path / "else" / "renamed")
    unfinished(run)
    refused(omp("pretrain", "--resume", run), 3, "no such file or folder", "omp pretrain DATASET --resume")
    assert omp("pretrain", "renamed", "--resume", run).code == 0
    unfinished(run)
    refused(omp("pretrain", "--resume", run, "--teacher", run), 2, "has no teacher")


def test_the_home_folder_after_an_equals_sign(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert omp("prepare", "toy", "--demos", 2, "--points", 32, "--workers", 1, "--out=~/x").code == 0
    assert (tmp_path / "x" / "demos.zarr").is_dir()
    assert omp("pretrain", "~/x", "--dry-run").code == 0
    assert not (tmp_path / "~").exists()


ODD = os.fsdecode(b"donn\xe9es-\xff")


def test_names_that_are_not_utf8(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, run = Path(ODD, "ä"), Path(ODD, "r")
    assert omp("prepare", "toy", "--demos", 3, "--points", 32, "--workers", 1, "--out", data).code == 0
    assert omp("pretrain", data, "--steps", 10, *TINY, "--out", run).code == 0
    assert read_manifest(run).status == "succeeded"
    for rest in ("", "--json"):
        done = shell(f"{OMP} manifest {run} {rest}", tmp_path)
        assert done.returncode == 0, done.stderr
    unfinished(run)
    done = omp("pretrain", "--resume", run)
    assert done.code == 0, done.err


def test_names_that_are_not_utf8_and_a_locale_without_letters(tmp_path: Path) -> None:
    data = f"{OMP} prepare toy --demos 3 --points 32 --workers 1 --out {ODD}/ä"
    done = shell(f"{data} && {OMP} pretrain {ODD}/ä --steps 10 {tiny()} --out {ODD}/r", tmp_path, **ASCII)
    assert done.returncode == 0, done.stderr
    run = tmp_path / ODD / "r"
    assert json.loads((run / "manifest.json").read_bytes())["status"] == "succeeded"
    for rest in ("", "--json"):
        done = shell(f"{OMP} manifest {ODD}/r {rest}", tmp_path, **ASCII)
        assert done.returncode == 0, done.stderr
    unfinished(run)
    done = shell(f"{OMP} pretrain --resume {ODD}/r", tmp_path, **ASCII)
    assert done.returncode == 0, done.stderr


def tiny() -> str:
    return " ".join(f"'{word}'" for word in TINY)


def test_a_bad_manifest_stops_nothing_that_looks_for_the_newest(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(workshop / "run", tmp_path / "runs" / "pretrain" / "good")
    good = (workshop / "run" / "manifest.json").read_text()
    bad = {
        "nested": "[" * 100_000,
        "nested_inside": good.replace('"metrics": {', '"metrics": {"deep": ' + "[" * 900 + "]" * 900 + ", ", 1),
        "edited": good.replace('"steps": 30', '"steps": 31', 1),
        "letters": '{"schema_version": 1, "a": "\\ud800"}',
    }
    for name, text in bad.items():
        (tmp_path / "runs" / "pretrain" / name).mkdir()
        (tmp_path / "runs" / "pretrain" / name / "manifest.json").write_text(text)
    odd = read_manifest(workshop / "run").model_copy(update={"finished_at": "yesterday"})
    (tmp_path / "runs" / "pretrain" / "odd").mkdir()
    write_manifest(tmp_path / "runs" / "pretrain" / "odd", odd)
    done = omp("eval", "--dry-run")
    assert done.code == 0, done.err
    for name in (*bad, "odd"):
        assert any("passed over" in line and f"/{name}/" in line for line in done.err.splitlines()), done.err
    for name in bad:
        refused(omp("manifest", tmp_path / "runs" / "pretrain" / name), 3, "manifest")


def test_a_lost_run_is_called_so(omp: Omp, run: Path) -> None:
    unfinished(run)
    done = omp("manifest", run)
    assert "lost (its process is gone)" in done.out
    assert omp("manifest", run, "--json").json["state"] == "lost"
    with held_by_another(run) as process:
        assert omp("manifest", run, "--json").json["state"] == "running"
        refused(omp("pretrain", "--resume", run), 2, f"process {process}", "at work")
    assert read_manifest(run).status == "running", "as it was written"
