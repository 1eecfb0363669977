"""Where a run's figures go: a JSON-lines file always; TensorBoard, Weights & Biases or Trackio on request."""

from __future__ import annotations

import io
import math
import os
import sys
import uuid
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Protocol

from omp_cli.core.base.errors import MissingDependency, RunFailed, UsageError, one_line
from omp_cli.core.base.files import defined, read_json, read_jsonl, to_json, write_json, write_text
from omp_cli.core.base.manifest import FILE_NAME, read_manifest

METRICS = "metrics.jsonl"
ID = "tracker.json"


class Tracker(Protocol):
    """Takes rows of figures."""

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Record the figures of a step."""

    def close(self) -> None:
        """Flush."""


def rows_until(path: Path, step: int) -> list[dict[str, Any]]:
    """The rows of ``JsonLines`` in a file, up to those of a step; none where there is no file."""
    return [row for row in read_jsonl(path) if row["step"] <= step]


class JsonLines:
    """``metrics.jsonl``: one JSON object per row, flushed at once; a figure that is not finite is null.

    Args:
        path: the file.
        step: rows after this step are dropped (they belong to work that a resumed run repeats).
    """

    def __init__(self, path: Path, step: int) -> None:
        write_text(path, "".join(to_json(row) + "\n" for row in rows_until(path, step)))
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


class WeightsAndBiases:
    """A run of Weights & Biases; ``WANDB_MODE=offline`` keeps it in ``folder`` until ``wandb sync``.

    ``WANDB_PROJECT`` names the project, "omp" unless it is set. A resumed run goes on in the run it began.

    Raises:
        MissingDependency: the package is not installed.
        UsageError: nobody is logged in.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingDependency("Weights & Biases is not installed", "pip install 'omp-cli[wandb]'") from None
        hint = "log in: wandb login; or keep it here: WANDB_MODE=offline"
        offline = os.environ.get("WANDB_MODE", "online") in ("offline", "disabled", "dryrun")
        if not offline and not wandb.api.api_key:  # wandb would ask on the terminal, amid the bar
            raise UsageError("tracker=wandb: nobody is logged in", hint)
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "omp"),
                name=folder.resolve().name,
                dir=str(folder),
                id=run_id(folder),
                resume="allow" if step and not offline else None,
                config=settings_of(folder),
                settings=wandb.Settings(silent=True, console="off"),
            )
        except (wandb.errors.Error, TimeoutError) as error:
            raise UsageError(f"tracker=wandb: {one_line(error)}", hint) from None

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Record the figures of a step."""
        self._run.log(figures, step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class Trackio:
    """A run of Trackio, which keeps its figures on this machine: below ``TRACKIO_DIR``; ``trackio show`` shows them.

    ``TRACKIO_PROJECT`` names the project, "omp" unless it is set. A resumed run goes on in the run it began.

    Raises:
        MissingDependency: the package is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            import trackio
        except ImportError:
            raise MissingDependency("Trackio is not installed", "pip install 'omp-cli[trackio]'") from None
        name = f"{folder.resolve().name}-{run_id(folder)}"  # the name is all that Trackio knows a run by
        project = os.environ.get("TRACKIO_PROJECT", "omp")
        with redirect_stdout(io.StringIO()):  # stdout is for results
            self._run = trackio.init(project=project, name=name, config=settings_of(folder), resume="allow")

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Record the figures of a step."""
        self._run.log({name: value for name, value in figures.items() if math.isfinite(value)}, step=step)

    def close(self) -> None:
        """End the run, once its figures are kept."""
        with redirect_stdout(sys.stderr):
            self._run.finish()


def run_id(folder: Path) -> str:
    """What a tracker's service knows a run by: made once, kept in the run's folder, so that a resumed run is the same.

    Raises:
        RunFailed: the file that keeps it holds something else.
    """
    path = folder / ID
    if not path.exists():
        write_json(path, {"id": uuid.uuid4().hex[:12]})
    document = read_json(path, "tracker")
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        raise RunFailed(f"tracker {path}: holds no id", "delete it: the figures then go on in a run of their own")
    return str(document["id"])


def settings_of(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder by their dotted names; none where it has no manifest."""
    if not (folder / FILE_NAME).is_file():
        return {}
    return {key: entry.value for key, entry in read_manifest(folder).config.items()}


TRACKERS: dict[str, Callable[[Path, int], Tracker]] = {
    "tensorboard": lambda folder, step: TensorBoard(folder / "tensorboard", step),
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}
"""By ``train.tracker``, or ``tracker`` of ``omp finetune``, what goes beside the JSON lines."""


def make_trackers(kind: str, folder: Path, step: int) -> list[Tracker]:
    """Trackers of a run that continues after ``step``."""
    trackers: list[Tracker] = [JsonLines(folder / METRICS, step)]
    if kind in TRACKERS:
        trackers.append(TRACKERS[kind](folder, step))
    return trackers
