"""The script for a GPU machine, on the CPU: nothing that can go wrong with one part ends the others."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from omp_cli.core.base.manifest import check_artifacts, read_manifest
from tests.conftest import Omp

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module("gpu_check")


def test_reduced_parts_on_a_cpu_make_a_table_and_a_manifest(script: ModuleType, tmp_path: Path) -> None:
    line = [
        "--device",
        "cpu",
        "--small",
        "--part",
        "data",
        "--part",
        "training",
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
def test_a_part_that_fails_is_a_row(script: ModuleType, code: str, seconds: float, note: str, tmp_path: Path) -> None:
    part = script.Part("memory", [sys.executable, "-c", code], script._memory, 60)
    (row,) = script.run_part(part, seconds, tmp_path)
    assert (row.part, row.value) == ("memory", None)
    assert row.note.startswith(note)


def test_all_parts_of_a_gpu_are_lines_that_omp_accepts(script: ModuleType, omp: Omp, tmp_path: Path) -> None:
    parts = script.parts_of(script.arguments(["--folder", str(tmp_path)]))
    assert [part.name for part in parts][:3] == ["data", "tests on a GPU", "training light dde"]
    for part in parts:
        words = [str(word) for word in part.line]
        if words[1:3] != ["-m", "omp_cli"] or words[3] in (
            "eval",
            "finetune",
            "pretrain",
        ):  # those need what comes before them
            continue
        ran = omp(*("cpu" if word == "cuda" else word for word in words[3:]), "--dry-run")
        assert ran.code == 0, ran.err


def test_a_bundle_needs_what_omp_needs_and_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pynvml")
    monkeypatch.syspath_prepend(ROOT / "examples")
    bundle = importlib.import_module("offline_bundle")
    found = bundle.pinned("3.12", "x86_64", ["SciPy"])
    assert {"omp-cli", "numpy", "pydantic-core", "mujoco", "nvidia-ml-py", "pytest"} <= found.keys()
    of_torch = {name for name in found if name.startswith(("torch", "nvidia", "triton"))} - {"nvidia-ml-py"}
    assert not of_torch | found.keys() & {"scipy"}
