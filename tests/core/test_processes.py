"""Worker processes know what their parent knows."""

import os
import subprocess
import sys
from pathlib import Path

from omp_cli.core.base.plugins import load_plugin, loaded_plugins, module_name
from omp_cli.core.base.processes import ENDS_WITH_STDIN
from omp_cli.core.envs.jobs import in_order


def here(name: str, kept: object) -> bool:
    return name in sys.modules


def test_plugins_of_the_parent_are_loaded_in_a_pool(tmp_path: Path) -> None:
    file = tmp_path / "nothing_much.py"
    file.write_text("")
    load_plugin(file)
    assert file in loaded_plugins()
    assert list(in_order(here, [module_name(file), "omp_plugin_no"], 2, print)) == [True, False]


def test_a_command_ends_with_its_standard_input_where_it_is_asked_to(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "omp_cli", "prepare", "toy", "--demos", "2000", "--workers", "1"]
    done = subprocess.run(
        [*line, "--out", str(tmp_path)],
        env={**os.environ, ENDS_WITH_STDIN: "1"},
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 143
    assert "Traceback" not in done.stderr
