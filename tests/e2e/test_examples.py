"""What examples/ promises."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.conftest import TINY, Omp

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "add_a_method.py"


def test_a_method_of_ones_own_trains_and_evaluates(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    line = ("pretrain", workshop / "toy", "--method", "regression", "--set", "method.noise=0.9", "--steps", 10, *TINY)
    assert omp("--plugin", PLUGIN, *line, "--out", run).code == 0
    done = omp("--plugin", PLUGIN, "eval", run, "--episodes", 1, "--workers", 1, "--json", "--out", tmp_path / "e")
    assert done.json["result"]["success_any"]["episodes"] == 1
    code = "import sys; sys.argv = ['omp', 'eval', sys.argv[1]]; from omp_cli.app import main; main()"
    alone = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=False)
    assert alone.returncode == 3, "the plugin is not there"
    assert "--plugin" in alone.stderr


@pytest.mark.parametrize(
    "script", sorted([*ROOT.glob("examples/*.sh"), ROOT / "tests" / "run.sh", ROOT / ".ci" / "run"])
)
def test_shell_scripts_parse(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.fixture
def as_a_script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import one of the examples as Python does that runs it: with its folder on the path."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module


def test_meanflow_in_two_dimensions_keeps_all_ways_in_one_step(
    as_a_script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    found = as_a_script("meanflow_2d").main(tmp_path, steps=150)
    samples, errors = found["samples"], found["derivative"]
    assert samples["demonstrations"]["distance"] < 0.07
    assert min(samples["meanflow, 1 step"]["shares"]) > 0.1, "no blob is lost"
    # one step along the instantaneous velocity ends at the mean of the demonstrations, 0.8 from each
    assert samples["meanflow, 1 step"]["distance"] < 0.7 * samples["reflow, 1 step"]["distance"]
    assert max(errors["jvp"], errors["forward"]) < 1e-5
    assert errors["jvp"] < min(errors["dde"].values()) < 1e-3
    assert max(errors["dde"].values()) > 100 * min(errors["dde"].values()), "the half width matters"
    assert {p.name for p in tmp_path.glob("*.png")} == {"samples.png", "field.png", "derivative.png"}


def test_a_suite_of_ones_own_goes_from_demonstrations_to_success(
    as_a_script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = as_a_script("add_a_suite")
    monkeypatch.setattr(script, "DEMOS", 8)
    monkeypatch.setattr(script, "EPISODES", 8)
    monkeypatch.setattr(script, "STEPS", 200)
    found = script.main(tmp_path, misled=False)
    assert (found["demonstrations"], found["failed"]) == (8, 0)
    assert found["successes"] >= 7
    assert (tmp_path / "trajectories.png").read_bytes()[:4] == b"\x89PNG"
    # the same places as omp eval's, so the same end
    assert sum(np.linalg.norm(way[-1] - (0.25, 0.2)) < 0.06 for way in script.rollouts(tmp_path / "run", 8)) >= 7
