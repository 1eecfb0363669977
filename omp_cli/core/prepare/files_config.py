"""What decides the content of a data set that is read from files."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, SerializeAsAny

from omp_cli.core.base.config import Count, CountOrZero, Flag, Member, Settings, distinct, from_commas
from omp_cli.core.data.download import DownloadConfig
from omp_cli.core.data.readers import FORMATS


def _indices(value: Any) -> Any:
    """One index, or several as ``from_commas`` takes them, as a list."""
    return [value] if isinstance(value, int) else from_commas(value)


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
    """Episodes to take from the start of the files, one after the other; None takes all."""
    leave_out: Annotated[tuple[CountOrZero, ...], AfterValidator(distinct), BeforeValidator(_indices)] = ()
    """Episodes not to take, counted from 0 as they are read, through all files in their order (``leave_out=3,7``), such
    as one with numbers that are not finite.
    """
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
        unsaid = {"suite", "download"} | (set() if self.leave_out else {"leave_out"})  # of which old data say nothing
        return {"suite": {"name": self.suite}, **self.model_dump(mode="json", exclude=unsaid)}

    def unusual(self) -> dict[str, Any]:
        """Settings that are not the usual ones and that the name of the folder does not say, as plain data."""
        chosen = self.format.model_dump(mode="json")
        usual = type(self.format).model_validate({"name": chosen["name"]}).model_dump(mode="json")
        left_out = {"leave_out": sorted(self.leave_out)} if self.leave_out else {}
        # those that differ alone: a folder keeps its name when a format gets another setting
        return {key: value for key, value in chosen.items() if value != usual[key]} | left_out
