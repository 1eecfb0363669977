"""Files that omp makes itself: a source of a suite's own records one into the cache, and it is read like any other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from omp_cli.core.base.config import Count, Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import atomic
from omp_cli.core.base.layers import Layer
from omp_cli.core.base.locks import hold
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.data.catalogue import cache_folder
from omp_cli.core.prepare.files import Files
from omp_cli.core.prepare.files_config import FilesConfig
from omp_cli.core.prepare.origin import of_made
from omp_cli.core.prepare.source import Asked, Origin

if TYPE_CHECKING:
    import h5py


class Recordable(Settings):
    """What decides the content of a recorded file; its names hold all of it."""

    suite: ClassVar[str]
    """Benchmark."""

    @property
    @abstractmethod
    def dataset(self) -> str:
        """Task name of the data set."""

    @property
    @abstractmethod
    def source(self) -> str:
        """Name of the source: all that the task's name does not say."""

    @abstractmethod
    def unnamed(self) -> str:
        """What decides the content and is no setting, as text: what another omp has recorded is not taken."""

    @abstractmethod
    def require(self) -> None:
        """MissingDependency where something that records is plainly not installed."""

    @property
    def file(self) -> Path:
        """Where the recorded file is kept."""
        return self.kept(f"{self.source}.hdf5")

    def kept(self, name: str) -> Path:
        """A file of this name among those that are recorded alike."""
        return cache_folder() / self.suite / self.dataset / sha256(self.unnamed().encode()).hexdigest()[:8] / name

    @contextmanager
    def written(self) -> Iterator[h5py.File]:
        """The recorded file while it is written; it is there as a whole, or not at all."""
        import h5py

        with atomic(self.file) as temporary, h5py.File(temporary, "w") as file:
            yield file


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
        """The settings as for any other file: its hash says how it was recorded."""
        return {key: value for key, value in super().content().items() if key != "record"}


class Made(Files):
    """A source that records a file: ``named`` says of what, ``record`` does it."""

    Config: ClassVar[type[MadeConfig]]
    format: ClassVar[str]
    """Format of the recorded file."""
    config: MadeConfig

    def __init__(self, config: Settings, origin: Origin) -> None:
        assert isinstance(config, MadeConfig)
        file = of_made(origin.suite, config.task, config.source, self.format, config.record.file)
        super().__init__(config, file)

    @classmethod
    def about(cls, asked: Asked) -> str:
        """The words that chose it."""
        return f"--source {asked.source}"

    def require(self) -> None:
        """MissingDependency where there is something to record and what records it is not installed."""
        if not self.config.record.file.is_file():
            self.config.record.require()

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
