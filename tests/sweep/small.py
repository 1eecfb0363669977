"""Sweeps without training: ``python -m tests.sweep.small FOLDER WORDS`` runs one whose jobs are a stand-in's."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omp_cli.core.base.errors import OmpError, RunFailed, UsageError
from omp_cli.core.base.files import writable_folder
from omp_cli.core.base.locks import hold
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.base.progress import Progress, Silent
from omp_cli.core.base.run import Run
from omp_cli.core.sweep import job
from omp_cli.core.sweep.config import SweepConfig
from omp_cli.core.sweep.execute import execute
from omp_cli.core.sweep.job import Job
from omp_cli.core.sweep.local import Local
from omp_cli.core.sweep.plan import plan_jobs, same_settings


def resolve(
    command: str, words: tuple[str, ...], start: tuple[str, str] | None = None
) -> Mapping[str, Mapping[str, Any]]:
    """Words ``WHAT --key value`` as settings; a word "wrong" is an error."""
    words = words[2:] if words[0] == "--workers" else words  # no setting
    if "wrong" in words:
        raise UsageError("a wrong word", "another one")
    given = {k.lstrip("-"): {"value": v, "source": "flag"} for k, v in zip(words[1::2], words[2::2], strict=True)}
    if command == "pretrain":
        return {"method.name": {"value": "omp", "source": "default"}, **given}
    return given if start is None else {"start": {"value": list(start), "source": "default"}, **given}


def small_jobs(folder: Path, **variants: str) -> list[Job]:
    """One task and one seed; the words of each variant's pretrain."""
    document = {"tasks": ["reach"], "seeds": [0], "prepare": "toy --demos 1"}
    cells = {name: {"pretrain": words} for name, words in variants.items()}
    return plan_jobs(SweepConfig.model_validate({**document, "variants": cells}), folder, resolve)


def sweep(folder: Path, jobs: list[Job], progress: Progress | None = None) -> dict[str, Any]:
    """Two workers to the end; the figures of the sweep's manifest, also when jobs failed."""
    program, job.PROGRAM = job.PROGRAM, (sys.executable, "-m", "tests.sweep.stand_in")
    try:
        with hold(writable_folder(folder)), Run(folder, "sweep", {}, {}) as run:
            same_settings(jobs)
            execute(run, jobs, Local(2), progress or Silent())
    except RunFailed:
        pass
    finally:
        job.PROGRAM = program
    return read_manifest(folder).metrics


if __name__ == "__main__":
    out, words = Path(sys.argv[1]), " ".join(sys.argv[2:])
    try:
        sweep(out, small_jobs(out, one=words, two=words))
    except OmpError as error:
        sys.stderr.write(f"error: {error.message}\n")
        sys.exit(error.exit_code)
