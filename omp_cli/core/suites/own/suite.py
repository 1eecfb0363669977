"""The suite of data that no simulator shows: a real robot's, or whatever the user has recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal, NoReturn

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import MissingDependency, UsageError
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES, Suite, TaskEnv


class OwnSuiteConfig(Settings):
    """Nothing to choose: there is nothing to simulate."""

    name: Literal["own"] = "own"


@SUITES.register("own")
class OwnSuite(Suite):
    """Its tasks are what its data sets call them."""

    Config: ClassVar[type[Settings]] = OwnSuiteConfig
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

    def require(self) -> NoReturn:
        """MissingDependency, always: no simulator is ever assumed."""
        raise MissingDependency(
            "this policy learned from real data, and there is no simulator of them to roll it out in",
            "measure it on held-out episodes instead: omp eval RUN --offline",
        )
