"""What examples/ and the README promise."""

import re
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("page", ["README.md", "examples/results/README.md"])
def test_every_omp_line_of_the_documents_parses(
    page: str, omp: Omp, workshop: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ``omp ...`` line in a code block is run with --dry-run: unknown commands, options and values fail."""
    monkeypatch.chdir(workshop)  # a dry run touches nothing
    text = (ROOT / page).read_text()
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    lines = [line for line in lines if line.startswith("omp ")]
    assert len(lines) >= (8 if page == "README.md" else 4)
    for line in lines:
        words = [str(ROOT / w) if w.startswith("examples/") else w for w in line.split()[1:]]
        words = [str(workshop / "run") if w.startswith("runs/") else w for w in words]
        words = [str(pictures) if w.startswith("data/") else w for w in words]  # with clouds, pictures and states
        if "pretrain" in words and not {"--resume", str(pictures)} & set(words):
            # a teacher has seen what the run of the workshop has
            words.append(str(workshop / "toy" if "--teacher" in words else pictures))
        if {"eval", "finetune"} & set(words) and not {"--resume", str(workshop / "run")} & set(words):
            words.append(str(workshop / "run"))
        ran = omp(*words, *([] if "manifest" in words else ["--dry-run"]))
        assert ran.code == 0, f"{line}\n{ran.err}"


def test_the_readme_names_every_module() -> None:
    text = (ROOT / "README.md").read_text()
    for path in (ROOT / "omp_cli").rglob("*.py"):
        if path.name != "__init__.py":
            assert path.name in text, f"{path.relative_to(ROOT)} is not in 'How the code is laid out'"
