"""The settings that a line comes to, and where each of them came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from omp_cli.core.base import config as c
from omp_cli.core.base.config import Settings

S = TypeVar("S", bound=Settings)
Sources = dict[str, dict[str, Any]]


class Resolved(Exception):
    """Ends a command of which the settings alone are wanted (``lines.resolve``), and carries them; it is no error."""

    def __init__(self, sources: Sources) -> None:
        super().__init__()
        self.sources = sources


@dataclass
class Chosen(Generic[S]):
    """The settings of a run and where each value came from: ``{dotted key: {"value", "source"}}``."""

    settings: S
    sources: Sources

    def add(self, key: str, value: Any, source: str) -> None:
        """Record something that the run depends on and that is no setting, such as its data set or its checkpoint."""
        self.sources[key] = {"value": value, "source": source}

    def on_the_line(self, *names: str) -> list[str]:
        """Which of some settings, or of those in some sections, the command line itself sets."""
        asked = [key for key, entry in self.sources.items() if entry["source"] in c.ON_THE_LINE]
        return [key for key in asked if any(f"{key}.".startswith(f"{name}.") for name in names)]

    def refuse(self, passed_over: Mapping[str, str]) -> None:
        """UsageError where the line sets what does not count for a reason that these settings alone do not show."""
        c.refuse_passed_over(passed_over, {key: str(entry["source"]) for key, entry in self.sources.items()})
