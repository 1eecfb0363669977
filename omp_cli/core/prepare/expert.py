"""The source of all suites with a simulator: an expert of a file is rolled out, and its successes are the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from omp_cli.core.base.config import LARGEST, CountOrZero, Flag, Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import name_part
from omp_cli.core.base.layers import Layer, flatten
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.data.catalogue import Entry
from omp_cli.core.experts import read_expert
from omp_cli.core.prepare.attempt import Candidate, CollectConfig
from omp_cli.core.prepare.collect import collect
from omp_cli.core.prepare.numbers import returns_of
from omp_cli.core.prepare.record import RecordConfig, Recorded
from omp_cli.core.prepare.source import EXPERT, SOURCES, Asked, Gathered, Origin, short_hash
from omp_cli.core.suites import SUITES


@dataclass(frozen=True)
class ExpertOrigin(Origin):
    """The expert whose episodes are asked for.

    Attributes:
        label: the expert's name.
        file: the user's file, or the folder of a policy of omp; None where that of the catalogue is fetched.
        sha256: hash of what is in it, if it is known.
        entry: the expert's entry of the catalogue.
    """

    label: str
    file: Path | None
    sha256: str | None
    entry: Entry | None = None


class ExpertCollect(CollectConfig):
    """What is recorded of an expert."""

    after_success: Annotated[CountOrZero | None, Flag(panel="Recording")] = None  # type: ignore[assignment]
    """Steps recorded after the first success; None takes whole episodes where their end or return counts. Elsewhere it
    takes as many as of a scripted expert.
    """


class ExpertConfig(RecordConfig):
    """All that decides the content of a data set of an expert but the task and the expert's file."""

    collect: ExpertCollect = ExpertCollect()
    """What is recorded."""


@SOURCES.register(EXPERT)
class FromExpert(Recorded):
    """Demonstrations of an expert that is in a file, or of a policy of omp (``--expert``)."""

    Config: ClassVar[type[Settings]] = ExpertConfig
    takes_expert: ClassVar[bool] = True
    config: ExpertConfig
    origin: ExpertOrigin

    def __init__(self, config: Settings, origin: Origin) -> None:
        super().__init__(config, origin)
        self._file, self._sha256 = self.origin.file, self.origin.sha256

    @classmethod
    def about(cls, asked: Asked) -> str:
        """The words that chose it."""
        return "--expert"

    @classmethod
    def origins(cls, asked: Asked) -> Sequence[Origin]:
        """One for each task; a policy of omp demonstrates its own unless told, shown as in its data.

        Raises:
            DataError: no such file, or no expert in it.
        """
        if (path := asked.expert) is None:
            return [cls.published(origin) for origin in super().origins(asked)]
        expert = read_expert(path)
        shown: Layer | None = None
        if expert.suite is not None and expert.suite.get("name") == asked.benchmark:
            shown = Layer("expert", {"suite": expert.suite})
        known = SUITES.build(SUITES.parse({"name": asked.benchmark})).tasks()
        # a data set's own name is no task to act in, but its environment is
        learned = [task for task in (expert.task, (expert.suite or {}).get("environment")) if task in known]
        if learned and not (asked.tasks or asked.groups):
            asked = replace(asked, tasks=(str(learned[0]),))
        label = name_part(path.absolute().name if path.is_dir() else path.stem)
        found, sha256 = super().origins(asked), expert.sha256()
        return [ExpertOrigin(o.suite, o.task, shown or o.layer, label, expert.path, sha256) for o in found]

    @classmethod
    def published(cls, origin: Origin) -> ExpertOrigin:
        """The expert of the catalogue for a task; UsageError where there is none."""
        raise UsageError("no expert is named", "name its file or folder: --expert FILE")

    @property
    def folder_name(self) -> str:
        """``<task>-<expert>-d<demos>-s<seed>`` and a short hash of all that decides the content."""
        config, origin = self.config, self.origin
        name = f"{origin.task}-{origin.label}-d{config.collect.demos}-s{config.seed}"
        return f"{name}-{short_hash(self.recipe())}"

    def recipe(self) -> dict[str, Any]:
        """All settings, the task, and the hash of the expert's file."""
        settings = self.config.model_dump(mode="json", exclude={"download"})
        return {**settings, "task": self.origin.task, "expert": {"name": self.origin.label, "sha256": self._sha256}}

    def depends(self) -> dict[str, tuple[Any, str]]:
        """The task and the expert's file."""
        by = "argument" if self.origin.file else "catalogue"
        named = str(self.origin.file) if self.origin.entry is None else self.origin.entry.name
        return {**super().depends(), "expert": (named, by)}

    def require(self) -> None:
        """MissingDependency where the simulator is not installed."""
        self.suite.require()

    def notes(self) -> list[str]:
        """What is to be known of the expert, and how the task differs from the one that it learned."""
        if self._file is None:
            return []
        expert = read_expert(self._file)
        told = [f"{self._file.name} {expert.remark}"] if expert.remark else []
        if expert.task not in (None, self.origin.task):
            told.append(f"{self.origin.label} has learned {expert.task}; it demonstrates {self.origin.task}")
        here = flatten(self.recipe()["suite"])
        there = {key: value for key, value in flatten(expert.suite or {}).items() if here.get(key, value) != value}
        told += [
            f"{self.origin.label} has learned with {key} {value}; here it is {here[key]}"
            for key, value in there.items()
        ]
        return told

    def begin(self, run: Run, workers: int, progress: Progress, watch: Stopwatch) -> None:
        """Name the expert's file as an input."""
        assert self._file is not None
        assert self._sha256 is not None
        run.input("expert", self._file, self._sha256)

    def collected(self, scratch: Path, workers: int, progress: Progress) -> tuple[list[Candidate], int]:
        """See the base class; DataError where the file is no expert, or none of this task."""
        config, whole_episodes = self.config.collect, self.suite.judged_at_end or not self.suite.judged
        if config.after_success is None:
            usual = LARGEST if whole_episodes else CollectConfig().after_success
            config = config.model_copy(update={"after_success": usual})
        suite, task = self.recipe()["suite"], self.origin.task
        return collect(suite, task, config, self.config.seed, scratch, workers, progress, self._file)

    def gather(self, scratch: Path, workers: int, progress: Progress, watch: Stopwatch) -> Gathered:
        """See the base class."""
        assert self._file is not None
        expert = read_expert(self._file)
        found = super().gather(scratch, workers, progress, watch)
        more: dict[str, Any] = {"expert": {"kind": expert.kind, **expert.facts(), **self.recipe()["expert"]}}
        if self.suite.metric == "return":
            more["returns"] = returns_of(found.episodes)
        return replace(found, provenance={**found.provenance, **more})
