"""What decides the content of a data set that is read from files."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from omp_cli.core.base.config import Count, Flag, Member, Settings
from omp_cli.core.data.download import DownloadConfig
from omp_cli.core.data.readers import FORMATS


class FilesConfig(Settings):
    """All that decides the content of a data set but the files themselves."""

    suite: str
    """Benchmark."""
    task: str
    """Task within it."""
    source: str
    """The catalogue's name of the set, or the file's."""
    format: Annotated[SerializeAsAny[Member], BeforeValidator(FORMATS.parse)]
    """Name of the format, and what is taken from its files."""
    demos: Annotated[Count | None, Flag(panel="Recording")] = None
    """Episodes to take from the start of the files; None takes all of a file."""
    environment: str | None = None
    """The suite's name of the environment in which to roll out; None finds the one that shows such data."""
    check_pictures: bool = True
    """Compare a picture of the data with what the environment shows in the same state, here and before every
    evaluation; matters where files hold the simulator's states.
    """
    download: DownloadConfig = DownloadConfig()
    """How patient a download is; does not change the content."""

    def content(self) -> dict[str, Any]:
        """The settings that determine the bytes of the data set, as plain data."""
        return {"suite": {"name": self.suite}, **self.model_dump(mode="json", exclude={"suite", "download"})}

    def unusual(self) -> dict[str, Any]:
        """Settings that are not the usual ones and that the name of the folder does not say, as plain data."""
        chosen = self.format.model_dump(mode="json")
        usual = type(self.format).model_validate({"name": chosen["name"]})
        return {} if chosen == usual.model_dump(mode="json") else chosen
