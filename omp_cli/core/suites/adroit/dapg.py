"""The published policies of DAPG (hand_dapg, Rajeswaran et al., RSS 2018) as a source of Adroit's data."""

from __future__ import annotations

from typing import ClassVar

from omp_cli.core.base.config import Settings
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.data.catalogue import read_catalogue
from omp_cli.core.data.download import DownloadConfig, fetch
from omp_cli.core.prepare.expert import ExpertConfig, ExpertOrigin, FromExpert
from omp_cli.core.prepare.files import wanted_files
from omp_cli.core.prepare.source import SOURCES, Asked, Origin


class FetchedExpertConfig(ExpertConfig):
    """What decides the content, and how the expert is fetched."""

    download: DownloadConfig = DownloadConfig()
    """How patient a download is; does not change the content."""


@SOURCES.register("adroit/dapg")
class Dapg(FromExpert):
    """The published policies of DAPG (hand_dapg): fetched, verified and read, never unpickled."""

    Config: ClassVar[type[Settings]] = FetchedExpertConfig
    config: FetchedExpertConfig

    @classmethod
    def about(cls, asked: Asked) -> str:
        """The words that chose it."""
        return "--source dapg"

    @classmethod
    def published(cls, origin: Origin) -> ExpertOrigin:
        """See the base class."""
        entry = read_catalogue().find(origin.suite, origin.task, "dapg")
        return ExpertOrigin(origin.suite, origin.task, origin.layer, "dapg", None, entry.files[0].sha256, entry)

    def notes(self) -> list[str]:
        """What is fetched, under which licence."""
        if (entry := self.origin.entry) is None:
            return super().notes()
        (wanted,) = wanted_files(entry)
        where = f"in the cache: {wanted.target}" if wanted.target.is_file() else f"from {wanted.urls[0]}"
        return [f"{entry.name}: size {entry.size}, licence {entry.licence}; {where}"]

    def begin(self, run: Run, workers: int, progress: Progress, watch: Stopwatch) -> None:
        """Fetch the policy; see ``fetch``."""
        if self.origin.entry is not None:
            (wanted,) = wanted_files(self.origin.entry)
            fetched = fetch(wanted, self.config.download, progress)
            self._file, self._sha256 = fetched.path, fetched.sha256
            watch.lap("download and hashes")
        super().begin(run, workers, progress, watch)
