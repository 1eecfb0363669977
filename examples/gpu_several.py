"""Several trainings at once on one device: steps per second in all, over seconds in which every one of them trains.

python examples/gpu_several.py COUNT SECONDS FOLDER WORDS...      # each: omp pretrain WORDS --seed I --out FOLDER/I
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from omp_cli.core.base.files import read_jsonl


def steps_of(run: Path) -> int:
    """The newest logged step of a run; 0 before the second row, for the first steps are those that are recorded."""
    rows = read_jsonl(run / "metrics.jsonl")
    return int(rows[-1]["step"]) if len(rows) > 1 else 0


def training(*words: str) -> list[str]:
    """The command of one training."""
    return [sys.executable, "-m", "omp_cli", "pretrain", *words]


def alive(trainings: Sequence[subprocess.Popen[bytes]], folder: Path) -> None:
    """SystemExit with the last words of a training that has ended."""
    for i, process in enumerate(trainings):
        if process.poll() is not None:
            said = (folder / f"{i}.txt").read_text(errors="replace").strip().splitlines()
            sys.exit(f"error: training {i} of {len(trainings)} ended early: {said[-1] if said else 'it said nothing'}")


def together(count: int, seconds: float, folder: Path, words: Sequence[str]) -> list[float]:
    """Steps per second of each of ``count`` trainings with these words of ``omp pretrain``, and then end them all."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = [folder / str(i) for i in range(count)]
    trainings: list[subprocess.Popen[bytes]] = []
    try:
        for i, run in enumerate(runs):
            line = training(*words, "--quiet", "--seed", str(i), "--out", str(run))
            with (folder / f"{i}.txt").open("wb") as log:
                trainings.append(subprocess.Popen(line, stdout=log, stderr=log))
        while not all(map(steps_of, runs)):
            alive(trainings, folder)
            time.sleep(0.1)
        first, started = [steps_of(run) for run in runs], time.monotonic()
        time.sleep(seconds)
        alive(trainings, folder)
        last, took = [steps_of(run) for run in runs], time.monotonic() - started
    finally:
        for process in trainings:
            process.kill()  # nobody needs the policies
            process.wait()
    return [(b - a) / took for a, b in zip(first, last, strict=True)]


if __name__ == "__main__":
    rates = together(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    print(json.dumps({"result": {"steps_per_second": rates}}))
