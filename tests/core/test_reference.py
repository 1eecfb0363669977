"""The pages that are made from the code are those that the code makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import omp_cli
from omp_cli.core.rl.dppo import DppoConfig
from omp_cli.core.rl.ppo_config import PpoConfig

AGAIN = "run python -m omp_cli.reference"


def test_the_pages_are_those_of_the_code() -> None:
    """In a process of its own: other tests register parts of theirs."""
    line = "import json; from omp_cli.reference import pages; print(json.dumps(pages()))"
    made = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    pages: dict[str, str] = json.loads(made.stdout)
    for place, text in pages.items():
        assert (Path(omp_cli.__file__).parent / place).read_text(encoding="utf-8") == text, AGAIN
    settings = pages["commands/settings.md"]
    assert (
        "| `train.batch_size` | int, at least 1 | 128 | `--batch-size` | Windows per step, over all processes. |"
        in settings
    )
    assert "### method.name = `omp`" in settings
    assert "| `algorithm.sigma.kind` | `fixed` or `vector` or `net` | fixed |" in settings
    assert "| algorithm.sigma.kind | fixed | net |" in pages["presets/README.md"]


def test_every_setting_says_what_it_is() -> None:
    """Also one of which a class of a family changes only the default: it keeps the words of the class above."""
    settings = (Path(omp_cli.__file__).parent / "commands/settings.md").read_text(encoding="utf-8")
    rows = [line.replace("\\|", "/").split("|") for line in settings.splitlines() if line.startswith("| `")]
    assert len(rows) > 300
    assert [row[1] for row in rows if not row[5].strip()] == []
    assert PpoConfig.model_fields["clip"].description == DppoConfig.model_fields["clip"].description
    assert PpoConfig.model_fields["clip"].default != DppoConfig.model_fields["clip"].default
