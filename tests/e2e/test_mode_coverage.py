"""examples/mode_coverage.py: what has finished is not run again, and the table sums over seeds."""

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.e2e.test_examples import ROOT

SCRIPT = ROOT / "examples" / "mode_coverage.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parent)  # where Python looks when the script itself is run
    spec = importlib.util.spec_from_file_location("mode_coverage", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_resumes_and_sums_over_seeds(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[str] = []

    def run(words: list[str], **_: Any) -> None:
        folder = Path(words[words.index("--out") + 1])
        ran.append(words[3])
        left = 10 + 4 * int(folder.parent.name[-1]) if words[3] == "eval" else 0
        modes = {"left": {"n": left, "data": 0.4}, "right": {"n": 40 - left, "data": 0.6}}
        modes |= {"none": {"n": 10, "data": 0.0}} if "-da1-" in str(folder) else {}
        metrics = {"content_sha256": "0", "demos": 2, "frames": 30, "train_seconds": 1.0, "modes": modes}
        metrics |= {"modes_distance": 0.1, "success_any": {"successes": 7}}
        folder.mkdir(parents=True)
        manifest = {"status": "succeeded", "metrics": metrics, "versions": {}, "hardware": {}}
        (folder / "manifest.json").write_text(json.dumps(manifest))

    monkeypatch.setattr(subprocess, "run", run)
    args = script.arguments([str(tmp_path / "runs"), "--table", str(tmp_path / "table.json"), "--seed", "0", "1"])
    rows = script.run(args)
    assert (ran.count("prepare"), ran.count("pretrain"), ran.count("eval")) == (1, 18, 22)
    assert script.run(args) == rows
    assert len(ran) == 41, "nothing is run again"
    assert json.loads((tmp_path / "table.json").read_text())["rows"] == rows
    lines = script.markdown(rows).splitlines()
    assert len(lines) == 3 + 11
    assert lines[2].startswith("| demonstrations |  | 0.40 | 0.60 |")
    assert lines[3].startswith("| meanflow, λ_DA 0 | 1 | 0.30 | 0.70 | 0.00 | 0.30 (")
    assert "| 0.25, 0.35 | 0.10 | 14/80 |" in lines[3]
    stuck = next(line for line in lines if line.startswith("| meanflow, λ_DA 1 |"))
    assert stuck.startswith("| meanflow, λ_DA 1 | 1 | 0.24 | 0.56 | 0.20 | 0.30 (")
    assert "| 0.20 | 14/100 |" in stuck
