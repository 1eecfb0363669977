"""A stand-in for ``omp`` in jobs: manifests and checkpoints without work. Each start is noted in ``runs.txt``.

``--held yes`` works until a file "free" is there or SIGTERM comes; ``--fail MESSAGE`` fails until "free" is there.
"""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

from omp_cli.core.base.errors import OmpError, RunFailed, Terminated
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.base.processes import end_with_stdin
from omp_cli.core.base.run import Run

RUNS, FREE = Path("runs.txt"), Path("free")


def _terminate(_: int, __: FrameType | None) -> None:
    raise Terminated("terminated")


def omp(command: str, *words: str) -> None:
    """One line."""
    signal.signal(signal.SIGTERM, _terminate)
    end_with_stdin()
    with RUNS.open("a") as stream:
        stream.write(f"{command} {' '.join(words)}\n")
    if words[0] == "--resume":
        folder = Path(words[1])
        sources = {key: value.model_dump() for key, value in read_manifest(folder).config.items()}
    else:
        line = [w for w in words if w != "toy"] if command == "prepare" else words[1:]
        given = {key.lstrip("-"): value for key, value in zip(line[::2], line[1::2], strict=True)}
        folder = Path(given.pop("out"))
        given.pop("workers", None)
        values: dict[str, str | int] = {**given, **({"seed": int(given["seed"])} if "seed" in given else {})}
        sources = {key: {"value": value, "source": "flag"} for key, value in values.items()}
        sources |= {"dataset": {"value": words[0], "source": "argument"}} if command == "pretrain" else {}
    with Run(folder, command, sources, {}):
        if command in ("pretrain", "finetune"):
            checkpoint = folder / "checkpoints" / "step-00000010"
            checkpoint.mkdir(parents=True, exist_ok=True)
            (checkpoint / "policy.json").write_text("{}")
        while "held" in sources and not FREE.exists():
            time.sleep(0.02)
        if "fail" in sources and not FREE.exists():
            raise RunFailed(sources["fail"]["value"])


if __name__ == "__main__":
    try:
        omp(*sys.argv[1:])
    except OmpError as error:
        sys.stderr.write(f"error: {error.message}\n")
        sys.exit(error.exit_code)
