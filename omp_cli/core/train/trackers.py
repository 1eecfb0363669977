"""Where a run's figures go: a JSON-lines file always, TensorBoard on request."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from omp_cli.core.base.errors import MissingDependency
from omp_cli.core.base.files import defined, read_jsonl, to_json, write_text

METRICS = "metrics.jsonl"


class Tracker(Protocol):
    """Takes rows of figures."""

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Record the figures of a step."""

    def close(self) -> None:
        """Flush."""


class JsonLines:
    """``metrics.jsonl``: one JSON object per row, flushed at once; a figure that is not finite is null.

    Args:
        path: the file.
        step: rows after this step are dropped (they belong to work that a resumed run repeats).
    """

    def __init__(self, path: Path, step: int) -> None:
        rows = [row for row in read_jsonl(path) if row["step"] <= step]
        write_text(path, "".join(to_json(row) + "\n" for row in rows))
        self._stream = path.open("a", encoding="utf-8")

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Append a row."""
        self._stream.write(to_json(defined({"step": step, **figures})) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class TensorBoard:
    """TensorBoard event files in ``folder``; MissingDependency when the package is not installed."""

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingDependency("TensorBoard is not installed", "pip install 'omp-cli[tensorboard]'") from None
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Write scalars."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the files."""
        self._writer.close()


def make_trackers(kind: str, folder: Path, step: int) -> list[Tracker]:
    """Trackers of a run that continues after ``step``."""
    trackers: list[Tracker] = [JsonLines(folder / METRICS, step)]
    if kind == "tensorboard":
        trackers.append(TensorBoard(folder / "tensorboard", step))
    return trackers
