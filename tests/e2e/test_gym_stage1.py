"""examples/gym_stage1.py: what has finished is not run again, and the table holds every run."""

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import Omp
from tests.e2e.test_examples import ROOT

SCRIPT = ROOT / "examples" / "gym_stage1.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gym_stage1", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def lines(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The omp lines that were run; each leaves the manifest of a run that says what it was asked for."""
    ran: list[list[str]] = []

    def run(words: list[str], **_: Any) -> Any:
        if words[0] == "git":
            return subprocess.CompletedProcess(words, 0, "abc\n")
        folder = Path(words[words.index("--out") + 1])
        ran.append(words[3:])
        seed = int(words[words.index("--seed") + 1]) if "--seed" in words else 0
        nfe = int(words[words.index("--nfe") + 1]) if "--nfe" in words else 0
        returns = {"mean": 100.0 * nfe + float(folder.parent.name[-1] if nfe else 0), "std": 9, "sem": 3, "episodes": 9}
        metrics = {
            "prepare": {"content_sha256": "0", "demos": 2, "frames": 30, "returns": {"mean": 2.0}},
            "pretrain": {"steps": 7, "train_seconds": 1.0 + seed, "parameters": 5, "effective_rank": 4.0},
            "eval": {"return": returns, "mean_steps": 3.0},
        }[words[3]]
        folder.mkdir(parents=True)
        manifest = {"status": "succeeded", "metrics": metrics, "versions": {}, "hardware": {}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(script.subprocess, "run", run)
    return ran


def test_resumes_and_compares_like_with_like(script: ModuleType, lines: list[list[str]], tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    args = script.arguments([str(tmp_path / "runs"), "--robot", "hopper", "--table", str(table)])
    rows = script.run(args)
    assert len(rows) == 4 * 3 * 2
    assert [line[0] for line in lines].count("pretrain") == 12
    unfinished = tmp_path / "runs" / "hopper" / "reflow-seed1"
    (unfinished / "manifest.json").write_text('{"status": "interrupted"}')
    lines.clear()
    assert script.run(args) == rows
    assert [line[0] for line in lines] == ["pretrain", "eval", "eval"]
    assert ("reflow" in lines[0], lines[0][lines[0].index("--seed") + 1]) == (True, "1")
    written = json.loads(table.read_text())
    assert (written["rows"], written["commit"], written["data"]["hopper"]["returns"]["mean"]) == (rows, "abc", 2.0)
    shown = script.markdown(rows).splitlines()
    assert len(shown) == 2 + 4
    assert "| 101 ± 1 | 501 ± 1 | 4.00 ± 0.00 |  |  | 2.00 ± 1.00 |" in shown[2], (
        "seeds 0, 1, 2; what was not logged is left empty"
    )


def test_omp_takes_its_lines(
    script: ModuleType, lines: list[list[str]], omp: Omp, workshop: Path, tmp_path: Path
) -> None:
    args = [str(tmp_path / "runs"), "--robot", "hopper", "--seed", "0", "--table", str(tmp_path / "table.json")]
    script.run(script.arguments(args))
    stand_in = {"pretrain": workshop / "toy", "eval": workshop / "run"}
    for command, *words in lines:
        line = (command, *([stand_in[command], *words[1:]] if command in stand_in else words))
        ran = omp(*line, "--dry-run")
        assert ran.code == 0, f"{line}\n{ran.err}"
