"""The contract of a source: where the data of a benchmark come from, and all that decides a data set of it.

The sources of every suite are ``record`` (its scripted expert), where it has one, ``expert`` (an expert of a file),
where it has a simulator, and ``files`` (of the catalogue, or the user's). A suite registers others beside itself as
``SUITE/NAME``, which ``--source NAME`` chooses; as ``SUITE/files`` it says what becomes of files of its data. Whatever
they are, ``prepare.build`` makes the data set.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from omp_cli.core.base.config import RECOMMENDED, Member, Settings
from omp_cli.core.base.files import name_part
from omp_cli.core.base.layers import Layer
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.data.store import Arrays
from omp_cli.core.families import SOURCES as SOURCES
from omp_cli.core.families import SUITES
from omp_cli.core.prepare.next_line import next_line
from omp_cli.core.spec import Spec

RECORD, FILES, EXPERT = "record", "files", "expert"
"""The sources of all suites."""


@dataclass(frozen=True)
class Asked:
    """What a line says of data beside settings.

    Attributes:
        benchmark: suite, or a name of the catalogue.
        tasks: names of tasks.
        groups: names of groups of tasks.
        source: a source of the suite's own, or the name of a set in the catalogue.
        files: files of the user's, to be read as one.
        format: format of these files.
        expert: file of the expert that is to demonstrate.
        only_files: whether the line has something else that only files have.
    """

    benchmark: str
    tasks: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    source: str | None = None
    files: tuple[Path, ...] = ()
    format: str | None = None
    expert: Path | None = None
    only_files: bool = False


@dataclass(frozen=True)
class Origin:
    """One data set that is asked for, as far as it is known before the settings are.

    Attributes:
        suite: benchmark.
        task: task within it.
        layer: what this says of the settings; all else on the line beats it.
    """

    suite: str
    task: str
    layer: Layer


@dataclass
class Gathered:
    """The episodes of a data set and what is to be known of them.

    Attributes:
        episodes: each with "state" (T, S), "action" (T, A) float32 and what else there is, (T, ...).
        spec: what the task lets a policy see and do.
        environment: what the simulator, or the file, says about itself; JSON types only.
        starts: the identity of each episode's start state (``start_hash``).
        sheet: what a contact sheet shows of the first episodes; none is drawn of nothing.
        said: whole sentences that the user has to know.
        provenance: what else is kept of where the data come from; JSON types only.
        figures: what else goes into the manifest.
    """

    episodes: list[Arrays]
    spec: Spec
    environment: Mapping[str, Any]
    starts: list[str]
    sheet: Sequence[Arrays] = ()
    said: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)


class Source(ABC):
    """A data set in the making.

    ``Config`` holds all that decides its content. A field with a ``Flag`` is an option of ``omp prepare`` that goes
    with this source; of two sources that have an option of the same name the chosen one says what it sets.

    Args:
        config: the settings of the data set.
        origin: what is asked for.
    """

    Config: ClassVar[type[Settings]]
    packages: ClassVar[tuple[str, ...]] = ()
    """Packages whose versions are kept with the data, besides the usual ones."""
    takes_expert: ClassVar[bool] = False
    """Whether the file of an expert (``Asked.expert``) goes with it."""

    def __init__(self, config: Settings, origin: Origin) -> None:
        self.config, self.origin = config, origin

    @classmethod
    @abstractmethod
    def about(cls, asked: Asked) -> str:
        """What messages call this source, where an option does not go with it."""

    @classmethod
    @abstractmethod
    def origins(cls, asked: Asked) -> Sequence[Origin]:
        """The data sets that a line asks for; UsageError where it asks for what there is not."""

    @classmethod
    def recommended(cls, config: Settings) -> Layer | None:
        """What new data are best made with where the line, which comes to ``config`` so far, says nothing of it."""
        return None

    @property
    @abstractmethod
    def folder_name(self) -> str:
        """Name of the data set's folder; a data set of other content has another one."""

    def folder(self, root: Path) -> Path:
        """Where the data set goes when no folder is named."""
        return root / name_part(self.folder_name)

    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """What determines the bytes of the data set, as plain data, with "suite" and "task"."""

    @abstractmethod
    def gather(self, scratch: Path, workers: int, progress: Progress, watch: Stopwatch) -> Gathered:
        """Record or read the episodes.

        Args:
            scratch: a folder where finished parts may be kept; it is removed once the data set is there.
            workers: processes.
            progress: advances with every episode.
            watch: receives the time of every part of the work.
        """

    def require(self) -> None:  # noqa: B027 - most sources need nothing more
        """MissingDependency where something is plainly not installed; before a folder is made."""

    def check(self) -> None:  # noqa: B027
        """UsageError where a setting does not fit what is there already; before anything is fetched or made."""

    def begin(self, run: Run, workers: int, progress: Progress, watch: Stopwatch) -> None:  # noqa: B027
        """Fetch what the recipe depends on."""

    def planned(self) -> dict[str, Any]:
        """What a dry run tells beside settings."""
        return {}

    def depends(self) -> dict[str, tuple[Any, str]]:
        """What the data set depends on that is no setting: values and where they came from, by name."""
        return {}

    def notes(self) -> list[str]:
        """What the user is told before anything is done."""
        return []

    @staticmethod
    def figures(provenance: Mapping[str, Any]) -> dict[str, Any]:
        """What goes into the manifest besides the usual figures, from the provenance of a data set new or kept."""
        return {}

    @staticmethod
    def row(figures: Mapping[str, Any]) -> dict[str, Any]:
        """The cells of the command's table by their columns."""
        return {name: figures[name] for name in ("task", "demos", "frames")} | {"steps": figures["mean_steps"]}

    @staticmethod
    def lines(folders: Sequence[Path], figures: Sequence[Mapping[str, Any]]) -> list[str]:
        """What the command says below its table."""
        lines = [f"data set: {folder}" for folder in folders]
        lines += [f"{of_one['task']}: {sentence}" for of_one in figures for sentence in of_one["said"]]
        return [*lines, next_line(folders[-1], figures[-1])]


def recommended_layer(section: str, config: Member) -> Layer | None:
    """The layer of ``Source.recommended`` for the settings of a suite, which are the section of that name."""
    found = SUITES.build(config).recommended()
    return Layer(RECOMMENDED, {f"{section}.{key}": value for key, value in found.items()}) if found else None


def short_hash(values: Any) -> str:
    """Six letters that tell settings apart in the name of a folder."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:6]
