"""Files that omp makes itself: a source of a suite's own records one into the cache, and it is read like any other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from omp_cli.core.base.config import Count, Layer, Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.locks import hold
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.prepare.files import Files, FilesConfig
from omp_cli.core.prepare.origin import of_made
from omp_cli.core.prepare.source import Asked, Origin


class Recordable(Settings):
    """What decides the content of a recorded file; its names hold all of it."""

    @property
    def dataset(self) -> str:
        """Task name of the data set."""
        raise NotImplementedError

    @property
    def source(self) -> str:
        """Name of the source: all that the task's name does not say."""
        raise NotImplementedError

    @property
    def file(self) -> Path:
        """Where the recorded file is kept."""
        raise NotImplementedError


class _Record(Settings):
    """Comes before the settings of files, whose defaults follow from it."""

    record: Recordable
    """What is recorded."""


class MadeConfig(FilesConfig, _Record):
    """What is recorded, and what is taken from the file."""

    task: str = Field(default_factory=lambda data: data["record"].dataset)
    """Task of the data set."""
    source: str = Field(default_factory=lambda data: data["record"].source)
    """Name of the recording."""
    demos: Count | None = None
    """Episodes to take from the start of the file; None takes all that are recorded."""

    def content(self) -> dict[str, Any]:
        """As of any other file: its hash says how it was recorded."""
        return {key: value for key, value in super().content().items() if key != "record"}


class Made(Files):
    """A source that records a file: ``named`` says of what, ``record`` does it."""

    Config: ClassVar[type[MadeConfig]]
    format: ClassVar[str]
    """Of the recorded file."""
    config: MadeConfig

    def __init__(self, config: Settings, origin: Origin) -> None:
        assert isinstance(config, MadeConfig)
        file = of_made(origin.suite, config.task, config.source, self.format, config.record.file)
        super().__init__(config, file)

    @classmethod
    def about(cls, asked: Asked) -> str:
        """The words that chose it."""
        return f"--source {asked.source}"

    @classmethod
    @abstractmethod
    def named(cls, task: str | None, source: str) -> dict[str, Any]:
        """The settings of ``record`` that a line names by its task, if it has one, and its source."""

    @abstractmethod
    def record(self, workers: int, progress: Progress) -> None:
        """Write ``config.record.file``, atomically; nobody else writes to its folder."""

    @classmethod
    def origins(cls, asked: Asked) -> Sequence[Origin]:  # type: ignore[override]  # its file is not named yet
        """The one recording."""
        if asked.groups:
            raise UsageError(f"--suite does not go with {cls.about(asked)}", "leave it out")
        if len(asked.tasks) > 1:
            raise UsageError(f"{cls.about(asked)} records one task; several --task were given")
        if asked.format is not None:
            raise UsageError("--format says how to read --file; there is none to read")
        named = cls.named(asked.tasks[0] if asked.tasks else None, str(asked.source))
        values = {f"record.{key}": value for key, value in named.items()}
        layer = Layer("argument", {"suite": asked.benchmark, "format.name": cls.format, **values})
        return [Origin(asked.benchmark, next(iter(asked.tasks), ""), layer)]

    def planned(self) -> dict[str, Any]:
        """The file that is read, recorded or not."""
        return {"file": str(self.config.record.file), **super().planned()}

    def begin(self, run: Run, workers: int, progress: Progress, watch: Stopwatch) -> None:
        """Record what is not in the cache.

        Raises:
            UsageError: another process is recording to the same folder.
        """
        file = self.config.record.file
        if file.is_file():
            progress.note(f"recorded before: {file}")
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            with hold(file.parent, "wait for it"):
                if not file.is_file():  # by the one that has just ended
                    self.record(workers, progress)
            watch.lap("recording")
        super().begin(run, workers, progress, watch)
