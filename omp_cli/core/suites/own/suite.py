"""The suite of data that no simulator shows: a real robot's, or whatever the user has recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar, NoReturn

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import MissingDependency, UsageError
from omp_cli.core.data.topics import RosTopics
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES, Suite, TaskEnv
from omp_cli.core.suites.own.sensing import OwnSuiteConfig, Sensing


@SUITES.register("own")
class OwnSuite(Suite):
    """Its tasks are what its data sets call them."""

    Config: ClassVar[type[Settings]] = OwnSuiteConfig
    config: OwnSuiteConfig
    default_task: ClassVar[str] = ""
    scripted: ClassVar[bool] = False
    simulated: ClassVar[bool] = False

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Data of one's own have no groups of tasks."""
        return {}

    def tasks(self) -> tuple[str, ...]:
        """No task is known before its data are."""
        return ()

    def select(self, tasks: Iterable[str], groups: Iterable[str]) -> tuple[str, ...]:
        """The tasks as they are named."""
        if chosen := tuple(groups):
            raise UsageError(f"unknown group of tasks {chosen[0]!r}", "data of one's own have none")
        return tuple(dict.fromkeys(tasks))

    def spec(self, task: str) -> Spec:
        """UsageError: only the data say it."""
        raise UsageError(f"task {task!r} of one's own: its data set says what a policy sees and does")

    def make(self, task: str) -> TaskEnv:
        """MissingDependency, always."""
        self.require()

    @cached_property
    def _sensing(self) -> Sensing:
        return Sensing(self.config)

    def as_read(self, obs: Mapping[str, Any], reads: Collection[str]) -> Mapping[str, Any]:
        """See the base class: of the arrays of the recording, by their names in its file."""
        return self._sensing(obs, reads)

    def made_of(self) -> Mapping[str, tuple[str, ...]]:
        """See the base class."""
        return self.config.made_of()

    def topics(self) -> RosTopics | None:
        """See the base class."""
        return self.config.ros

    def require(self) -> NoReturn:
        """MissingDependency, always: no simulator is ever assumed."""
        raise MissingDependency(
            "this policy learned from real data, and there is no simulator of them to roll it out in",
            "measure it on held-out episodes instead: omp eval RUN --offline; in an environment of Gymnasium of yours: "
            "omp deploy RUN --env FILE.py:make --episodes 50",
        )
