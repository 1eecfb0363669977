"""The script for a GPU machine, on the CPU: nothing that can go wrong with one part ends the others."""

import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from omp_cli.core.base.manifest import check_artifacts, read_manifest
from tests.conftest import Omp

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module("gpu_check")


@pytest.fixture
def parts(script: ModuleType) -> ModuleType:
    return importlib.import_module("gpu_parts")


@pytest.fixture
def run(script: ModuleType) -> ModuleType:
    return importlib.import_module("gpu_run")


def test_reduced_parts_on_a_cpu_make_a_table_and_a_manifest(script: ModuleType, tmp_path: Path) -> None:
    line = [
        "--device",
        "cpu",
        "--small",
        "--part",
        "data",
        "--part",
        "training light",
        "--part",
        "finetune",
        "--part",
        "memory",
    ]
    rows = script.main(script.arguments([*line, "--folder", str(tmp_path / "check")]))
    by_part = {row.part: row for row in rows}
    assert list(by_part) == ["data", "training light dde", "memory", "finetune, graph auto"]
    assert all(row.value is not None and row.value > 0 for row in rows), rows
    for part in ("training light dde", "finetune, graph auto"):
        assert "eager: a graph needs CUDA" in by_part[part].note
    manifest = read_manifest(tmp_path / "check")
    check_artifacts(tmp_path / "check", manifest)
    assert (manifest.command, manifest.status) == ("gpu-check", "succeeded")
    assert [row["part"] for row in manifest.metrics["rows"]] == [row.part for row in rows]
    assert (tmp_path / "check" / "table.md").read_text().count("\n| ") == len(rows) + 2


@pytest.mark.parametrize(
    ("code", "seconds", "note"),
    [
        ("import os; os.kill(os.getpid(), 11)", 60, "failed: signal 11"),
        ("import time; time.sleep(600)", 2, "failed: not done within 2 s"),
        ("import sys; sys.exit('error: no such kernel')", 60, "failed: exit code 1 (error: no such kernel)"),
        ("print('no figures')", 60, "failed: no figures in its output (JSONDecodeError"),
        ("print('{}')", 60, "failed: no figures in its output (KeyError"),
        ("", 0, "skipped: no time is left"),
    ],
)
def test_a_part_that_fails_is_a_row(
    run: ModuleType, parts: ModuleType, code: str, seconds: float, note: str, tmp_path: Path
) -> None:
    part = run.Part("memory", [sys.executable, "-c", code], parts.memory, 60)
    (row,) = run.run_part(part, seconds, tmp_path)
    assert (row.part, row.value) == ("memory", None)
    assert row.note.startswith(note)


BEGUN = r"""
tests/a.py::test_one PASSED                                  [ 20%]
tests/a.py::test_two[x y] FAILED                             [ 40%]
tests/a.py::test_three SKIPPED (no such card)                [ 60%]
"""
ENDED = """
E       assert 1 == 2
FAILED tests/a.py::test_two[x y] - assert 1 == 2
ERROR tests/a.py::test_four - OSError: no room
"""


def test_tests_that_failed_have_rows_with_their_names(run: ModuleType, parts: ModuleType, tmp_path: Path) -> None:
    code = (
        f"import sys; print({BEGUN!r}, 'tests/a.py::test_four ERROR   [ 80%]', {ENDED!r}, sep='', end=''); sys.exit(1)"
    )
    tests = run.Part("tests", [sys.executable, "-c", code], parts.tested, 60, partial=True)
    passed, *failed, ended = run.run_part(tests, 60, tmp_path)
    assert (passed.what, passed.value, passed.note) == ("passed", 1, "1 failed, 1 skipped, 1 error")
    assert {row.what: row.note for row in failed} == {
        "tests/a.py::test_two[x y]": "failed: assert 1 == 2",
        "tests/a.py::test_four": "failed: OSError: no room",
    }
    assert ended.note.startswith("failed: exit code 1 (")
    assert "assert 1 == 2" in (tmp_path / "logs" / "tests.out.txt").read_text()


def test_tests_that_took_too_long_say_how_far_they_came(run: ModuleType, parts: ModuleType, tmp_path: Path) -> None:
    code = f"import time; print({BEGUN!r}, 'tests/a.py::test_four ', sep='', end=''); time.sleep(600)"
    tests = run.Part("tests", [sys.executable, "-c", code], parts.tested, 3, partial=True)
    passed, failed, running, ended = run.run_part(tests, 60, tmp_path)
    assert (passed.value, failed.what) == (1, "tests/a.py::test_two[x y]")
    assert (running.what, running.note) == ("tests/a.py::test_four", "failed: it was running at the end")
    assert ended.note.startswith("failed: not done within 3 s")


