"""A run: a folder with a manifest that always tells its true status."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from omp_cli.core import manifest as m
from omp_cli.core.errors import Interrupted, OmpError, Terminated, UsageError
from omp_cli.core.files import sha256_of, size_of, writable_folder, write_text

CHECKPOINTS = "checkpoints"
"""The folder of checkpoints in a run's."""


class Run:
    """Context manager around the work of one command.

    Entering writes a manifest with status "running"; leaving writes the final one. An exception is recorded
    (failed, or interrupted for Ctrl-C and SIGTERM) and goes on to the caller.

    Args:
        folder: the run's folder, made if needed; UsageError when it cannot be written or belongs to another command.
        command: "prepare", "pretrain", ...
        config: ``{dotted key: {"value", "source"}}`` as made by ``config.sources_of``.
        seeds: every seed that the run depends on.
        device: where tensors live.
        threads: torch threads, where that matters.
    """

    def __init__(
        self,
        folder: Path,
        command: str,
        config: Mapping[str, Mapping[str, Any]],
        seeds: Mapping[str, int],
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self.folder = writable_folder(folder)
        if self.path.exists() and (other := m.read_manifest(self.path).command) != command:
            raise UsageError(f"output folder {folder}: holds a run of omp {other}", "choose another with --out DIR")
        self._clock = time.monotonic()
        self.manifest = m.Manifest(
            command=command,
            argv=sys.argv[1:],
            started_at=m.now(),
            config={key: m.Value.model_validate(value) for key, value in config.items()},
            seeds=dict(seeds),
            versions=m.versions(),
            hardware=m.hardware(device, threads),
        )

    @property
    def path(self) -> Path:
        """Path of the manifest."""
        return self.folder / m.FILE_NAME

    def input(self, kind: str, path: Path, sha256: str) -> None:
        """Record something that is read, at once: a run that is killed and resumed must find the same input."""
        self.manifest.inputs.append(m.Input(kind=kind, path=str(path), sha256=sha256))
        m.write_manifest(self.folder, self.manifest)

    def artifact(self, path: Path) -> Path:
        """Record a finished file or folder inside the run's folder, with its hash; returns ``path``."""
        relative = path.relative_to(self.folder).as_posix()
        self.manifest.artifacts = [a for a in self.manifest.artifacts if a.path != relative]
        self.manifest.artifacts.append(m.Artifact(path=relative, sha256=sha256_of(path), bytes=size_of(path)))
        return path

    def metrics(self, **figures: Any) -> None:
        """Record results; JSON types only."""
        self.manifest.metrics.update(figures)

    def __enter__(self) -> Run:
        m.write_manifest(self.folder, self.manifest)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._finish("succeeded")
            return
        interrupted = isinstance(error, KeyboardInterrupt | Interrupted | Terminated)
        self.manifest.error = m.Failure(
            type=type(error).__name__,
            message=str(error) or type(error).__name__,
            hint=getattr(error, "hint", ""),
            exit_code=error.exit_code if isinstance(error, OmpError) else 130 if interrupted else 1,
        )
        try:
            if not interrupted and not isinstance(error, OmpError):
                write_text(self.folder / "traceback.txt", "".join(traceback.format_exception(error)))
            self._finish("interrupted" if interrupted else "failed")
        except OSError as second:  # a full disk: the first error is the one to report
            error.add_note(f"the manifest could not be updated either: {second}")

    def _finish(self, status: m.Status) -> None:
        self.manifest.status = status
        self.manifest.finished_at = m.now()
        self.manifest.wall_seconds = round(time.monotonic() - self._clock, 3)
        m.write_manifest(self.folder, self.manifest)
