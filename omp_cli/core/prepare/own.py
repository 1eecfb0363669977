"""A source of a suite's own: what is left to say is how its episodes come about."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, SerializeAsAny

from omp_cli.core.base.config import Count, Flag, Member, Seed, Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.layers import Layer
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.data.store import Arrays, start_hash
from omp_cli.core.families import SUITES
from omp_cli.core.prepare.build import check_episodes
from omp_cli.core.prepare.source import Asked, Gathered, Origin, Source, recommended_layer, short_hash
from omp_cli.core.suites.base import Suite, as_recommended

SuiteSettings = Annotated[SerializeAsAny[Member], BeforeValidator(SUITES.parse)]


class OfSuite(Source):
    """Data sets of the tasks of a suite: one for each task that is named, or is in a group that is.

    Its configuration has the suite's section as ``suite``.

    Raises:
        UsageError: the settings name another suite.
    """

    def __init__(self, config: Settings, origin: Origin) -> None:
        super().__init__(config, origin)
        self.suite: Suite = SUITES.build(config.suite)  # type: ignore[attr-defined]
        name = self.suite.config.name  # type: ignore[attr-defined]
        if name != origin.suite:
            raise UsageError(f"suite.name: {name} in the settings, {origin.suite} on the line", "leave it out")

    @classmethod
    def origins(cls, asked: Asked) -> Sequence[Origin]:
        """One for each task."""
        if asked.files or asked.format is not None:
            raise UsageError(f"--{'file' if asked.files else 'format'} does not go with {cls.about(asked)}")
        layer = Layer("argument", {"suite.name": asked.benchmark})
        suite = SUITES.build(SUITES.parse({"name": asked.benchmark}))
        return [Origin(asked.benchmark, task, layer) for task in suite.select(asked.tasks, asked.groups)]

    @classmethod
    def recommended(cls, config: Settings) -> Layer | None:
        """What the suite recommends."""
        return recommended_layer("suite", config.suite)  # type: ignore[attr-defined]

    def depends(self) -> dict[str, tuple[Any, str]]:
        """The task."""
        return {"task": (self.origin.task, "argument")}


class OwnConfig(Settings):
    """What decides the content of a data set of a suite's own source."""

    suite: SuiteSettings
    """Which benchmark, and how it observes."""
    demos: Annotated[Count, Flag(panel="Recording")] = 10
    """Episodes to keep."""
    seed: Seed = 0
    """Seed of the start states."""


class OwnSource(OfSuite):
    """A source that a suite brings along: ``episodes`` makes them, and ``Config`` may have more settings.

    It is registered as ``@SOURCES.register("SUITE/NAME")`` and chosen with ``omp prepare SUITE --source NAME``.
    """

    Config: ClassVar[type[OwnConfig]] = OwnConfig
    name: ClassVar[str]
    """What ``--source`` says."""
    config: OwnConfig

    @classmethod
    def about(cls, asked: Asked) -> str:
        """The words that chose it."""
        return f"--source {cls.name}"

    @abstractmethod
    def episodes(self, workers: int, progress: Progress) -> list[tuple[Arrays, Any]]:
        """``config.demos`` episodes, each with its start state (``TaskEnv.start_state``).

        An episode has "state" (T, S) and "action" (T, A) float32 and what else policies read, (T, ...); with
        "first_picture" and "last_picture" (H, W, 3) uint8 a contact sheet is drawn of it.
        """

    @property
    def folder_name(self) -> str:
        """``<task>-<source>-d<demos>-s<seed>``, and a short hash when any other setting is not the default."""
        config = self.config
        name = f"{self.origin.task}-{self.name}-d{config.demos}-s{config.seed}"
        usual = self.Config.model_validate(
            {"suite": as_recommended({"name": self.origin.suite}), "demos": config.demos, "seed": config.seed}
        )
        return name if usual == config else f"{name}-{short_hash(self.recipe())}"

    def recipe(self) -> dict[str, Any]:
        """All settings, the task and the name of the source."""
        return {**self.config.model_dump(mode="json"), "task": self.origin.task, "source": self.name}

    def gather(self, scratch: Path, workers: int, progress: Progress, watch: Stopwatch) -> Gathered:
        """The episodes, and what the suite says of its environment."""
        made = self.episodes(workers, progress)
        watch.lap("recording")
        env = self.suite.make(self.origin.task)
        try:
            environment = env.provenance()
        finally:
            env.close()
        pictures = ("first_picture", "last_picture")
        loaded = [episode for episode, _ in made]
        frames = [{name: array for name, array in e.items() if name not in pictures} for e in loaded]
        check_episodes(f"{self.origin.suite}/{self.origin.task} of {self.about(Asked(self.origin.suite))}", frames)
        return Gathered(
            frames,
            self.suite.spec(self.origin.task),
            environment,
            [start_hash(start) for _, start in made],
            loaded if all(name in loaded[0] for name in pictures) else (),
        )