def test_pytest_writes_what_is_read_of_it(
    script: ModuleType, run: ModuleType, parts: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text("def test_good(): pass\ndef test_bad(): assert 1 == 2\n")
    words = parts._tests(script.arguments(["--small"])).line
    line = [*words[: words.index("-m", 3)], "-p", "no:cacheprovider", tmp_path]
    found = run.run_part(run.Part("tests", line, parts.tested, 60, partial=True), 60, tmp_path)
    assert [(Path(row.what).name, row.value) for row in found[:2]] == [("passed", 1), ("test_it.py::test_bad", None)]
    assert found[1].note == "failed: assert 1 == 2"


def test_a_table_on_a_cpu_says_what_is_meant_for_it(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in ((["--minutes", "0"], True), (["--minutes", "0", "--small"], False)):
        folder = tmp_path / str(said)
        script.main(script.arguments(["--device", "cpu", *words, "--part", "data", "--folder", str(folder)]))
        assert (script.FOR_A_CPU in capsys.readouterr().err) is said
        assert (script.FOR_A_CPU in (folder / "table.md").read_text()) is said


def test_parts_of_the_large_policy_and_of_pictures_give_figures(
    script: ModuleType, parts: ModuleType, omp: Omp, tmp_path: Path
) -> None:
    pictures = importlib.import_module("gpu_pictures")
    found = {
        p.name: p for p in parts.parts_of(script.arguments(["--device", "cpu", "--small", "--folder", str(tmp_path)]))
    }

    def rows(name: str) -> list[tuple[str, float]]:
        words = [str(word) for word in found[name].line][3:]
        if name == "pictures":
            words = pictures.preparing(pictures.write(tmp_path / "pictures", 1))
        ran = omp(*words)
        assert ran.code == 0, ran.err
        got = list(found[name].rows(ran.out))
        assert all(row.part == name and row.value is not None and row.value > 0 for row in got), got
        return [(row.what, row.unit) for row in got]

    assert rows("data") == rows("pictures") == [("demonstrations", "")]
    step = ("step", "ms")
    assert rows("training omp-paper dde") == [step, ("a checkpoint, to the end of its writing", "s")]
    assert rows("training dmpo fp32") == [step]
    assert rows("deployed omp-paper bf16") == [("NFE 1, frame to action", "ms")]


def test_several_trainings_are_watched_and_ended(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    several = importlib.import_module("gpu_several")
    steps = "import json, sys, pathlib, time\nrun = pathlib.Path(sys.argv[-1]); run.mkdir()\nn = 0\n"
    steps += "while True:\n    n += 3\n    time.sleep(0.01)\n"
    steps += "    (run / 'metrics.jsonl').open('a').write(json.dumps({'step': n}) + '\\n')\n"
    monkeypatch.setattr(several, "training", lambda *words: [sys.executable, "-c", steps, *words])
    rates = several.together(2, 0.2, tmp_path / "all", ["data"])
    assert len(rates) == 2
    assert all(0 < rate < 3000 for rate in rates), "three steps in ten milliseconds at most"
    monkeypatch.setattr(several, "training", lambda *words: [sys.executable, "-c", "import sys; sys.exit('no memory')"])
    with pytest.raises(SystemExit, match="ended early: no memory"):
        several.together(1, 0.2, tmp_path / "none", ["data"])


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ([], ["data", "training omp-paper dde", "training omp-paper forward"]),
        (["--small"], ["data", "training omp-paper dde", "training light dde"]),
    ],
)
def test_all_parts_of_a_gpu_are_lines_that_omp_accepts(
    script: ModuleType, omp: Omp, words: list[str], first: list[str], tmp_path: Path
) -> None:
    parts = script.parts_of(script.arguments([*words, "--folder", str(tmp_path)]))
    assert [part.name for part in parts][:3] == first
    for part in parts:
        words = [str(word) for word in part.line]
        if words[1:3] != ["-m", "omp_cli"] or words[3] in (
            "deploy",
            "eval",
            "finetune",
            "pretrain",
        ):  # those need what comes before them
            continue
        ran = omp(*("cpu" if word == "cuda" else word for word in words[3:]), "--dry-run")
        assert ran.code == 0, ran.err


def test_a_checkout_is_no_installation_and_a_packed_bundle_is_used(tmp_path: Path) -> None:
    repository, bare = tmp_path / "repository", tmp_path / "bare"
    (repository / "examples").mkdir(parents=True)
    bare.mkdir()
    shutil.copy(ROOT / "examples/gpu_check.sh", repository / "examples")
    (repository / "examples/gpu_check.py").write_text("import omp_cli, sys\nprint(omp_cli.__file__, *sys.argv[1:])\n")
    (repository / "omp_cli").symlink_to(ROOT / "omp_cli")
    for name in ("lazy_loader.py", "torch.py"):  # with these the checkout can be imported, and not used
        (bare / name).write_text("attach_stub = lambda *_: (None, None, None)\n")
    (bare / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    (bare / "python").chmod(0o755)
    environment = os.environ | {"PATH": f"{bare}:{os.environ['PATH']}", "PYTHONPATH": str(bare)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        line = ["bash", "examples/gpu_check.sh", *words]
        return subprocess.run(line, cwd=repository, env=environment, capture_output=True, text=True, check=False)

    ran = run()
    assert (ran.returncode, ran.stderr.split(":")[:2]) == (
        4,
        ["error", " no omp in this environment, and no folder wheels or file site.tar.xz"],
    )
    site = tmp_path / "site"
    for name in ("omp_cli/core/base/run.py", "metaworld.py", "zarr.py", "omp_cli/__init__.py"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).touch()
    with tarfile.open(tmp_path / "site.tar.xz", "w:xz") as archive:
        archive.add(site, ".")
    ran = run("--small")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [str(repository / ".venv-packed/omp_cli/__init__.py"), "--small"]


def test_a_bundle_needs_what_omp_needs_and_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pynvml")
    monkeypatch.syspath_prepend(ROOT / "examples")
    bundle = importlib.import_module("offline_bundle")
    found = bundle.pinned("3.12", "x86_64", ["SciPy"])
    assert {"omp-cli", "numpy", "pydantic-core", "mujoco", "nvidia-ml-py", "pytest"} <= found.keys()
    of_torch = {name for name in found if name.startswith(("torch", "nvidia", "triton"))} - {"nvidia-ml-py"}
    assert not of_torch | found.keys() & {"scipy"}


def test_a_bundle_has_all_that_what_is_in_it_requires(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pynvml")
    monkeypatch.syspath_prepend(ROOT / "examples")
    bundle = importlib.import_module("offline_bundle")
    found = bundle.pinned("3.12", "x86_64", [])
    assert {
        "etils",
        "fsspec",
        "zipp",
        "typing-extensions",
        "nvidia-ml-py",
    } <= found.keys()  # mujoco asks for etils[epath]
    there = {"python_version": "3.12", "python_full_version": "3.12.0", "platform_machine": "x86_64"}
    with_extras = {(name, "") for name in found} | {("omp-cli", "gpu")}
    while True:
        needs = [
            need
            for name, extra in with_extras
            for need in map(Requirement, importlib.metadata.requires(name) or ())
            if need.marker is None or need.marker.evaluate({**there, "extra": extra})
        ]
        more = {(canonicalize_name(need.name), extra) for need in needs for extra in ("", *need.extras)}
        missing = {name for name, _ in more} - found.keys() - {"torch", "triton"}
        assert not missing
        if (more := {x for x in more if x[0] in found}) <= with_extras:
            break
        with_extras |= more


def test_a_packed_bundle_has_no_tests_and_all_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    bundle = importlib.import_module("offline_bundle")
    kept = ["a/__init__.py", "a/__init__.pyi", "a/testing/use.py", "a/assets/bin/mesh.stl", "a-1.dist-info/METADATA"]
    kept += ["metaworld/assets/a.xml", "metaworld/assets/textures/wood.png", "a/icon.png"]
    left = ("a/tests/test_a.py", "a/b/tests/data/x.npy", "a/docs/page.md", "a/fast.c", "metaworld/assets/brick.png")
    for name in (*kept, *left):
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text('<texture file="../textures/wood.png"/>')
    assert bundle.pack(tmp_path / "site", tmp_path / "site.tar.xz") == (tmp_path / "site.tar.xz").stat().st_size
    with tarfile.open(tmp_path / "site.tar.xz") as archive:
        assert sorted(archive.getnames()) == sorted(kept)
