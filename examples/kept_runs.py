"""Runs of ``omp`` that scripts of this folder make: each once, whatever has finished is kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def finished(folder: Path, *line: object) -> dict[str, Any]:
    """Manifest of the run in ``folder``, which ``omp LINE --out FOLDER`` makes unless it is there."""
    file = folder / "manifest.json"
    if not file.is_file() or json.loads(file.read_text())["status"] != "succeeded":
        shutil.rmtree(folder, ignore_errors=True)  # a run that was interrupted: minutes, so from the start again
        words = [sys.executable, "-m", "omp_cli", *map(str, line), "--out", str(folder), "--quiet", "--json"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env={"OMP_NUM_THREADS": "1", **os.environ})
    manifest: dict[str, Any] = json.loads(file.read_text())
    return manifest


def commit() -> str | None:
    """Of the repository that this file is in; None outside of one."""
    found = subprocess.run(("git", "-C", Path(__file__).parent, "rev-parse", "HEAD"), capture_output=True, text=True)
    return found.stdout.strip() or None
